"""Which sidecar rows memory does not have, since it refused them: what it holds in their place means nothing."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.common import layouts

__all__ = ["LostRows", "page_placed", "row_ended"]


def row_ended(config):
    """The write of row `row` has ended in a clock with `valid`: memory has it, or it is `lost`."""
    return layouts.layout((("valid", 1), ("row", config.row_bits), ("lost", 1)))


def page_placed(config):
    """A page comes from flash to this frame, all its rows with it."""
    return layouts.layout((("valid", 1), ("mode", 1), ("frame", config.frame_bits)))


class LostRows(wiring.Component):
    """A bit a row, kept in a RAM that reset does not clear: a frame gets an owner by a page, which clears its bits, or
    with rows made in the cache, whose bits are written when they leave it.

    Members
    -------
    row : In(row_bits), lost : Out(1)
        `lost` tells of the `row` of the clock before, what ended in that clock included.
    ended : In(row_ended)
        One a clock, never refused.
    placed : In(page_placed)
        Takes effect in the first clock in which nothing ends; the next comes after that.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "row": In(config.row_bits),
                "lost": Out(1),
                "ended": In(row_ended(config)),
                "placed": In(page_placed(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        frame_bits = self._config.frame_bits
        # By {mode, frame}, so that a page clears both rows of mode mxint8 in one clock.
        m.submodules.marks = marks = Memory(shape=2, depth=1 << frame_bits + 1, init=[])
        write = marks.write_port(granularity=1)
        read = marks.read_port(transparent_for=(write,))

        def address(row):
            return Cat(Mux(row[-1], row[1:-1], row[:frame_bits]), row[-1])

        second, pending = Signal(), Signal(page_placed(self._config))
        m.d.comb += [read.addr.eq(address(self.row)), self.lost.eq(read.data.bit_select(second, 1))]
        m.d.sync += second.eq(self.row[-1] & self.row[0])
        with m.If(self.ended.valid):
            m.d.comb += [
                write.addr.eq(address(self.ended.row)),
                write.data.eq(self.ended.lost.replicate(2)),
                write.en.eq(1 << (self.ended.row[-1] & self.ended.row[0])),
            ]
        with m.Else():
            m.d.comb += [write.addr.eq(Cat(pending.frame, pending.mode)), write.en.eq(pending.valid.replicate(2))]
            m.d.sync += pending.valid.eq(0)
        with m.If(self.placed.valid):
            m.d.sync += pending.eq(self.placed)
        return m
