"""Coherency with a host that caches: traces of what the proofs are about, found by the solver."""

from dataclasses import dataclass

from amaranth.asserts import AnySeq
from amaranth.hdl import Assume, Cat, Cover, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.fifo import SyncFIFO

from kv_endpoint.golden.common.config import SECTOR_LINES, preset
from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.common.messages import (
    BIRspOpcode,
    BISnpOpcode,
    MetaField,
    MetaValue,
    NDROpcode,
    ReqOpcode,
    RwDOpcode,
    SnpType,
)
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.coherency.unit import Coherency
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.pipeline.metadata import FILTER_CLOCKS
from tests.formal.scene_events import fields_of

__all__ = ["SCENES", "Scene", "Scenes"]

#: lines that the host asks for: those of the first sectors of block 0
_LINE_BITS = 5
_RESPONSES = 8
#: tag of the write-back of what the Req with tag 0 brought
WRITE_BACK_TAG = 8


@dataclass(frozen=True)
class Scene:
    """What is covered, in words; within how many clocks; and what the host and the engines may do, at most: messages of
    each kind, and recalls of the block.
    """

    says: str
    clocks: int
    reqs: int
    conflicts: int = 0
    write_backs: int = 0
    answers: int = 1
    recalls: int = 0


SCENES = {
    "early_conflict": Scene("a Req is acknowledged, then completed: it waited for its snoop", 36, reqs=3, conflicts=1),
    "late_conflict": Scene("a Req is completed, then acknowledged, then its snoop ends", 30, reqs=2, conflicts=1),
    "victim_snoop": Scene("a sector is asked back for another, a Req completed meanwhile", 26, reqs=3),
    "partial_answer": Scene("a block snoop ends by two answers of single lines", 34, reqs=2, answers=2, recalls=1),
    "write_back_in_recall": Scene(
        "a write-back is completed while its block is asked back; then the block may leave", 34, reqs=1, write_backs=1,
        recalls=1,
    ),
}  # fmt: skip


def _show(m, channel, happens, payload):
    """Keep what an event of `tests.formal.scene_events` needs."""
    shown = Cat(happens, *fields_of(payload, channel))
    event = Signal.like(shown, name=f"event_{channel}", attrs={"keep": True})
    m.d.comb += event.eq(shown)


class Scenes(Elaboratable):
    """`Coherency` behind a naive pipeline, with a host that caches, and engines that ask for block 0 back.

    The pipeline takes RwD first, then held requests, then Req, one a clock; commits each slot 3 clocks later, as the
    snoop filter says; and queues what a commit completes in one NDR queue. The host is any that keeps the rules: it
    asks for no line that it is asked back; answers what it was asked, once, with BIRspI, and not before a write-back of
    it is completed; answers a BISnp of a line that one of its Reqs is pending for with BIConflict first, and by BIRsp
    when that is acknowledged. It takes NDR and BISnp when it likes.

    Covered, by the name of the scene:

    - early_conflict: a Req is acknowledged, then completed: it has waited for the snoop of its line.
    - late_conflict: a Req is completed, then acknowledged, then its snoop answered and at its end.
    - victim_snoop: to admit a sector another one is asked back; a Req is completed meanwhile, and the snoop ends.
    - partial_answer: the lines of a block snoop are answered one by one, and the filter takes two answers.
    - write_back_in_recall: a block is asked back so that it can leave; a write-back of its line is completed meanwhile;
      the block is covered no longer.
    """

    def __init__(self, name):
        self._name, self._scene = name, SCENES[name]

    def elaborate(self, platform):
        m = Module()
        config = preset(
            "tiny", heads=1, blocks_per_head=2, filter_sets=2, filter_ways=2, snoops=2, pin_cap=0, demotion_slots=1,
            read_slots=4, regions=1,
        )  # fmt: skip
        m.submodules.coherency = self.coherency = coherency = Coherency(config=config)
        region = coherency.regions[0]
        candidate, recalls = coherency.candidate, Signal(4)
        m.d.comb += [
            region.enabled.eq(1),
            region.heads.eq(1),
            coherency.note_room.eq(1),
            coherency.notes.ready.eq(1),
            coherency.registers.snoop_limit.eq(config.snoops),
            candidate.valid.eq(AnySeq(1)),
            coherency.pressure.eq(1),
            Assume(~candidate.valid | (recalls < self._scene.recalls)),
        ]
        m.d.sync += recalls.eq(recalls + candidate.valid)
        self._pipeline(m, config)
        self._host(m)
        return m

    def _pipeline(self, m, config):
        coherency = self.coherency
        self.req, self.rwd, self.ndr = (
            stream.Signature(layouts.message(name)).create() for name in ("req", "rwd", "ndr")
        )
        req, rwd, retry = self.req.payload, self.rwd.payload, coherency.retry_slots
        slots = [Signal(layouts.slot(config), name=f"slot{clock}") for clock in range(FILTER_CLOCKS + 1)]
        valid = [Signal(name=f"valid{clock}") for clock in range(FILTER_CLOCKS + 1)]
        slot, last = slots[0], slots[-1]
        m.d.comb += valid[0].eq(
            coherency.room & (self.rwd.valid | retry.valid | (self.req.valid & ~coherency.hold_reqs))
        )
        with m.If(self.rwd.valid):
            conflicts = rwd.opcode == RwDOpcode.BI_CONFLICT
            m.d.comb += [
                self.rwd.ready.eq(coherency.room),
                slot.kind.eq(Mux(conflicts, SlotKind.ANSWER, SlotKind.WRITE)),
                slot.rwd.eq(1),
                slot.tag.eq(rwd.tag),
                slot.line.eq(rwd.address),
                slot.access.eq(Mux(conflicts, Access.PLAIN, Access.WRITE_BACK)),
            ]
        with m.Elif(retry.valid):
            m.d.comb += [retry.ready.eq(coherency.room), slot.eq(retry.payload)]
        with m.Elif(~coherency.hold_reqs):
            owns = req.meta_value == MetaValue.ANY
            m.d.comb += [
                self.req.ready.eq(coherency.room),
                slot.kind.eq(SlotKind.READ),
                slot.id.eq(req.tag),
                slot.tag.eq(req.tag),
                slot.line.eq(req.address),
                slot.access.eq(Mux(owns, Access.READ_OWN, Access.READ_SHARED)),
            ]
        for clock in range(FILTER_CLOCKS):
            m.d.sync += [slots[clock + 1].eq(slots[clock]), valid[clock + 1].eq(valid[clock])]
        question, verdict, commit = coherency.question, coherency.verdict, coherency.commit
        asks = last.access != Access.PLAIN
        m.d.comb += [
            question.valid.eq(valid[0] & (slot.access != Access.PLAIN)),
            question.access.eq(slot.access),
            question.retry.eq(slot.retry),
            question.sector.eq(slot.line[2:]),
            question.line.eq(slot.line[:2]),
            commit.valid.eq(valid[-1]),
            commit.slot.eq(last),
            commit.outcome.eq(Mux(asks, Mux(verdict.owner, Outcome.HIT, Outcome.NOT_OWNER), Outcome.CONFLICT)),
            coherency.take.eq(valid[-1] & asks),
        ]
        with m.If(asks & (verdict.held != 0)):
            m.d.comb += commit.outcome.eq(verdict.held)

        # What the host takes of the queue, as long as a response of each message has a place there
        response = data.StructLayout({"tag": 16, "opcode": 3})
        m.submodules.responses = responses = SyncFIFO(width=response.size, depth=_RESPONSES)
        queued, shown = Signal(response), response(responses.r_data)
        leave = coherency.leave
        m.d.comb += [
            queued.tag.eq(last.tag),
            queued.opcode.eq(Mux(asks, Mux(last.rwd, NDROpcode.CMP, verdict.grant), NDROpcode.BI_CONFLICT_ACK)),
            responses.w_en.eq(valid[-1] & ~(asks & (verdict.held != 0))),
            responses.w_data.eq(queued),
            responses.r_en.eq(self.ndr.ready),
            self.ndr.valid.eq(responses.r_rdy),
            self.ndr.payload.tag.eq(shown.tag),
            self.ndr.payload.opcode.eq(shown.opcode),
        ]
        m.d.sync += [leave.valid.eq(responses.w_en & ~last.rwd), leave.id.eq(last.id)]

    def _host(self, m):
        coherency, scene = self.coherency, self._scene
        tags = range(scene.reqs)
        ports = {
            "req": self.req, "rwd": self.rwd, "birsp": coherency.birsp, "ndr": self.ndr, "bisnp": coherency.bisnp,
        }  # fmt: skip
        took = {name: port.valid & port.ready for name, port in ports.items()}
        m.d.comb += [port.ready.eq(AnySeq(1)) for name, port in ports.items() if name in ("ndr", "bisnp")]
        req, rwd, birsp, ndr, bisnp = (port.payload for port in ports.values())

        # Req: of any line of block 0, for a copy or for ownership, tags as they come. One that is offered stays.
        sent = Signal(range(scene.reqs + 1))
        line, owns = AnySeq(_LINE_BITS), AnySeq(1)
        waiting = Signal()
        m.d.sync += [sent.eq(sent + took["req"]), waiting.eq(self.req.valid & ~self.req.ready)]
        kept = Signal.like(Cat(line, owns))
        m.d.sync += kept.eq(Cat(line, owns))
        m.d.comb += [
            self.req.valid.eq(AnySeq(1)),
            req.opcode.eq(ReqOpcode.MEM_RD),
            req.meta_field.eq(MetaField.META0_STATE),
            req.meta_value.eq(Mux(owns, MetaValue.ANY, MetaValue.SHARED)),
            req.snp_type.eq(Mux(owns, SnpType.SNP_INV, SnpType.SNP_DATA)),
            req.tag.eq(sent),
            req.address.eq(line),
            Assume(~self.req.valid | (sent < scene.reqs)),
            Assume(~waiting | (self.req.valid & (kept == Cat(line, owns)))),
        ]

        # BISnp: its lines are open until they are answered.
        sector_of = [Signal(len(line) - 2, name=f"sector{place}") for place in range(2)]
        open_lines = [Signal(SECTOR_LINES, name=f"open{place}") for place in range(2)]
        asked = [Signal(SECTOR_LINES, name=f"asked{place}") for place in range(2)]
        is_block = [Signal(name=f"is_block{place}") for place in range(2)]
        asked_lines = Signal(SECTOR_LINES)
        halves = bisnp.address[:2]
        with m.If(bisnp.opcode >= BISnpOpcode.CUR_BLK):
            m.d.comb += asked_lines.eq(Cat(halves[0], halves[0], halves[1], halves[1]))
        with m.Else():
            m.d.comb += asked_lines.eq(1 << halves)

        def is_asked(address):
            """The BISnp that is taken in this clock covers a line."""
            return (
                took["bisnp"] & (bisnp.address[2 : len(line)] == address[2:]) & asked_lines.bit_select(address[:2], 1)
            )

        def is_open(address):
            return Cat(
                (sector == address[2:]) & lines.bit_select(address[:2], 1)
                for sector, lines in zip(sector_of, open_lines, strict=True)
            ).any()

        m.d.comb += Assume(~self.req.valid | ~is_open(line))

        # Req by tag
        addresses = [Signal.like(line, name=f"line{tag}") for tag in tags]
        pending, owned, meets, conflicted, acked, writing = (
            [Signal(name=f"{name}{tag}") for tag in tags]
            for name in ("pending", "owned", "meets", "conflicted", "acked", "writing")
        )
        sends_conflict, sends_write = AnySeq(1), AnySeq(1)
        which = AnySeq(2)
        m.d.comb += [
            self.rwd.valid.eq(sends_conflict | sends_write),
            Assume(~(sends_conflict & sends_write)),
            rwd.opcode.eq(Mux(sends_conflict, RwDOpcode.BI_CONFLICT, RwDOpcode.MEM_WR)),
            rwd.meta_field.eq(MetaField.META0_STATE),
            rwd.tag.eq(which | Mux(sends_conflict, 0, WRITE_BACK_TAG)),
            Assume(~self.rwd.valid | (which < scene.reqs)),
        ]
        is_ack = ndr.opcode == NDROpcode.BI_CONFLICT_ACK
        acknowledged, completed = (
            [took["ndr"] & (ndr.tag == tag) & (is_ack if acks else ~is_ack) for tag in tags] for acks in (1, 0)
        )
        blocked = Signal(2)
        for tag in tags:
            address = addresses[tag]
            takes = took["req"] & (sent == tag)
            m.d.comb += Assume(~self.req.valid | ~pending[tag] | (line != address))
            with m.If(took["req"] & (line == address)):
                m.d.sync += owned[tag].eq(0)
            with m.If(takes):
                m.d.sync += [address.eq(line), pending[tag].eq(1), meets[tag].eq(is_asked(line))]
            with m.If(completed[tag]):
                m.d.sync += [pending[tag].eq(0), owned[tag].eq(ndr.opcode == NDROpcode.CMP_E)]
            with m.Elif(pending[tag] & is_asked(address)):
                m.d.sync += meets[tag].eq(1)
            with m.If(took["rwd"] & (which == tag)):
                m.d.sync += [conflicted[tag].eq(conflicted[tag] | sends_conflict), writing[tag].eq(sends_write)]
                with m.If(sends_write):
                    m.d.sync += owned[tag].eq(0)
            with m.If(acknowledged[tag]):
                m.d.sync += acked[tag].eq(1)
            with m.If(took["ndr"] & (ndr.tag == tag + WRITE_BACK_TAG)):
                m.d.sync += writing[tag].eq(0)
            with m.If(which == tag):
                m.d.comb += [
                    Assume(~sends_conflict | (meets[tag] & ~conflicted[tag])),
                    Assume(~sends_write | owned[tag]),
                    rwd.address.eq(address),
                ]
            for place, (sector, lines) in enumerate(zip(sector_of, open_lines, strict=True)):
                writes = writing[tag] | sends_write & (which == tag)
                with m.If((meets[tag] & ~acked[tag] | writes) & (sector == address[2:]) & (lines != 0)):
                    m.d.comb += blocked[place].eq(1)
        for count, strobe, taken, most in (
            ("conflicts", sends_conflict, self.rwd.ready, scene.conflicts),
            ("write_backs", sends_write, self.rwd.ready, scene.write_backs),
            ("answers", coherency.birsp.valid, 1, scene.answers),
        ):
            done = Signal(4, name=count)
            m.d.sync += done.eq(done + (strobe & taken))
            m.d.comb += Assume(~strobe | (done < most))

        # BIRsp
        place, low, whole = AnySeq(1), AnySeq(2), AnySeq(1)
        m.d.comb += [
            coherency.birsp.valid.eq(AnySeq(1)),
            birsp.bi_tag.eq(place),
            birsp.low_addr.eq(low),
            birsp.opcode.eq(Mux(whole, BIRspOpcode.I_BLK, BIRspOpcode.I)),
        ]
        for number, (sector, lines) in enumerate(zip(sector_of, open_lines, strict=True)):
            here = coherency.birsp.valid & (place == number)
            m.d.comb += Assume(~here | (~blocked[number] & Mux(
                whole, is_block[number] & (lines == asked[number]), lines.bit_select(low, 1)
            )))  # fmt: skip
            with m.If(took["bisnp"] & (bisnp.bi_tag == number)):
                m.d.sync += [
                    sector.eq(bisnp.address[2:]), lines.eq(asked_lines), asked[number].eq(asked_lines),
                    is_block[number].eq(bisnp.opcode >= BISnpOpcode.CUR_BLK),
                ]  # fmt: skip
            with m.Elif(here):
                m.d.sync += lines.eq(Mux(whole, 0, lines & ~(1 << low)))

        # What is shown
        for name, port in ports.items():
            _show(m, name, took[name], port.payload)
        commit, note = coherency.commit, coherency.commit_note
        slot = {name: commit.slot[name] for name in ("kind", "tag", "rwd")} | {"outcome": commit.outcome}
        _show(m, "slot", commit.valid, slot)
        _show(m, "note", note.valid, note.note)

        # What is covered: `first` something, then in a later clock what the scene ends with
        snooped = Cat(lines.any() for lines in open_lines).any()
        partly = Cat(lines.any() & (lines != each) for lines, each in zip(open_lines, asked, strict=True)).any()
        applied = coherency.events.answer
        first, ends = {
            "early_conflict": (
                Cat(acknowledged[tag] & meets[tag] & pending[tag] for tag in tags).any(),
                Cat(completed[tag] & acked[tag] for tag in tags).any(),
            ),
            "late_conflict": (Cat(acknowledged[tag] & meets[tag] & ~pending[tag] for tag in tags).any(), applied),
            "victim_snoop": (Cat(completed).any() & snooped, applied),
            "partial_answer": (applied & partly, applied),
            "write_back_in_recall": (took["rwd"] & sends_write & snooped, coherency.uncovered.valid),
        }[self._name]
        seen = Signal()
        m.d.sync += seen.eq(seen | first)
        m.d.comb += Cover(seen & ends)
