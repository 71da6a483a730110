"""A stream that can be closed between transfers."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Gate"]


class Gate(wiring.Component):
    """Passes a stream while `open`; what was offered before it closed is still offered until it is taken.

    No latency. A block that needs a shared port for itself closes the others' gates and waits until none is `busy`.

    Members
    -------
    source : In(stream), output : Out(stream)
    open : In(1)
        A new transfer may be offered.
    busy : Out(1)
        A transfer is being offered.
    """

    def __init__(self, payload):
        super().__init__(
            {
                "source": In(stream.Signature(payload)),
                "output": Out(stream.Signature(payload)),
                "open": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        offered = Signal()
        m.d.comb += [
            self.busy.eq(self.source.valid & (self.open | offered)),
            self.output.payload.eq(self.source.payload),
            self.output.valid.eq(self.busy),
            self.source.ready.eq(self.busy & self.output.ready),
        ]
        m.d.sync += offered.eq(self.busy & ~self.output.ready)
        return m
