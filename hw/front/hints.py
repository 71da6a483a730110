"""Hint lines in hardware: a step counter, and a HINT slot for each block of a line (`golden/front/hints.py`)."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.events.port import EngineKind, ErrorKind
from kv_endpoint.golden.front.hints import ENTRIES_MAX, HeaderCheck
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.common import layouts

__all__ = ["HintUnit", "hint_line"]


def hint_line(config):
    """A line written to the hint window of `head`, and the write slot that holds it."""
    return layouts.layout(
        (
            ("head", config.head_bits), ("tag", 16), ("id", layouts.id_bits(config)), ("poison", 1),
            ("data", layouts.LINE_BITS),
        )
    )  # fmt: skip


class HintUnit(wiring.Component):
    """Turns a hint line into slots: one HINT slot an entry, then an ANSWER slot whose commit completes the line.

    Two clocks to check the header, then one slot a clock; a header that advances the step first waits for the pipeline
    to stand still. A line at a time.

    Members
    -------
    lines : In(stream)
    slots : Out(stream of slots)
    hold : Out(Hold)
        Asked for when the step counter is to move.
    notes : Out(stream)
        STEP, in the clock in which the counter moves; ERROR when it may not move any more.
    leap_cap : In(16)
    now : Out(step)
        The step counter.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "lines": In(stream.Signature(hint_line(config))),
                "slots": Out(layouts.slot_stream(config)),
                "hold": Out(layouts.Hold()),
                "notes": Out(stream.Signature(layouts.engine_note(config))),
                "leap_cap": In(16),
                "now": Out(config.step_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        step_end = (1 << config.step_bits) - (1 << 16)

        line = Signal.like(self.lines.payload)
        step16, count, flags = line.data[0:16], line.data[16:20], line.data[20:32]
        blocks = [line.data[32 + 32 * i : 48 + 32 * i] for i in range(ENTRIES_MAX)]
        scores = [line.data[48 + 32 * i : 64 + 32 * i] for i in range(ENTRIES_MAX)]

        loaded = Signal()
        leap = Signal(16)
        malformed = Signal()
        check = Signal(HeaderCheck)
        new_step = Signal(config.step_bits + 1)
        position = Signal(range(ENTRIES_MAX + 1))

        m.d.comb += new_step.eq(Mux(loaded, self.now + leap, step16))
        with m.If(malformed):
            m.d.comb += check.eq(HeaderCheck.MALFORMED)
        with m.Elif(~loaded):
            m.d.comb += check.eq(HeaderCheck.ADVANCE)
        with m.Elif(leap == 0):
            m.d.comb += check.eq(HeaderCheck.CURRENT)
        with m.Elif(leap > self.leap_cap):
            m.d.comb += check.eq(HeaderCheck.STALE)
        with m.Elif(new_step >= step_end):
            m.d.comb += check.eq(HeaderCheck.EXHAUSTED)
        with m.Else():
            m.d.comb += check.eq(HeaderCheck.ADVANCE)

        slot = self.slots.payload
        outcome = Signal(Outcome, init=Outcome.HINT_DONE)
        m.d.comb += [slot.rwd.eq(1), slot.id.eq(line.id), slot.tag.eq(line.tag), slot.head.eq(line.head)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.lines.ready.eq(1)
                with m.If(self.lines.valid):
                    m.d.sync += [line.eq(self.lines.payload), position.eq(0), outcome.eq(Outcome.HINT_DONE)]
                    m.next = "MEASURE"
            with m.State("MEASURE"):
                bad = [(count > i) & (blocks[i] >= config.blocks_per_head) for i in range(ENTRIES_MAX)]
                m.d.sync += [
                    leap.eq(step16 - self.now[:16]),
                    malformed.eq(flags.any() | line.poison | Cat(bad).any()),
                ]
                m.next = "CHECK"
            with m.State("CHECK"):
                with m.Switch(check):
                    with m.Case(HeaderCheck.CURRENT):
                        m.next = "BLOCKS"
                    with m.Case(HeaderCheck.ADVANCE):
                        m.next = "ADVANCE"
                    with m.Case(HeaderCheck.STALE):
                        m.d.sync += outcome.eq(Outcome.HINT_STALE)
                        m.next = "ANSWER"
                    with m.Case(HeaderCheck.MALFORMED):
                        m.d.sync += outcome.eq(Outcome.HINT_MALFORMED)
                        m.next = "ANSWER"
                    with m.Case(HeaderCheck.EXHAUSTED):
                        m.d.sync += outcome.eq(Outcome.HINT_EXHAUSTED)
                        m.next = "EXHAUSTED"
            with m.State("ADVANCE"):
                m.d.comb += [
                    self.hold.request.eq(1),
                    self.notes.valid.eq(self.hold.granted),
                    self.notes.payload.kind.eq(EngineKind.STEP),
                    self.notes.payload.aux.eq(new_step),
                ]
                with m.If(self.notes.valid & self.notes.ready):
                    m.d.sync += [self.now.eq(new_step), loaded.eq(1)]
                    m.next = "BLOCKS"
            with m.State("EXHAUSTED"):
                m.d.comb += [
                    self.notes.valid.eq(1),
                    self.notes.payload.kind.eq(EngineKind.ERROR),
                    self.notes.payload.key.eq(ErrorKind.STEP_EXHAUSTED),
                    self.notes.payload.aux.eq(step16),
                ]
                with m.If(self.notes.ready):
                    m.next = "ANSWER"
            with m.State("BLOCKS"):
                with m.If(position == count):
                    m.next = "ANSWER"
                with m.Else():
                    m.d.comb += [self.slots.valid.eq(1), slot.kind.eq(SlotKind.HINT)]
                    with m.Switch(position):
                        for i in range(ENTRIES_MAX):
                            with m.Case(i):
                                m.d.comb += [slot.block.eq(blocks[i]), slot.value.eq(scores[i])]
                    with m.If(self.slots.ready):
                        m.d.sync += position.eq(position + 1)
            with m.State("ANSWER"):
                m.d.comb += [
                    self.slots.valid.eq(1),
                    slot.kind.eq(SlotKind.ANSWER),
                    slot.value.eq(step16),
                    slot.outcome.eq(outcome),
                ]
                with m.If(self.slots.ready):
                    m.next = "IDLE"
        return m
