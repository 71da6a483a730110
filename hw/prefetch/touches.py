"""Touches that ask for their neighbours, and the neighbours one by one."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.prefetch.unit import TOUCH_DEPTH
from kv_endpoint.golden.prefetch.window import WINDOW_MAX
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.prefetch.window import near_request

__all__ = ["PrefetchTouches"]


class PrefetchTouches(wiring.Component):
    """Keeps the last `TOUCH_DEPTH` touches and turns each into candidates, as `golden.prefetch.window.neighbours` does.

    Of a touch of block p with window W: p + 1, p - 1, p + 2, ... p - W, those that the head has. The first candidate is
    offered 2 clocks after its touch at the earliest; one a clock; a clock is lost between two touches, and for each
    block that the head does not have. Where touches come faster, the oldest is forgotten: it is the least likely to
    come in time.

    Members
    -------
    near_valid : In(1), near : In(near_request)
    candidates : Out(stream of prefetch_request)
        `source` is not set.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "near_valid": In(1),
                "near": In(near_request(config)),
                "candidates": Out(stream.Signature(layouts.prefetch_request(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.memory = memory = Memory(shape=near_request(config), depth=TOUCH_DEPTH, init=[])
        write = memory.write_port()
        read = memory.read_port(domain="comb")

        # The touches are the `level` places before `place`, in a circle: when all are in use, the newest replaces the
        # oldest by itself.
        place = Signal(range(TOUCH_DEPTH))
        level = Signal(range(TOUCH_DEPTH + 1))
        is_busy = Signal()
        do_start = Signal()
        m.d.comb += [
            do_start.eq(~is_busy & (level != 0)),
            write.en.eq(self.near_valid),
            write.addr.eq(place),
            write.data.eq(self.near),
            read.addr.eq(place - level),
        ]
        with m.If(self.near_valid):
            m.d.sync += place.eq(place + 1)
        with m.If(self.near_valid & ~do_start & (level != TOUCH_DEPTH)):
            m.d.sync += level.eq(level + 1)
        with m.If(~self.near_valid & do_start):
            m.d.sync += level.eq(level - 1)

        touch = Signal(near_request(config))
        distance = Signal(range(1, WINDOW_MAX + 1))
        below = Signal()
        #: a bit more than a block: set beyond either end of the head
        above_block = Signal(max(config.block_bits, WINDOW_MAX.bit_length()) + 1)
        below_block = Signal.like(above_block)
        exists = Signal()
        candidate = self.candidates.payload
        m.d.comb += [
            above_block.eq(touch.block + distance),
            below_block.eq(touch.block - distance),
            exists.eq(Mux(below, below_block, above_block) < config.blocks_per_head),
            self.candidates.valid.eq(is_busy & exists),
            candidate.head.eq(touch.head),
            candidate.block.eq(Mux(below, below_block, above_block)),
            candidate.mode.eq(touch.mode),
        ]
        with m.If(do_start):
            m.d.sync += [is_busy.eq(1), touch.eq(read.data), distance.eq(1), below.eq(0)]
        with m.Elif(self.candidates.ready | ~exists):
            m.d.sync += below.eq(~below)
            with m.If(below):
                m.d.sync += distance.eq(distance + 1)
                with m.If(distance == touch.window):
                    m.d.sync += is_busy.eq(0)
        return m
