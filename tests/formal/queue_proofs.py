"""Proofs of blocks that keep an order: equivalence with naive queues."""

from tests.formal.prove import Method, Proof
from tests.formal.queue_bench import ElasticBench, PrefetchQueueBench, SorterBench

__all__ = ["PROOFS"]

PROOFS = (
    Proof(
        "elastic", "each item leaves once, in order, with its tag and result, and none waits inside", "queues, streams",
        ElasticBench, Method.BOUNDED, 12, short=True,
    ),
    Proof(
        "prefetch_queue", "oldest first, none lost, none twice; a block that waits is found", "queues",
        PrefetchQueueBench, Method.BOUNDED, 12, short=True,
    ),
    Proof(
        "sorter", "the first ranks are kept, in order, of any that come", "queues", SorterBench, Method.BOUNDED, 9,
        short=True,
    ),
)  # fmt: skip
