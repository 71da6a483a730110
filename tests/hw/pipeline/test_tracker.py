"""The tracker counts what the golden one counts, whatever follows on what."""

import random

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind, State
from kv_endpoint.golden.pipeline.tracker import HeadCounters, track
from kv_endpoint.hw.pipeline.tracker import Tracker

CONFIG = preset("tiny", heads=3)
#: clocks from a head's number to its counters, and from a commit to what they show
READ_LATENCY, COMMIT_LATENCY = 2, 4


def run(dut, testbench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(testbench)
    simulator.run()


class Traffic:
    """Random commits of blocks that are in random states, and the golden counters that follow them."""

    def __init__(self, rng, *, heads, busy):
        self.rng, self.heads, self.busy = rng, heads, busy
        self.counters = [HeadCounters() for _ in range(CONFIG.heads)]
        self.states = [[State.ABSENT] * CONFIG.blocks_per_head for _ in range(CONFIG.heads)]

    def commit(self, ctx, dut):
        """Set the broadcast for one clock: a commit, or with `valid` low something that must not count."""
        rng = self.rng
        valid = rng.random() < self.busy
        head, block = rng.choice(self.heads), rng.randrange(CONFIG.blocks_per_head)
        kind, touch = rng.choice(list(SlotKind)), rng.random() < 0.6
        outcome = rng.choice([Outcome.HIT, Outcome.MISS, Outcome.FIRST_WRITE])
        before = self.states[head][block]
        after = rng.choice([before, *State])
        ema = rng.choice([0, (1 << 20) - 1, rng.getrandbits(20)])
        ctx.set(dut.commit.valid, valid)
        ctx.set(dut.commit.slot.kind, kind)
        ctx.set(dut.commit.slot.head, head)
        ctx.set(dut.commit.slot.block, block)
        ctx.set(dut.commit.outcome, outcome)
        ctx.set(dut.commit.touch, touch)
        ctx.set(dut.commit.before.state, before)
        ctx.set(dut.commit.after.state, after)
        ctx.set(dut.commit.after.ema, ema)
        if valid:
            self.states[head][block] = after
            track(self.counters[head], kind, outcome, touch, before, after, ema)

    def values(self, head):
        return {name: getattr(self.counters[head], name) for name in HeadCounters.__slots__}


def seen(ctx, dut):
    return {name: ctx.get(dut.counters[name]) for name in HeadCounters.__slots__}


async def until_ready(ctx, dut):
    for _ in range(CONFIG.heads):
        assert not ctx.get(dut.ready)
        await ctx.tick()
    assert ctx.get(dut.ready)


@pytest.mark.parametrize("busy", [1.0, 0.5])
@pytest.mark.parametrize("heads", [[1], [0, 2], [0, 1, 2]], ids=["one_head", "two_heads", "all_heads"])
def test_counters_follow_the_golden_tracker_in_every_clock(heads, busy):
    seed = 7
    print("seed", seed)
    rng = random.Random(seed)
    dut = Tracker(config=CONFIG)
    traffic = Traffic(rng, heads=heads, busy=busy)

    async def bench(ctx):
        await until_ready(ctx, dut)
        asked, history = [], []
        for clock in range(1500):
            # Before this clock's commit: what the commits of the clocks before have made.
            history.append([traffic.values(head) for head in range(CONFIG.heads)])
            asked.append(rng.randrange(CONFIG.heads))
            ctx.set(dut.head, asked[-1])
            traffic.commit(ctx, dut)
            if clock >= COMMIT_LATENCY:
                expected = history[clock - COMMIT_LATENCY + 1][asked[clock - READ_LATENCY]]
                assert seen(ctx, dut) == expected, f"clock {clock}"
            await ctx.tick()

    run(dut, bench)


@pytest.mark.quick
def test_a_reset_in_the_middle_clears_every_head():
    seed = 11
    print("seed", seed)
    rng = random.Random(seed)
    dut = Tracker(config=CONFIG)
    reset = Signal()

    async def bench(ctx):
        await until_ready(ctx, dut)
        for _ in range(3):
            traffic = Traffic(rng, heads=range(CONFIG.heads), busy=0.9)
            for _ in range(100):
                traffic.commit(ctx, dut)
                await ctx.tick()
            ctx.set(dut.commit.valid, 0)
            for head in range(CONFIG.heads):
                ctx.set(dut.head, head)
                await ctx.tick().repeat(COMMIT_LATENCY)
                assert seen(ctx, dut) == traffic.values(head)
            traffic.commit(ctx, dut)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            ctx.set(dut.commit.valid, 0)
            assert seen(ctx, dut) == dict.fromkeys(HeadCounters.__slots__, 0)
            await until_ready(ctx, dut)
            for head in range(CONFIG.heads):
                ctx.set(dut.head, head)
                await ctx.tick().repeat(READ_LATENCY)
                assert seen(ctx, dut) == dict.fromkeys(HeadCounters.__slots__, 0)

    run(ResetInserter(reset)(dut), bench)
