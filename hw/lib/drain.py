"""Drain: tells when everything accepted before a request has finished, while later work goes on."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.common import layouts

__all__ = ["Drain"]


class Drain(wiring.Component):
    """Counts work in two epochs. A request starts the next one; it is granted once the one before has none left.

    Nothing can join an epoch that is over, so this ends however much work comes. At most `capacity` pieces of work are
    unfinished at once; one is accepted and one finished a clock.

    Members: `hold` (`layouts.Hold`; `request` must stay until `granted`, which comes 1 clock later at the earliest and
    ends with `request`), `accepted`, `epoch` (of the work accepted in this clock), `finished`, `finished_epoch`.
    """

    def __init__(self, *, capacity):
        if not isinstance(capacity, int) or capacity < 1:
            raise ValueError(f"capacity must be a positive integer, not {capacity!r}")
        self._capacity = capacity
        super().__init__({
            "hold": In(layouts.Hold()),
            "accepted": In(1),
            "epoch": Out(1),
            "finished": In(1),
            "finished_epoch": In(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        draining, drained = Signal(), Signal()
        unfinished = [Signal(range(self._capacity + 1), name=f"unfinished_{number}") for number in range(2)]
        for number, count in enumerate(unfinished):
            joins = self.accepted & (self.epoch == number)
            leaves = self.finished & (self.finished_epoch == number)
            m.d.sync += count.eq(count + joins - leaves)
        m.d.comb += [
            drained.eq(draining & (Mux(self.epoch, unfinished[0], unfinished[1]) == 0)),
            self.hold.granted.eq(drained & self.hold.request),
        ]
        with m.If(self.hold.request & ~draining):
            m.d.sync += [self.epoch.eq(~self.epoch), draining.eq(1)]
        with m.Elif(drained & ~self.hold.request):
            m.d.sync += draining.eq(0)
        return m
