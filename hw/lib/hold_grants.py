"""Who holds the metadata pipeline still: one requester at a time, and several that share one request."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.common.layouts import Hold

__all__ = ["Quiesce", "Share"]


class Quiesce(wiring.Component):
    """Grants the pipeline to one holder at a time, in turns.

    A grant takes as long as the slots in flight need, at most the pipeline's depth. After each hold the pipeline runs
    free for `gap` clocks, so that a requester that comes back at once cannot starve the host.

    Members
    -------
    holds : In(Hold), array of `count`
        `granted` stays high, once the pipeline was idle, until `request` falls.
    idle : In(1)
        No slot in flight.
    hold_external : Out(1)
        No slot of the host may issue.
    hold_engine : Out(1)
        No engine slot may issue: the holder is not `engine`, the number of the requester that owns the engine slots.
    """

    def __init__(self, *, count, engine, gap=16):
        if not 0 <= engine < count:
            raise ValueError(f"engine must be the number of a requester, 0 to {count - 1}, not {engine!r}")
        self._count, self._engine, self._gap = count, engine, gap
        super().__init__(
            {
                "holds": In(Hold()).array(count),
                "idle": In(1),
                "hold_external": Out(1),
                "hold_engine": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        owner = Signal(range(self._count))
        held = Signal()
        granted = Signal()
        gap = Signal(range(self._gap + 1))

        m.d.comb += [
            self.hold_external.eq(held),
            self.hold_engine.eq(held & (owner != self._engine)),
        ]
        for number, hold in enumerate(self.holds):
            m.d.comb += hold.granted.eq(held & granted & (owner == number))

        with m.If(held):
            # Nothing issues from the first clock of the hold on, so idle now means idle until the holder acts.
            with m.If(self.idle):
                m.d.sync += granted.eq(1)
            for number, hold in enumerate(self.holds):
                with m.If((owner == number) & ~hold.request):
                    m.d.sync += [held.eq(0), granted.eq(0), gap.eq(self._gap)]
        with m.Elif(gap != 0):
            m.d.sync += gap.eq(gap - 1)
        with m.Else():
            for distance in reversed(range(1, self._count + 1)):
                for start in range(self._count):
                    candidate = (start + distance) % self._count
                    with m.If((owner == start) & self.holds[candidate].request):
                        m.d.sync += [owner.eq(candidate), held.eq(1)]
        return m


class Share(wiring.Component):
    """Passes the hold of one client at a time, in turns.

    A client is passed from the clock after its request on; between two clients `output.request` is low for a clock, so
    that each gets a grant of its own.

    Members
    -------
    clients : In(Hold), array of `count`
    output : Out(Hold)
    owner : Out(count)
        One bit for the client that is being passed; none while nobody is.
    """

    def __init__(self, *, count):
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"count must be a positive integer, not {count!r}")
        self._count = count
        super().__init__(
            {
                "clients": In(Hold()).array(count),
                "output": Out(Hold()),
                "owner": Out(count),
            }
        )

    def elaborate(self, platform):
        m = Module()
        last = Signal(range(self._count))
        active = Signal()

        for number, client in enumerate(self.clients):
            owns = active & (last == number)
            m.d.comb += [
                self.owner[number].eq(owns),
                client.granted.eq(owns & self.output.granted),
            ]
            with m.If(owns):
                m.d.comb += self.output.request.eq(client.request)
                with m.If(~client.request):
                    m.d.sync += active.eq(0)

        with m.If(~active):
            for distance in reversed(range(1, self._count + 1)):
                for start in range(self._count):
                    candidate = (start + distance) % self._count
                    with m.If((last == start) & self.clients[candidate].request):
                        m.d.sync += [last.eq(candidate), active.eq(1)]
        return m
