"""The short proofs hold, and a proof of something false is refused."""

import pytest
from amaranth.hdl import Assert, Cover, Elaboratable, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.messages import BISnpOpcode, NDROpcode, RwDOpcode
from kv_endpoint.hw.endpoint import Endpoint
from tests.formal.ports import PROVEN, driven_ports
from tests.formal.proofs import PROOFS
from tests.formal.prove import Method, Proof, prove
from tests.formal.scene_bench import SCENES
from tests.formal.scene_events import events_in


@pytest.mark.parametrize(
    "proof", [proof for proof in PROOFS if proof.short and proof.name not in SCENES], ids=lambda proof: proof.name
)
def test_a_short_proof_holds(proof, tmp_path):
    result = prove(proof, tmp_path)
    assert result.holds, result.report


#: (channel, opcode) of the messages that make the scene, in this order
TOLD = {
    "late_conflict": [
        ("bisnp", BISnpOpcode.INV), ("rwd", RwDOpcode.BI_CONFLICT), ("ndr", None), ("ndr", NDROpcode.BI_CONFLICT_ACK),
        ("birsp", 0),
    ],
    "victim_snoop": [("bisnp", BISnpOpcode.INV), ("ndr", None), ("birsp", 0)],
    "partial_answer": [("bisnp", BISnpOpcode.INV_BLK), ("birsp", 0), ("birsp", 0)],
}  # fmt: skip


#: one of them shows that scenes are found and told
SHORT_SCENE = "victim_snoop"


@pytest.mark.parametrize(
    "scene", [pytest.param(name, marks=() if name == SHORT_SCENE else pytest.mark.long) for name in TOLD]
)
def test_the_solver_finds_the_scene_and_tells_it_message_by_message(scene, tmp_path):
    proof = next(proof for proof in PROOFS if proof.name == scene)
    result = prove(proof, tmp_path)
    print(result.report)
    assert result.holds, result.report
    events = iter(events_in((tmp_path / f"{scene}.vcd").read_text()))
    # Each comes behind the one before it. None: any completion.
    for channel, opcode in TOLD[scene]:
        assert any(
            each == channel
            and (fields["opcode"] != NDROpcode.BI_CONFLICT_ACK if opcode is None else fields["opcode"] == opcode)
            for _, each, fields in events
        ), result.report


class Counter(Elaboratable):
    """Counts 0 .. 5 and stays there; asserts that it never reaches `limit`, covers that it reaches `aim`."""

    def __init__(self, limit=7, aim=5):
        self._limit, self._aim = limit, aim

    def elaborate(self, platform):
        m = Module()
        count = Signal(3)
        with m.If(count != 5):
            m.d.sync += count.eq(count + 1)
        m.d.comb += [Assert(count != self._limit), Cover(count == self._aim)]
        return m


@pytest.mark.parametrize(
    ("method", "bench", "holds"),
    [
        (Method.BOUNDED, Counter(), True),
        (Method.BOUNDED, Counter(limit=4), False),
        # 6 -> 7 could happen, if 6 could.
        (Method.INDUCTION, Counter(), False),
        (Method.INDUCTION, Counter(limit=6), True),
        (Method.COVER, Counter(), True),
        (Method.COVER, Counter(aim=6), False),
    ],
)
def test_what_is_false_is_not_proven(method, bench, holds, tmp_path):
    proof = Proof("counter", "", "", lambda: bench, method, 8 if method != Method.INDUCTION else 1)
    assert prove(proof, tmp_path).holds == holds


def test_no_port_of_the_endpoint_is_left_out():
    assert sorted(driven_ports(Endpoint(config=preset("tiny")))) == sorted(PROVEN)
    assert {name for names in PROVEN.values() for name in names} <= {proof.name for proof in PROOFS}


def test_a_port_that_the_endpoint_drives_and_nothing_proves_is_noticed():
    ports = Endpoint(config=preset("tiny")).signature.members
    more = {"more": Out(stream.Signature(8)), "taken": In(stream.Signature(8))}
    wider = wiring.Component({**ports, **more})
    assert sorted(driven_ports(wider)) == sorted((*PROVEN, "more"))
    lacking = {name: member for name, member in ports.items() if name not in ("bisnp", "mem")}
    assert {*PROVEN} - {*driven_ports(wiring.Component(lacking))} == {"bisnp", "mem_aw", "mem_w", "mem_ar"}


def test_names_of_proofs_are_unique():
    names = [proof.name for proof in PROOFS]
    assert len(names) == len(set(names))
