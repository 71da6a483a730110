"""Delays a drain until the datapath has taken what was committed before it was asked for."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.common.layouts import Hold

__all__ = ["DrainGate"]


class DrainGate(wiring.Component):
    """Stands between the asker of a drain and the datapath, beside the FIFO of data operations between them.

    The datapath drains what it has taken; operations that are committed but still in the FIFO come first. Passes the
    request on once as many operations have left the FIFO as were in it when the request came.

    Members
    -------
    asker : In(Hold), datapath : Out(Hold)
    level : In
        Operations in the FIFO.
    taken : In(1)
        One leaves it in this clock.
    """

    def __init__(self, *, depth):
        if not isinstance(depth, int) or depth < 1:
            raise ValueError(f"depth must be a positive integer, not {depth!r}")
        self._depth = depth
        super().__init__(
            {
                "asker": In(Hold()),
                "datapath": Out(Hold()),
                "level": In(range(depth + 1)),
                "taken": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        counting = Signal()
        ahead = Signal(range(self._depth + 1))
        m.d.comb += [
            self.datapath.request.eq(self.asker.request & counting & (ahead == 0)),
            self.asker.granted.eq(self.datapath.granted),
        ]
        with m.If(~self.asker.request):
            m.d.sync += counting.eq(0)
        with m.Elif(~counting):
            m.d.sync += [counting.eq(1), ahead.eq(self.level - self.taken)]
        with m.Elif(self.taken & (ahead != 0)):
            m.d.sync += ahead.eq(ahead - 1)
        return m
