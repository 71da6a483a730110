"""Coherency: which lines hosts may hold, the snoops that take them back, and the requests that wait for these."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK, Access, Retry
from kv_endpoint.golden.events.port import EngineKind
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.coherency.covered_blocks import CoveredBlocks
from kv_endpoint.hw.coherency.filter.filter import SnoopFilter
from kv_endpoint.hw.coherency.grants_in_flight import GrantsInFlight
from kv_endpoint.hw.coherency.held_requests import HeldRequests
from kv_endpoint.hw.coherency.kept_blocks import KeptBlocks
from kv_endpoint.hw.coherency.recall import Recall
from kv_endpoint.hw.coherency.snoops.sender import BI_TAG_BITS
from kv_endpoint.hw.coherency.snoops.table import SnoopTable
from kv_endpoint.hw.coherency.starvation import StarvationGuard
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.layouts import FilterOp
from kv_endpoint.hw.front.request_slots import numbered
from kv_endpoint.hw.lib.arbiter import Arbiter

__all__ = ["Coherency"]

#: clocks that an operation waits before slots that ask the filter make way for it
_PATIENCE = 32

_HELD = tuple(outcome for outcome in Outcome if outcome.held)


class Coherency(wiring.Component):
    """Joins the parts of coherency (`hw/README.md`, Coherency).

    What a slot asks is answered `hw.pipeline.metadata.FILTER_CLOCKS` later, one a clock; operations go beside the
    slots.

    Members
    -------
    commit : In(commit), question : In, verdict : Out, take : In(1)
        Of the metadata pipeline.
    room : Out(1)
        Slots that ask the filter may issue.
    retry_slots : Out(stream of slots)
        `HeldRequests`.
    hold_reqs : Out(1)
        No new Req may issue: one that was held is to be tried again, or is overdue (`StarvationGuard`).
    hold : In(1), idle : Out(1)
        No operation begins; nothing is on its way, and what happened is counted.
    leave : In(numbered valid)
        A read slot's responses are queued.
    regions : In(array of regions), registers : In(layouts.coherency_registers)
    bisnp : Out(stream), birsp : In(stream)
    notes : Out(stream)
        What happens outside the filter: BI_SNOOP, ERROR.
    commit_note : Out, note_room : In(1)
        What operations do, in the clock in which they do it (`EventPort`).
    look : In({enable, index}), covered : Out(1)
        Whether a sector of a block is in use, a clock later.
    uncovered : Out({valid, head, block})
        A block is covered no longer.
    candidate : In(recall_candidate), pressure : In(1)
        `Recall`.
    sectors, in_flight, held : Out, events : Out(bi_events)
        For the CSR block.
    in_use : Out(1)
        A sector is in use, or a Req that asked the filter, or will, is neither granted nor refused: regions stay as
        they are. Of all commits before this clock; right once `idle`.
    """

    def __init__(self, *, config):
        self._config = config
        self._parts = {
            "filter": SnoopFilter(config=config),
            "covered_blocks": CoveredBlocks(config=config),
            "table": SnoopTable(config=config),
            "grants": GrantsInFlight(config=config),
            "held": HeldRequests(config=config),
            "kept": KeptBlocks(config=config),
            "guard": StarvationGuard(config=config),
            "recall": Recall(config=config),
        }
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "question": In(layouts.filter_question(config)),
                "verdict": Out(layouts.filter_verdict()),
                "take": In(1),
                "room": Out(1),
                "retry_slots": Out(layouts.slot_stream(config)),
                "hold_reqs": Out(1),
                "hold": In(1),
                "idle": Out(1),
                "leave": In(numbered(config, "valid")),
                "regions": In(data.ArrayLayout(layouts.region_layout(config), config.regions)),
                "registers": In(layouts.coherency_registers()),
                "bisnp": Out(stream.Signature(layouts.message("bisnp"))),
                "birsp": In(stream.Signature(layouts.message("birsp"))),
                "notes": Out(stream.Signature(layouts.engine_note(config))),
                "commit_note": Out(layouts.commit_note(config)),
                "note_room": In(1),
                "look": In(layouts.covered_look(config)),
                "covered": Out(1),
                "uncovered": Out(layouts.uncovered_head(config)),
                "candidate": In(layouts.recall_candidate(config)),
                "pressure": In(1),
                "sectors": Out(range(config.filter_sectors + 1)),
                "in_flight": Out(range(config.snoops + 1)),
                "held": Out(range(config.read_slots + 1)),
                "events": Out(layouts.bi_events()),
                "in_use": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        for name, part in self._parts.items():
            m.submodules[name] = part
        filter_, covered, table, grants, held, kept, guard, recall = self._parts.values()
        outside = flipped(self)
        done = filter_.done

        # Slots
        m.d.comb += [
            filter_.question.eq(self.question),
            self.verdict.eq(filter_.verdict),
            filter_.take.eq(self.take),
            filter_.slot_place.eq(table.slot_place),
            filter_.op_place.eq(table.op_place),
            filter_.last_place.eq(table.last_place),
            table.slot_launched.eq(filter_.slot_launched),
            table.op_launched.eq(filter_.op_launched),
            covered.slot_covers.eq(filter_.slot_covers),
            covered.op_covers.eq(filter_.op_covers),
            covered.slot_holds.eq(kept.covers),
        ]

        # Requests that wait, and those that were granted
        connect(m, held.retry_slots, outside.retry_slots)
        m.d.comb += [
            held.commit.eq(self.commit),
            kept.commit.eq(self.commit),
            held.waits_on.eq(filter_.waits_on),
            held.freed.eq(table.freed),
            guard.commit.eq(self.commit),
            self.hold_reqs.eq(held.retrying | guard.closed),
            grants.commit.eq(self.commit),
            grants.grants.eq(
                self.take & (self.commit.slot.access != Access.PLAIN) & ~self.commit.outcome.matches(*_HELD)
            ),
            grants.leave.eq(self.leave),
            grants.pending_sector.eq(table.pending_sector),
            table.pending.eq(grants.pending),
        ]

        self._elaborate_waiting(m)

        # Operations
        m.submodules.ops = ops = Arbiter(layouts.filter_op(config), count=2)
        connect(m, table.answers, ops.sources[0])
        connect(m, recall.ops, ops.sources[1])
        connect(m, ops.output, filter_.op)
        patience = Signal(range(_PATIENCE + 1), init=_PATIENCE)
        m.d.comb += [
            filter_.hold.eq(self.hold | ~covered.room),
            filter_.note_room.eq(self.note_room),
            table.done.eq(done),
            recall.done.eq(done),
            recall.candidate.eq(self.candidate),
            recall.pressure.eq(self.pressure),
            recall.uncovered.eq(covered.uncovered.valid),
            recall.stale.eq(filter_.stale),
            recall.recall_all.eq(self.registers.recall_all),
            # Slots make way for operations that have waited long, for a bank or for being counted.
            self.room.eq(filter_.ready & covered.ready & covered.room & (patience != 0)),
            self.idle.eq(filter_.idle & covered.settled),
        ]
        with m.If(~filter_.op.valid | filter_.op.ready | self.hold):
            m.d.sync += patience.eq(_PATIENCE)
        with m.Elif(patience != 0):
            m.d.sync += patience.eq(patience - 1)

        # What operations do
        note, snoop = self.commit_note.note, done.op.snoop
        sector_bits = (SECTORS_PER_BLOCK - 1).bit_length()
        is_answer = done.op.kind == FilterOp.ANSWER
        m.d.comb += self.commit_note.valid.eq(done.valid & (is_answer | done.launched))
        with m.If(done.op.kind == FilterOp.SCRUB):
            m.d.comb += [
                note.kind.eq(EngineKind.BI_SCRUB),
                note.key.eq(snoop.sector[: config.filter_set_bits]),
                note.aux.eq(done.op.everything),
            ]
        with m.Else():
            m.d.comb += [
                note.kind.eq(EngineKind.BI_RECALL),
                note.key.eq(snoop.sector[:sector_bits]),
                Cat(note.block, note.head).eq(snoop.sector[sector_bits:]),
            ]
        with m.If(is_answer):
            states = Cat(
                done.op.states[2 * line :][:2] & snoop.lines[line].replicate(2) for line in range(SECTOR_LINES)
            )
            m.d.comb += [
                note.kind.eq(EngineKind.BI_ANSWER),
                note.aux.eq(Cat(done.op.tag, Const(0, BI_TAG_BITS - len(done.op.tag)), snoop.lines, states)),
            ]

        # Outside
        connect(m, table.bisnp, outside.bisnp)
        connect(m, outside.birsp, table.birsp)
        connect(m, table.notes, outside.notes)
        m.d.comb += [
            table.regions.eq(self.regions),
            table.in_flight_cap.eq(self.registers.snoop_limit),
            table.timeout.eq(self.registers.timeout),
            covered.look.eq(self.look),
            self.covered.eq(covered.covered),
            self.uncovered.eq(covered.uncovered),
            self.sectors.eq(covered.sectors),
            self.in_flight.eq(table.in_flight),
            self.held.eq(held.held),
            self.events.bad_birsp.eq(table.bad_birsp),
            self.events.timed_out.eq(table.timed_out),
            self.events.snoop.eq(
                table.notes.valid & table.notes.ready & (table.notes.payload.kind == EngineKind.BI_SNOOP)
            ),
            self.events.answer.eq(self.commit_note.valid & is_answer),
            self.events.recall.eq(self.commit_note.valid & ~is_answer),
        ]
        return m

    def _elaborate_waiting(self, m):
        """What is held or missed keeps its region as it is."""
        slot, outcome = self.commit.slot, self.commit.outcome
        asks, comes_again = slot.access != Access.PLAIN, slot.retry != Retry.NO
        held, is_req, enters, leaves = Signal(), Signal(), Signal(), Signal()
        waiting = Signal(range(self._config.read_slots + 1))
        m.d.comb += [
            held.eq(outcome.matches(*_HELD)),
            is_req.eq(slot.kind.matches(SlotKind.READ, SlotKind.RELEASE) & asks),
            enters.eq(is_req & ~comes_again & (held | (outcome == Outcome.MISS))),
        ]
        with m.Switch(slot.kind):
            with m.Case(SlotKind.READ, SlotKind.RELEASE):
                m.d.comb += leaves.eq(comes_again & ~held & (outcome != Outcome.MISS))
            with m.Case(SlotKind.REPLAY_READ, SlotKind.BYPASS_READ):
                m.d.comb += leaves.eq(asks & ~held)
            with m.Case(SlotKind.ANSWER):
                m.d.comb += leaves.eq((outcome == Outcome.UNWRITABLE) & ~slot.rwd)
        with m.If(self.commit.valid):
            m.d.sync += waiting.eq(waiting + enters - leaves)
        m.d.comb += self.in_use.eq((self.sectors != 0) | (waiting != 0))
