"""Writing sidecar rows back to memory until memory has them, or has refused them for good."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.data.sidecar.cache import sidecar_write_back, write_back_done

__all__ = ["TRIES", "WriteBacks", "write_confirmed"]

#: times that a row is written before it is given up: memory that refuses it for good must keep nobody waiting
TRIES = 8


def write_confirmed(config):
    """Memory's answer to write-back `id`."""
    return layouts.layout((("valid", 1), ("id", layouts.id_bits(config)), ("failed", 1)))


class WriteBacks(wiring.Component):
    """Stands between the sidecar cache and memory: repeats a write-back that failed, up to `TRIES` writes altogether.

    What memory holds in place of a sidecar row that it refused may be of the frame's former owner, and would show its
    lines to the next one; so the cache must not count on it, nor a page be written with it, before a write succeeded.
    Each failure is an AXI write error of its own.

    No latency; a repetition takes 2 clocks and goes before new write-backs.

    Members
    -------
    requests : In(stream of sidecar_write_back)
        Numbered 0 to `count` - 1; a number is used again only after it was done.
    memory : Out(stream of sidecar_write_back)
    confirmed : In(write_confirmed)
    done : Out(write_back_done)
    """

    def __init__(self, *, config, count):
        if count < 2 or count & count - 1:
            raise ValueError(f"count must be a power of two, 2 or more, not {count!r}")
        self._config, self._count = config, count
        super().__init__(
            {
                "requests": In(stream.Signature(sidecar_write_back(config))),
                "memory": Out(stream.Signature(sidecar_write_back(config))),
                "confirmed": In(write_confirmed(config)),
                "done": Out(write_back_done(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape = self.requests.payload.shape()
        m.submodules.kept = kept = Memory(shape=shape, depth=self._count, init=[])
        write, read = kept.write_port(), kept.read_port()

        again = Array(Signal(name=f"again{number}") for number in range(self._count))
        failures = Array(Signal(range(TRIES), name=f"failures{number}") for number in range(self._count))
        chosen = Signal(range(self._count))
        any_again = Signal()
        failed_before = Signal(range(TRIES))
        for number in reversed(range(self._count)):
            with m.If(again[number]):
                m.d.comb += [any_again.eq(1), chosen.eq(number)]

        m.d.comb += [
            write.addr.eq(self.requests.payload.id),
            write.data.eq(self.requests.payload),
            write.en.eq(self.requests.valid & self.requests.ready),
            read.addr.eq(chosen),
            self.done.lost.eq(self.confirmed.failed),
            self.done.valid.eq(self.confirmed.valid & (~self.confirmed.failed | (failed_before == TRIES - 1))),
            self.done.id.eq(self.confirmed.id),
            failed_before.eq(failures[self.confirmed.id]),
        ]
        with m.If(self.done.valid):
            m.d.sync += failures[self.confirmed.id].eq(0)
        with m.Elif(self.confirmed.valid):
            m.d.sync += [again[self.confirmed.id].eq(1), failures[self.confirmed.id].eq(failed_before + 1)]

        repeating = Signal()
        m.d.comb += [
            self.memory.payload.eq(Mux(repeating, read.data, self.requests.payload)),
            self.memory.valid.eq(repeating | self.requests.valid),
            self.requests.ready.eq(~repeating & self.memory.ready),
            # What is on offer keeps its row at the port.
            read.en.eq(~repeating),
        ]
        with m.If(repeating):
            with m.If(self.memory.ready):
                m.d.sync += [repeating.eq(0), again[self.memory.payload.id].eq(0)]
        with m.Elif(any_again & (~self.requests.valid | self.memory.ready)):
            m.d.sync += repeating.eq(1)
        return m
