"""Coverage counts every event, tells a covered block from the event on, and says when one is covered no longer."""

import random
from collections import Counter, deque

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK
from kv_endpoint.hw.coherency.covered_blocks import CoveredBlocks
from kv_endpoint.hw.pipeline.metadata import FILTER_CLOCKS
from tests.support.simulation import set_payload

CONFIG = preset("tiny", heads=3, blocks_per_head=4, filter_sets=128, filter_ways=4)
BLOCKS = [head << 2 | block for head in range(3) for block in range(4)]
#: clocks after an event, without others, until it is counted
LATENCY = 4


def run(dut, testbench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(testbench)
    simulator.run()


async def until_ready(ctx, dut):
    clocks = 0
    while not ctx.get(dut.ready):
        await ctx.tick()
        clocks += 1
    assert clocks == CONFIG.blocks


class Traffic:
    """Sectors that come and go as `SnoopFilter` would tell, and what the block has to make of it.

    `used[index]`: how many sectors of a block are in use, `reads[index]`: reads of it that are held. `busy`: how
    often a slot has an event, `rising`: how often one that comes. Operations are on their way as long as in the filter.
    """

    def __init__(self, seed, *, blocks, busy=0.5, rising=0.5):
        print("seed", seed)
        self.rng, self.blocks, self.busy, self.rising = random.Random(seed), blocks, busy, rising
        self.used, self.reads = Counter(), Counter()
        self.ops = deque([False] * FILTER_CLOCKS)
        self.now = 0
        self.asked = None
        #: block -> clock in which it was last found covered; head -> clock of the last `uncovered`
        self.found, self.told = {}, {}
        #: heads: how often a block has lost its last sector, and how often that was told
        self.lost, self.losses_told = Counter(), Counter()
        self.seen = Counter()

    def slot_event(self):
        """What a slot does to the sectors, and to the held reads, of its block."""
        rng, index = self.rng, self.rng.choice(self.blocks)
        up = rng.random() < self.rising
        possible = self.used[index] < SECTORS_PER_BLOCK if up else self.used[index] > 0
        covers = rng.random() < self.busy and possible
        if covers:
            self.count(self.used, index, 1 if up else -1)
        # A read takes a sector when it is no longer held; one that is held changes no sector.
        holds = rng.random() < self.busy and not (covers and not up)
        more = rng.random() < self.rising and not covers
        holds = holds and (self.reads.total() < CONFIG.read_slots if more else self.reads[index] > 0)
        if holds:
            self.count(self.reads, index, 1 if more else -1)
        # What stands beside `valid` means nothing.
        return {"valid": covers, "index": index, "up": up}, {"valid": holds, "index": index, "up": more}

    def op_event(self, commits, before):
        """The event of the operation that commits; it is not about a sector that has come in this very clock."""
        index = self.rng.choice(self.blocks)
        if not commits or not min(self.used[index], before[index]):
            return {"valid": 0, "index": index, "up": 0}
        self.count(self.used, index, -1)
        return {"valid": 1, "index": index, "up": 0}

    def count(self, counts, index, change):
        counts[index] += change
        self.lost[index // CONFIG.blocks_per_head] += not self.covers(index)

    def covers(self, index):
        return self.used[index] + self.reads[index]

    async def clock(self, ctx, dut, *, traffic=True):
        rng, before = self.rng, self.used.copy()
        self.observe(ctx, dut)
        self.seen["no room"] += not ctx.get(dut.room)
        self.ops.append(traffic and bool(ctx.get(dut.room)) and rng.random() < 0.9)
        covers, holds = self.slot_event() if traffic else ({"valid": 0}, {"valid": 0})
        set_payload(ctx, dut.slot_covers, covers)
        set_payload(ctx, dut.slot_holds, holds)
        set_payload(ctx, dut.op_covers, self.op_event(self.ops.popleft(), before))
        # Without `enable` the answer stays, whatever is on the lines.
        enable, index = rng.random() < 0.7, rng.choice(BLOCKS)
        set_payload(ctx, dut.look, {"enable": enable, "index": index})
        if enable:
            self.asked = index, self.covers(index), self.now
        await ctx.tick()
        self.now += 1

    def observe(self, ctx, dut):
        uncovered = ctx.get(dut.uncovered)
        if uncovered.valid:
            self.told[uncovered.head] = self.now
            self.losses_told[uncovered.head] += 1
            assert self.losses_told[uncovered.head] <= self.lost[uncovered.head]
        if self.asked is not None:
            index, used, when = self.asked
            covered = ctx.get(dut.covered)
            # What has just gone may still count; what is in use must.
            assert covered or not used, f"block {index}"
            if covered and when == self.now - 1:
                self.found[index] = self.now
                self.seen["late"] += not used

    async def settle(self, ctx, dut):
        """Lets all events be counted, and compares everything."""
        while any(self.ops) or not ctx.get(dut.settled):
            await self.clock(ctx, dut, traffic=False)
        assert ctx.get(dut.sectors) == self.used.total()
        await self.clock(ctx, dut, traffic=False)
        for index, when in self.found.items():
            head = index // CONFIG.blocks_per_head
            assert self.covers(index) or self.told.get(head, -1) > when, f"block {index} was found covered"
        for index in BLOCKS:
            set_payload(ctx, dut.look, {"enable": 1, "index": index})
            await ctx.tick()
            assert ctx.get(dut.covered) == bool(self.covers(index)), f"block {index}"
        self.asked, self.found = None, {}


@pytest.mark.parametrize("busy", [1.0, 0.4])
@pytest.mark.parametrize("blocks", [BLOCKS[:1], BLOCKS[1:3], BLOCKS], ids=["one_block", "two_blocks", "all_blocks"])
def test_every_event_counts(blocks, busy):
    dut = CoveredBlocks(config=CONFIG)

    async def bench(ctx):
        await until_ready(ctx, dut)
        # Few sectors in use, so that blocks keep losing their last one; then ever more.
        for seed, rising in ((3, 0.3), (4, 0.9)):
            traffic = Traffic(seed, blocks=blocks, busy=busy, rising=rising)
            for burst in range(25):
                for _ in range(burst * 3):
                    await traffic.clock(ctx, dut)
                await traffic.settle(ctx, dut)
            assert traffic.seen["late"] and sum(traffic.losses_told.values())
            traffic.rising = 0
            while traffic.used.total() + traffic.reads.total():
                await traffic.clock(ctx, dut)
            await traffic.settle(ctx, dut)

    run(dut, bench)


@pytest.mark.quick
def test_operations_wait_while_slots_keep_the_counter_busy():
    dut = CoveredBlocks(config=CONFIG)
    traffic = Traffic(5, blocks=BLOCKS, busy=1.0, rising=0.6)

    async def bench(ctx):
        await until_ready(ctx, dut)
        for _ in range(300):
            await traffic.clock(ctx, dut)
        assert traffic.seen["no room"]
        await traffic.settle(ctx, dut)

    run(dut, bench)


def test_an_event_is_told_after_four_clocks():
    dut = CoveredBlocks(config=CONFIG)

    async def bench(ctx):
        await until_ready(ctx, dut)
        set_payload(ctx, dut.slot_covers, {"valid": 1, "index": 6, "up": 1})
        await ctx.tick()
        ctx.set(dut.slot_covers.valid, 0)
        await ctx.tick().repeat(5)
        assert ctx.get(dut.settled) and ctx.get(dut.sectors) == 1
        set_payload(ctx, dut.slot_covers, {"valid": 1, "index": 6, "up": 0})
        for clock in range(1, LATENCY + 1):
            await ctx.tick()
            ctx.set(dut.slot_covers.valid, 0)
            told = ctx.get(dut.uncovered)
            assert bool(told.valid) == (clock == LATENCY)
        assert told.head == 1 and ctx.get(dut.settled)

    run(dut, bench)


def test_a_reset_in_the_middle_forgets_every_event():
    dut = CoveredBlocks(config=CONFIG)
    reset = Signal()

    async def bench(ctx):
        await until_ready(ctx, dut)
        for seed in (7, 8, 9):
            traffic = Traffic(seed, blocks=BLOCKS, busy=0.8, rising=0.8)
            for _ in range(60):
                await traffic.clock(ctx, dut)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            for port in (dut.slot_covers, dut.slot_holds, dut.op_covers, dut.look):
                set_payload(ctx, port, dict.fromkeys(port.shape().members, 0))
            await until_ready(ctx, dut)
            empty = Traffic(seed, blocks=BLOCKS)
            await empty.settle(ctx, dut)

    run(ResetInserter(reset)(dut), bench)
