"""Modes of heads against the golden registers."""

import random

import pytest
from amaranth.hdl import ResetInserter, Signal

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.registers.modes import HeadModes
from tests.support.simulation import simulate


@pytest.mark.quick
@pytest.mark.parametrize("heads", [1, 5, 8])
def test_a_region_changes_modes_only_where_no_head_is_occupied(heads):
    seed, config = heads, preset("tiny", heads=heads, step_bits=27)
    print(f"seed {seed}")
    rng = random.Random(seed)
    dut, reset = HeadModes(config=config), Signal()
    seen = set()

    async def body(ctx):
        for _ in range(60):
            modes, cached_heads, had_blocks = [Mode.EXACT] * heads, [False] * heads, set()
            for _ in range(8):
                first = rng.randrange(heads)
                count, mode, minimums = rng.randint(1, heads - first), rng.choice(list(Mode)), rng.getrandbits(heads)
                enabled, cached = rng.random() < 0.8, rng.random() < 0.5
                minimums &= rng.getrandbits(heads) & rng.getrandbits(heads)
                ctx.set(dut.has_minimum, minimums)
                if rng.random() < 0.3:
                    # Only a first write counts, and only if there is a commit.
                    head, valid, outcome = rng.randrange(heads), rng.random() < 0.8, rng.choice((3, 3, 1, 2))
                    ctx.set(dut.commit.valid, valid)
                    ctx.set(dut.commit.slot.kind, SlotKind.WRITE)
                    ctx.set(dut.commit.slot.head, head)
                    ctx.set(dut.commit.outcome, outcome)
                    await ctx.tick()
                    ctx.set(dut.commit.valid, 0)
                    if valid and outcome == Outcome.FIRST_WRITE:
                        had_blocks.add(head)
                    # The pipeline is held before the question comes.
                    await ctx.tick()
                occupied = had_blocks | {head for head in range(heads) if minimums >> head & 1}
                its = range(first, first + count)
                expected = enabled and any(modes[head] != mode and head in occupied for head in its)
                asked = {"first": first, "count": count, "enabled": enabled, "mode": mode, "cached": cached, "start": 1}
                for name, value in asked.items():
                    ctx.set(getattr(dut, name), value)
                await ctx.tick()
                ctx.set(dut.start, 0)
                for port in (dut.mode, dut.enabled, dut.cached):
                    ctx.set(port, rng.randrange(2))
                clocks = 1
                while not ctx.get(dut.done):
                    await ctx.tick()
                    clocks += 1
                assert clocks == count + 1
                await ctx.tick()
                assert not ctx.get(dut.done) and ctx.get(dut.refused) == expected
                seen.add(expected)
                if not expected:
                    ctx.set(dut.apply, 1)
                    await ctx.tick()
                    ctx.set(dut.apply, 0)
                    cached_heads[first : first + count] = [enabled and cached] * count
                    if enabled:
                        modes[first : first + count] = [mode] * count
                assert ctx.get(dut.cached_heads) == sum(of << head for head, of in enumerate(cached_heads))
                assert ctx.get(dut.modes) == sum(of << head for head, of in enumerate(modes))
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            assert ctx.get(dut.modes) == ctx.get(dut.cached_heads) == 0

    simulate(ResetInserter(reset)(dut), body)
    assert seen == {False, True}
