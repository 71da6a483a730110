"""Proofs of blocks that keep an order: equivalence with naive queues."""

from tests.formal.prove import Method, Proof
from tests.formal.queue_bench import ElasticBench, PrefetchQueueBench, SorterBench
from tests.formal.queues_bench import QueuePromisesBench, QueuesBench

__all__ = ["PROOFS"]

_EQUAL = "3 clocks after each operation record, leaf and queue are as a naive queue has them; no operation is lost"
_TRUE = "what a naive victim queue says of its blocks is true: floor, bound, exact, threshold, count"

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
    Proof("victim_queues_8", _EQUAL, "queues", QueuesBench, Method.BOUNDED, 8, short=True),
    Proof("victim_queues_10", _EQUAL, "queues", QueuesBench, Method.BOUNDED, 10),
    Proof("victim_queue_promises", _TRUE, "queues", QueuePromisesBench, Method.INDUCTION, 2, short=True),
)  # fmt: skip
