"""Proofs of the way of a message: front end, metadata pipeline, held requests, responder, merged bytes."""

from kv_endpoint.hw.front.frontend import FrontEnd
from tests.formal.filter_bench import config_of
from tests.formal.frontend_bench import FrontEndBench
from tests.formal.grants_bench import GrantsBench
from tests.formal.held_bench import HeldBench
from tests.formal.merge_bench import MergeBench
from tests.formal.metadata_bench import DataOperations, RwdProgress
from tests.formal.prove import Method, Proof
from tests.formal.responder_bench import ResponderBench
from tests.formal.structure import Structure

__all__ = ["PROOFS"]


def _rwd_alone():
    return Structure(
        FrontEnd(config=config_of(2)), "rwd__ready",
        never=("req__valid", "req__payload", "req_slots__ready", "read_slots__*"),
        sure=("rwd__valid", "rwd_slots__ready", "write_slots__valid", "hold__granted"),
    )  # fmt: skip


PROOFS = (
    Proof(
        "frontend_rwd_alone", "RwD.ready of the front end depends on nothing of Req", "P2", _rwd_alone,
        Method.STRUCTURE, 0, short=True,
    ),
    Proof(
        "metadata_rwd", "with room and no hold RwD waits for one engine slot at most, whatever Req and snoops do", "P2",
        RwdProgress, Method.INDUCTION, 3, short=True,
    ),
    Proof(
        "frontend_rwd", "each RwD ends as one slot, in order; it is ANSWER CONFLICT just for a BIConflict", "P4",
        lambda: FrontEndBench("rwd"), Method.BOUNDED, 12,
    ),
    Proof(
        "frontend_req", "each Req ends as one slot, in order; MemRdFwd and MemWrFwd as ILLEGAL", "P9",
        lambda: FrontEndBench("req"), Method.BOUNDED, 12,
    ),
    Proof(
        "frontend_traces", "BIConflict beside a Req that waits, and behind one that has left", "covers",
        lambda: FrontEndBench("rwd", covers=True), Method.COVER, 8,
    ),
    Proof(
        "metadata_operations", "each slot commits once, in order, with the data operation of its kind and outcome",
        "P4 P8 P9", DataOperations, Method.BOUNDED, 16,
    ),
    *(
        Proof(
            f"responder_{channel}", f"each operation has its {channel.upper()}, in order, and frees its slot once",
            "P4 P8, streams", lambda channel=channel: ResponderBench(channel), Method.BOUNDED, 9,
        )
        for channel in ("ndr", "drs")
    ),
    Proof(
        "held_requests", "none is made up, doubled, changed or overtaken; none is tried again too early", "P10, queues",
        HeldBench, Method.BOUNDED, 10,
    ),
    Proof(
        "held_requests_fair", "none is lost: tried again within 3 + 2 x read slots clocks of the last answer", "P10",
        lambda: HeldBench(fair=True), Method.BOUNDED, 12,
    ),
    Proof(
        "held_requests_traces", "two that wait for one place are tried again in order", "covers",
        lambda: HeldBench(covers=True), Method.COVER, 14,
    ),
    Proof(
        "grants_in_flight", "a sector is pending just while a granted Req of it has not left", "P1 P4",
        GrantsBench, Method.BOUNDED, 12, short=True,
    ),
    Proof(
        "partial_writes", "of any of the 2^64 byte enables and any data, each byte is what golden says, in both modes",
        "P11", MergeBench, Method.INDUCTION, 1, short=True,
    ),
)  # fmt: skip
