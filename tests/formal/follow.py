"""A naive queue of any length, of which one item is followed: what a block that keeps an order is compared with."""

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Follow"]


class Follow(wiring.Component):
    """Follows any one item that enters, until it leaves: a proof of it is one of every item and their order.

    Asserts that no more leave than have entered in earlier clocks, and that never more than `most` are inside.

    Members
    -------
    enters, leaves : In(1)
        At most one item each a clock.
    picked : Out(1)
        What enters in this clock is followed from now on.
    inside : Out(1)
        It entered in an earlier clock.
    here : Out(1)
        What leaves in this clock is the one that is followed.
    """

    def __init__(self, *, most):
        self._most = most
        super().__init__({"enters": In(1), "leaves": In(1), "picked": Out(1), "inside": Out(1), "here": Out(1)})

    def elaborate(self, platform):
        m = Module()
        count, ahead = Signal(range(self._most + 2)), Signal(range(self._most + 2))
        followed = Signal()
        m.d.comb += [
            Assert(~self.leaves | (count != 0)),
            Assert(count <= self._most),
            self.picked.eq(AnySeq(1) & self.enters & ~followed),
            self.here.eq(self.inside & self.leaves & (ahead == 0)),
        ]
        m.d.sync += count.eq(count + self.enters - self.leaves)
        with m.If(self.picked):
            m.d.sync += [followed.eq(1), self.inside.eq(1), ahead.eq(count - self.leaves)]
        with m.Elif(self.inside & self.leaves):
            m.d.sync += [self.inside.eq(ahead != 0), ahead.eq(ahead - 1)]
        return m
