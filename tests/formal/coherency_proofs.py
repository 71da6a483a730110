"""Proofs of the coherency engine, and traces that show what they are about."""

from tests.formal.covered_blocks_bench import CoveredBlocksBench
from tests.formal.filter_bench import FilterBench
from tests.formal.prove import Method, Proof
from tests.formal.scene_bench import SCENES, Scenes
from tests.formal.snoop_answers_bench import SnoopAnswersBench
from tests.formal.snoop_table_bench import SnoopTableBench

__all__ = ["PROOFS"]

_FILTER = "a copy that a host may hold is in the filter; no grant of a line whose snoop is outstanding, no second snoop"
_TABLE = "each BIRsp is taken; a tag is outstanding once; answers are applied once, and a place is kept until the last"
#: the short one ends before an answer commits
_SENDING = "each BIRsp is taken; a tag is outstanding once; a BISnp says what was launched"
_ANSWERS = (
    "in flight is what was sent and not answered; a BIRsp is legal as golden says; an ANSWER says what hosts said"
)


def _proofs():
    for hosts in (1, 2):
        yield Proof(
            f"snoop_filter_hosts_{hosts}", _FILTER, "P1 P5 P6 P7", lambda hosts=hosts: FilterBench(hosts=hosts),
            Method.INDUCTION, 6, short=True,
        )  # fmt: skip
        yield Proof(
            f"snoop_filter_traces_{hosts}", "victim snoop, write-back and partial answer of a snooped sector", "covers",
            lambda hosts=hosts: FilterBench(hosts=hosts, covers=True), Method.COVER, 14,
        )  # fmt: skip
    yield Proof("snoop_table_8", _SENDING, "P3 P6", SnoopTableBench, Method.BOUNDED, 8, short=True)
    yield Proof("snoop_table_14", _TABLE, "P3 P6 P7 P12", SnoopTableBench, Method.BOUNDED, 14)
    yield Proof(
        "snoop_table_fair", "a snoop leaves within 5 clocks of its launch, and 3 for each before it", "P10",
        lambda: SnoopTableBench(fair=True), Method.BOUNDED, 12,
    )  # fmt: skip
    yield Proof("snoop_answers_9", _ANSWERS, "P7 P12", SnoopAnswersBench, Method.BOUNDED, 9, short=True)
    yield Proof("snoop_answers_12", _ANSWERS, "P7 P12", SnoopAnswersBench, Method.BOUNDED, 12)
    yield Proof(
        "snoop_answers_fair", "an ANSWER is offered 2 clocks after its BIRsp, while the filter takes operations", "P10",
        lambda: SnoopAnswersBench(fair=True), Method.BOUNDED, 10, short=True,
    )  # fmt: skip
    yield Proof(
        "covered_blocks", "a block is covered just while a sector of it is in use, and the end of that is told", "P12",
        CoveredBlocksBench, Method.BOUNDED, 14, short=True,
    )  # fmt: skip
    yield Proof(
        "covered_blocks_traces", "the last sector of a block goes out of use", "covers",
        lambda: CoveredBlocksBench(covers=True), Method.COVER, 14, short=True,
    )  # fmt: skip
    for name, scene in SCENES.items():
        yield Proof(
            name, scene.says, "covers", lambda name=name: Scenes(name), Method.COVER, scene.clocks,
            short=name in ("late_conflict", "victim_snoop", "partial_answer"),
        )  # fmt: skip


PROOFS = tuple(_proofs())
