"""Plumbing for streams: the arbiter that every shared port uses."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Arbiter"]


class Arbiter(wiring.Component):
    """Merges streams of one payload into one, in turns.

    No latency; one transfer a clock. A source that was offered stays chosen until it is taken, so the payload at the
    output is stable; after a transfer the source behind the last winner comes first.

    Members
    -------
    sources : In(stream), array of `count`
    output : Out(stream)
    """

    def __init__(self, payload, *, count):
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"count must be a positive integer, not {count!r}")
        self._count = count
        super().__init__(
            {
                "sources": In(stream.Signature(payload)).array(count),
                "output": Out(stream.Signature(payload)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        count = self._count
        valid = Cat(source.valid for source in self.sources)
        last = Signal(range(count))
        locked = Signal()
        choice = Signal(range(count))

        # The first valid source behind `last`: of both halves of the doubled vector the lowest set bit wins.
        m.d.comb += choice.eq(last)
        with m.If(~locked):
            for distance in reversed(range(1, count + 1)):
                for start in range(count):
                    candidate = (start + distance) % count
                    with m.If((last == start) & self.sources[candidate].valid):
                        m.d.comb += choice.eq(candidate)

        with m.Switch(choice):
            for number, source in enumerate(self.sources):
                with m.Case(number):
                    m.d.comb += [
                        self.output.payload.eq(source.payload),
                        self.output.valid.eq(source.valid),
                        source.ready.eq(self.output.ready),
                    ]
        with m.If(valid.any()):
            m.d.sync += [last.eq(choice), locked.eq(Mux(self.output.ready, 0, 1))]
        return m
