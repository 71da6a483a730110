"""One `Hold` shared by several requesters."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.common.layouts import Hold

__all__ = ["Share"]


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
