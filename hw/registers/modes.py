"""The mode of each head, and whether a region may have another one; which heads may be cached."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.pipeline.metadata import Outcome
from kv_endpoint.hw.common import layouts

__all__ = ["HeadModes"]


class HeadModes(wiring.Component):
    """Keeps the mode of each head, that of its region when it was last enabled, and whether hosts may cache its lines
    (`golden.registers.state.Registers`).

    A head that has had a block since reset, or that has a minimum quota, keeps its mode, and so does its whole region.
    The heads of a region are looked at one a clock, `count` + 1 clocks from `start` to `done`. Only in a held pipeline,
    so that what was found is still true at `apply`.

    Members
    -------
    commit : In(layouts.commit)
    has_minimum : In(heads)
        Heads with a minimum quota.
    start : In(1), first, count, enabled, mode, cached : In
        Look at `count` heads from `first` on: may they have `mode`, if `enabled`? They must exist.
    done, refused : Out(1)
        For one clock; `refused` holds from then on until the next start.
    apply : In(1)
        The heads looked at have the mode now, if `enabled`, and are cached, if `enabled` and `cached`.
    modes, cached_heads : Out(heads)
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "has_minimum": In(config.heads),
                "start": In(1),
                "first": In(config.head_bits),
                "count": In(range(config.heads + 1)),
                "enabled": In(1),
                "mode": In(1),
                "cached": In(1),
                "done": Out(1),
                "refused": Out(1),
                "apply": In(1),
                "modes": Out(config.heads),
                "cached_heads": Out(config.heads),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config

        # The broadcast has many listeners: it gets a clock to arrive. A hold begins later than that.
        wrote, writer = Signal(), Signal(config.head_bits)
        had_blocks = Signal(config.heads)
        m.d.sync += [
            wrote.eq(self.commit.valid & (self.commit.outcome == Outcome.FIRST_WRITE)),
            writer.eq(self.commit.slot.head),
        ]
        with m.If(wrote):
            m.d.sync += had_blocks.bit_select(writer, 1).eq(1)

        head = Signal(config.head_bits)
        left = Signal.like(self.count)
        scanning = Signal()
        scanned = Signal(config.heads)
        mode, enabled, cached = Signal(), Signal(), Signal()
        keeps = (had_blocks | self.has_minimum).bit_select(head, 1)
        with m.If(self.start):
            m.d.sync += [
                head.eq(self.first), left.eq(self.count), mode.eq(self.mode), scanning.eq(1), scanned.eq(0),
                self.refused.eq(0), enabled.eq(self.enabled), cached.eq(self.enabled & self.cached),
            ]  # fmt: skip
        with m.Elif(left != 0):
            m.d.sync += [head.eq(head + 1), left.eq(left - 1), scanned.bit_select(head, 1).eq(1)]
            with m.If(enabled & keeps & (self.modes.bit_select(head, 1) != mode)):
                m.d.sync += self.refused.eq(1)
        with m.Elif(self.done):
            m.d.sync += scanning.eq(0)
        m.d.comb += self.done.eq(scanning & (left == 0))

        with m.If(self.apply):
            m.d.sync += self.cached_heads.eq(Mux(cached, self.cached_heads | scanned, self.cached_heads & ~scanned))
            with m.If(enabled):
                m.d.sync += self.modes.eq(Mux(mode, self.modes | scanned, self.modes & ~scanned))
        return m
