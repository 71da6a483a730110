"""The root of the tournament is the first of all leaves, as soon as no leaf is on its way."""

import random

import pytest
from amaranth.hdl import Const

from kv_endpoint.golden.common.config import preset
from kv_endpoint.hw.victims.queues import leaf
from kv_endpoint.hw.victims.tournament import Tournament
from tests.support.simulation import fields_of, simulate

CONFIGS = [
    preset("tiny", heads=1, step_bits=29),
    preset("tiny"),
    preset("tiny", heads=5),
    preset("small"),
]


@pytest.mark.quick
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.heads}-heads")
def test_root_is_the_first_leaf_of_lowest_rank(config):
    seed = config.heads
    print(f"seed {seed}")
    rng = random.Random(seed)
    dut = Tournament(config=config)
    layout = leaf(config)
    leaves = {}
    checked = 0

    def offer(ctx, head):
        # Few different keys and steps, so that ties are common; the block must not matter between heads.
        rank = {"none": int(rng.random() < 0.2), "key": rng.randrange(3), "step": rng.randrange(2)}
        rank["block"] = rng.randrange(config.blocks_per_head)
        leaves[head] = rank | {"exact": rng.randrange(2)}
        value = layout.const({"head": head, "rank": rank, "exact": leaves[head]["exact"]})
        ctx.set(dut.leaf.as_value(), Const.cast(value).value)
        ctx.set(dut.leaf_valid, 1)

    async def bench(ctx):
        nonlocal checked
        for head in range(1 << config.head_bits):
            offer(ctx, head)
            await ctx.tick()
        for _ in range(300):
            for _ in range(rng.choice((1, 2, 10))):
                offer(ctx, rng.randrange(1 << config.head_bits))
                await ctx.tick()
                if rng.random() < 0.2:
                    ctx.set(dut.leaf_valid, 0)
                    await ctx.tick().repeat(rng.randint(1, dut.latency))
            ctx.set(dut.leaf_valid, 0)
            clocks = 0
            while ctx.get(dut.busy):
                await ctx.tick()
                clocks += 1
            assert clocks < dut.latency
            expected = min(leaves, key=lambda head: (*(leaves[head][f] for f in ("none", "key", "step")), head))
            root = ctx.get(dut.root)
            assert int(root["head"]) == expected
            assert fields_of(root["rank"]) | {"exact": int(root["exact"])} == leaves[expected]
            checked += 1

    simulate(dut, bench)
    assert checked == 300
