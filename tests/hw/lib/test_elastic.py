"""A free-running pipeline as a stream."""

import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.lib.delay_line import delayed
from kv_endpoint.hw.lib.elastic import Elastic
from tests.support.simulation import simulate

DEPTH = 8


class Negate(wiring.Component):
    """Something that takes a while."""

    latency = 5

    def __init__(self):
        super().__init__({"argument": In(8), "result": Out(8)})

    def elaborate(self, platform):
        m = Module()
        result = Signal(8)
        m.d.sync += result.eq(~self.argument)
        m.d.comb += self.result.eq(delayed(m, result, self.latency - 1, "result"))
        return m


def elastic():
    return Elastic(pipeline=Negate(), inputs=("argument",), outputs=("result",), tag=6, depth=DEPTH)


def run(count, *, offer, take):
    """Items through the pipeline, offered and taken where `offer()` and `take()` say so; the clock of each result."""
    dut = elastic()
    sent, got, clocks = [], [], []

    async def bench(ctx):
        clock = 0
        offered = None
        while len(got) < count:
            if offered is None and len(sent) < count and offer():
                offered = (len(sent) * 37 % 256, len(sent) % 64)
                ctx.set(dut.items.payload.argument, offered[0])
                ctx.set(dut.items.payload.tag, offered[1])
            ctx.set(dut.items.valid, offered is not None)
            ctx.set(dut.results.ready, take())
            if offered is not None and ctx.get(dut.items.ready):
                sent.append(offered)
                offered = None
            if ctx.get(dut.results.valid) and ctx.get(dut.results.ready):
                got.append((ctx.get(dut.results.payload.result) ^ 0xFF, ctx.get(dut.results.payload.tag)))
                clocks.append(clock)
            assert len(sent) - len(got) <= DEPTH
            clock += 1
            assert clock < 20 * count, "items were lost"
            await ctx.tick()

    simulate(dut, bench)
    assert got == sent
    return clocks


@pytest.mark.quick
@pytest.mark.parametrize("offer, take", [(1.0, 0.3), (0.5, 1.0), (0.7, 0.6)])
def test_items_come_out_in_order_with_their_tags_however_they_are_taken(offer, take):
    rng = random.Random(f"{offer} {take}")
    run(400, offer=lambda: rng.random() < offer, take=lambda: rng.random() < take)


def test_one_item_a_clock_after_the_latency_of_the_pipeline_and_one():
    clocks = run(100, offer=lambda: True, take=lambda: True)
    assert clocks == [Negate.latency + 1 + n for n in range(100)]


def test_as_many_items_as_fit_enter_while_nothing_is_taken():
    dut = elastic()

    async def bench(ctx):
        ctx.set(dut.items.valid, 1)
        entered = 0
        for _ in range(40):
            entered += ctx.get(dut.items.ready)
            await ctx.tick()
        assert entered == DEPTH

    simulate(dut, bench)


def test_a_depth_of_nothing_is_refused():
    with pytest.raises(ValueError, match="depth must be a positive integer, not 0"):
        Elastic(pipeline=Negate(), inputs=("argument",), outputs=("result",), tag=6, depth=0)
