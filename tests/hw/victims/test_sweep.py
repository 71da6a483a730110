"""A sweep finds the first blocks of a head and leaves a queue that holds all it must, also if events take the port."""

import random

import pytest
from amaranth.hdl import Const

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.policy import Policy, Priority
from kv_endpoint.golden.pipeline.metadata import Entry, State
from kv_endpoint.golden.pipeline.score import key
from kv_endpoint.hw.victims.rank import beyond, rank_layout
from kv_endpoint.hw.victims.sweep import Sweep, SweepKind
from tests.support.simulation import fields_of, set_payload, simulate

CONFIG = preset("tiny", heads=2, blocks_per_head=32)
HEAD, NOW = 1, 50


class Bench:
    """The table, the queue RAM and the misses of one head around a `Sweep`."""

    def __init__(self, *, priority, conflicts, seed):
        print(f"seed {seed}")
        self.random = random.Random(seed)
        self.policy = Policy(priority=priority)
        self.conflicts = conflicts
        self.dut = Sweep(config=CONFIG)
        self.queue = [0] * CONFIG.queue_depth
        self.entries, self.migrating, self.covered = [], set(), set()

    def rank(self, block):
        """A block's rank as the RTL numbers it."""
        entry = self.entries[block]
        value = key(CONFIG, self.policy.priority, entry.ema, entry.step, NOW, self.policy.lam)
        fields = {"block": block, "step": entry.step, "key": value + (1 << CONFIG.key_bits - 1), "none": 0}
        return Const.cast(rank_layout(CONFIG).const(fields)).value

    def first(self, blocks):
        return min(map(self.rank, blocks), default=beyond(CONFIG))

    def new_head(self):
        rng = self.random
        self.entries = [
            Entry(
                ema=rng.choice((0, 1, 5000, rng.getrandbits(20))), step=NOW - rng.choice((0, 0, 1, 7, 40)),
                frame=block, state=rng.choice((State.WARM, State.WARM, State.COLD, State.DEMOTING)),
                pinned=rng.random() < 0.2, announced=rng.random() < 0.5, touched=rng.random() < 0.3,
            )
            for block in range(CONFIG.blocks_per_head)
        ]  # fmt: skip
        if rng.random() < 0.3:
            for block in range(rng.choice((0, 2, 5)), CONFIG.blocks_per_head):
                self.entries[block] = Entry()
        self.migrating = {block for block in range(CONFIG.blocks_per_head) if rng.random() < 0.1}
        self.covered = {block for block in range(CONFIG.blocks_per_head) if rng.random() < 0.3}

    async def clock(self, ctx):
        dut = self.dut
        in_head = HEAD * CONFIG.blocks_per_head
        ctx.set(dut.migrating, ctx.get(dut.migrating_index) - in_head in self.migrating)
        write = fields_of(ctx.get(dut.write))
        done = write["valid"] and self.random.random() >= self.conflicts
        ctx.set(dut.write_done, done)
        table = ctx.get(dut.table.enable), ctx.get(dut.table.index) - in_head
        queue = ctx.get(dut.read_enable), ctx.get(dut.read_position)
        block = self.queue[queue[1]] if queue[0] and queue[1] < len(self.queue) else 0
        if done:
            assert write["head"] == HEAD
            self.queue[write["position"]] = write["block"]
        await ctx.tick()
        ctx.set(dut.read_block, block)
        if table[0] and 0 <= table[1] < CONFIG.blocks_per_head:
            entry = self.entries[table[1]]
            names = ("ema", "step", "frame", "state", "pinned", "announced", "touched")
            set_payload(ctx, dut.table.entry, {name: getattr(entry, name) for name in names})
            ctx.set(dut.covered, table[1] in self.covered)

    async def run_job(self, ctx, kind, *, count, threshold):
        """Run a job; returns the clocks it took and its result."""
        dut = self.dut
        set_payload(ctx, dut.job, {"kind": kind.value, "head": HEAD, "count": count})
        ctx.set(dut.job.threshold.as_value(), threshold)
        ctx.set(dut.start, 1)
        await self.clock(ctx)
        ctx.set(dut.start, 0)
        clocks = 1
        while not ctx.get(dut.done):
            await self.clock(ctx)
            clocks += 1
        await self.clock(ctx)
        result = ctx.get(dut.result)
        return clocks, {name: Const.cast(result[name]).value for name, _ in result.shape()}

    def check_ranks(self, result, blocks):
        warm = [block for block in blocks if self.entries[block].state == State.WARM]
        may_leave = [block for block in warm if not self.entries[block].pinned and block not in self.migrating]
        waived = [block for block in may_leave if block not in self.covered]
        protected = [b for b in may_leave if self.policy.protect and self.entries[b].protected(NOW)]
        eligible = [block for block in waived if block not in protected]
        covered = [(block in protected, self.rank(block)) for block in may_leave if block in self.covered]
        announced, rank = min(covered, default=(1, beyond(CONFIG)))
        assert result["covered"] == int(announced) << beyond(CONFIG).bit_length() | rank
        assert result["warm"] == self.first(warm)
        assert result["waived"] == self.first(waived)
        assert result["eligible"] == self.first(eligible)
        return warm


@pytest.mark.parametrize("conflicts", [0.0, 0.3])
@pytest.mark.parametrize("priority", list(Priority))
def test_jobs_find_the_first_blocks_and_keep_the_queue(priority, conflicts):
    bench = Bench(priority=priority, conflicts=conflicts, seed=20 + priority)
    rng, depth = bench.random, CONFIG.queue_depth
    shortened = 0

    async def testbench(ctx):
        nonlocal shortened
        dut = bench.dut
        ctx.set(dut.now, NOW)
        set_payload(ctx, dut.policy, {"priority": priority, "lam": bench.policy.lam, "protect": 1})
        for _ in range(25):
            bench.new_head()
            # A short scan of any queue: what is warm and not behind the threshold must stay in it.
            count = rng.randrange(depth + 1)
            bench.queue = [rng.randrange(CONFIG.blocks_per_head) for _ in range(depth)]
            blocks = bench.queue[:count]
            threshold = rng.choice((0, beyond(CONFIG), bench.rank(rng.choice(bench.queue))))
            clocks, result = await bench.run_job(ctx, SweepKind.QUEUE, count=count, threshold=threshold)
            assert clocks == (count + dut.latency if count else 1)
            warm = bench.check_ranks(result, blocks)
            belong = [block for block in warm if bench.rank(block) <= threshold]
            assert result["threshold"] == threshold
            assert set(belong) <= set(bench.queue[: result["count"]])
            if conflicts:
                assert result["count"] in (len(belong), count)
            else:
                assert bench.queue[: result["count"]] == belong
            shortened += result["count"] < count

            # A sweep that leaves the queue alone, and one that fills it with the first blocks
            everything = range(CONFIG.blocks_per_head)
            before = list(bench.queue)
            clocks, result = await bench.run_job(ctx, SweepKind.HEAD, count=0, threshold=0)
            assert clocks == CONFIG.blocks_per_head + dut.latency
            warm = bench.check_ranks(result, everything)
            assert bench.queue == before
            _, result = await bench.run_job(ctx, SweepKind.REFILL, count=0, threshold=0)
            bench.check_ranks(result, everything)
            kept = sorted(warm, key=bench.rank)[:depth]
            assert bench.queue[: result["count"]] == kept
            assert result["threshold"] == (bench.rank(kept[-1]) if len(warm) > depth else beyond(CONFIG))

    simulate(bench.dut, testbench)
    assert shortened > 5


@pytest.mark.quick
def test_a_peek_tells_key_frame_and_migration():
    bench = Bench(priority=Priority.DECAYED, conflicts=0.0, seed=30)
    dut = bench.dut

    async def testbench(ctx):
        ctx.set(dut.now, NOW)
        set_payload(ctx, dut.policy, {"priority": Priority.DECAYED, "lam": bench.policy.lam, "protect": 1})
        bench.new_head()
        for block in range(CONFIG.blocks_per_head):
            # Directly after a short scan, whose queue must not be taken for the block
            await bench.run_job(ctx, SweepKind.QUEUE, count=2, threshold=0)
            for what, clocks in (("key", dut.latency), ("entry", 5)):
                set_payload(ctx, dut.peek, {what: 1, "head": HEAD, "block": block})
                await bench.clock(ctx)
                ctx.set(getattr(dut.peek, what), 0)
                for _ in range(clocks - 1):
                    assert not ctx.get(dut.sight[f"{what}_done"])
                    await bench.clock(ctx)
                assert ctx.get(dut.sight[f"{what}_done"])
            sight = ctx.get(dut.sight)
            assert Const.cast(sight["rank"]).value == bench.rank(block)
            assert int(sight["frame"]) == bench.entries[block].frame
            assert bool(sight["kept"]) == (block in bench.migrating | bench.covered)

    simulate(dut, testbench)
