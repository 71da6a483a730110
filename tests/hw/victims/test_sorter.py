"""The sorter keeps the first ranks of whatever it is given, in order."""

import random

import pytest
from amaranth.hdl import Const

from kv_endpoint.golden.common.config import preset
from kv_endpoint.hw.victims.rank import beyond, rank_layout
from kv_endpoint.hw.victims.sorter import Sorter
from tests.support.simulation import simulate


@pytest.mark.quick
@pytest.mark.parametrize("depth", [2, 5])
def test_sorter_keeps_the_first_ranks_in_order(depth):
    config = preset("tiny", queue_depth=depth)
    seed = depth
    print(f"seed {seed}")
    rng = random.Random(seed)
    layout = rank_layout(config)
    dut = Sorter(config=config)
    overflows = 0

    def value_of(rank):
        return Const.cast(rank).value

    async def bench(ctx):
        nonlocal overflows
        for _ in range(100):
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            ranks = []
            for block in rng.sample(range(config.blocks_per_head), rng.randrange(3 * depth)):
                rank = layout.const({"block": block, "step": rng.randrange(2), "key": rng.randrange(3), "none": 0})
                ranks.append(value_of(rank))
                ctx.set(dut.push, 1)
                ctx.set(dut.rank.as_value(), ranks[-1])
                await ctx.tick()
                ctx.set(dut.push, 0)
                if rng.random() < 0.3:
                    await ctx.tick().repeat(rng.choice((1, 3)))
            clocks = 0
            while not ctx.get(dut.settled):
                await ctx.tick()
                clocks += 1
            assert clocks <= depth
            kept = sorted(ranks)[:depth] + [beyond(config)] * (depth - len(ranks))
            assert ctx.get(dut.overflowed) == (len(ranks) > depth)
            overflows += len(ranks) > depth
            assert value_of(ctx.get(dut.last)) == kept[-1]
            for rank in kept:
                assert value_of(ctx.get(dut.first)) == rank
                ctx.set(dut.shift, 1)
                await ctx.tick()
                ctx.set(dut.shift, 0)
            assert value_of(ctx.get(dut.first)) == beyond(config)

    simulate(dut, bench)
    assert 20 < overflows < 80
