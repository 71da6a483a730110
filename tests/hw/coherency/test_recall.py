"""Recall and scrub take back what they are to, and then leave the snoop filter alone (`golden/coherency/filter.py`)."""

import random

import pytest
from amaranth.hdl import ResetInserter, Signal

from kv_endpoint.golden.coherency.filter import SnoopFilter, set_of
from kv_endpoint.golden.common.config import SECTOR_LINES, preset
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK, Access, LineState
from kv_endpoint.hw.coherency.recall import Recall
from kv_endpoint.hw.common.layouts import FilterOp
from kv_endpoint.hw.pipeline.metadata import FILTER_CLOCKS
from tests.support.simulation import set_payload, simulate

#: ways for all sectors of the blocks that a test covers
CONFIG = preset("tiny", filter_sets=8, filter_ways=16)
TWO_HOSTS = preset("tiny", filter_sets=8, filter_ways=16, hosts=2)
LIMIT = 20_000
#: of the passes
PAUSE_CLOCKS = 700


class Bench:
    """The golden filter beside the block: operations commit in it, and its snoops are answered at random clocks."""

    def __init__(self, config=CONFIG, *, seed, places=4, answering=0.05, stall=0.3):
        print(f"seed {seed}")
        self.config, self.rng = config, random.Random(seed)
        self.dut, self.reset = Recall(config=config, pause_clocks=PAUSE_CLOCKS), Signal()
        self.places, self.answering, self.stall = places, answering, stall
        #: operations taken, and those that found no place
        self.ops, self.full = [], []
        self.pressure = 0
        self.clocks = 0
        self.forget()

    def forget(self):
        self.filter = SnoopFilter(self.config)
        #: (snoop, lines that are not answered) of the places that are taken
        self.snoops = []
        self._on_the_way, self._offered = None, None

    def sector(self, head, block, local):
        return (head * self.config.blocks_per_head + block) * SECTORS_PER_BLOCK + local

    def access(self, access, sector, line, host=0):
        """A slot of the host; whether a line has become STALE."""
        verdict = self.filter.access(access, host, sector, line, lossy=True, may_launch=False)
        assert verdict.held is None and verdict.owner
        self.filter.apply(set_of(self.config, sector), verdict)
        return access == Access.WRITE_KEEP

    def cover(self, head, block, sectors=range(SECTORS_PER_BLOCK), host=0):
        """A host holds a line of these sectors."""
        for local in sectors:
            self.access(Access.READ_SHARED, self.sector(head, block, local), self.rng.randrange(SECTOR_LINES), host)

    def states(self):
        """The states of all lines that hosts may hold."""
        rows = [self.filter.row(number) for number in range(self.config.filter_sets)]
        ways = [way for row in rows for way in row.ways if way is not None]
        return [state for way in ways for states in way.states for state in states if state != LineState.I]

    async def clock(self, *, candidate=None, stale=False, recall_all=False):
        """One clock; returns whether a block is covered no longer."""
        ctx, dut, rng = self.ctx, self.dut, self.rng
        covered = set(self.filter.covered)
        ctx.set(dut.candidate.valid, candidate is not None)
        if candidate is not None:
            set_payload(ctx, dut.candidate, dict(zip(("head", "block", "needed"), candidate, strict=True)))
        ctx.set(dut.pressure, self.pressure)
        ctx.set(dut.stale, stale)
        ctx.set(dut.recall_all, recall_all)
        done = self._commit()
        ctx.set(dut.done.as_value(), dut.done.shape().const(done).as_bits())
        ctx.set(dut.uncovered, bool(covered - set(self.filter.covered)))
        op = ctx.get(dut.ops.payload) if ctx.get(dut.ops.valid) else None
        offered = None if op is None else (FilterOp(op.kind), int(op.snoop.sector), int(op.everything))
        assert self._offered in (None, offered), "an operation changed or went before it was taken"
        ready = rng.random() >= self.stall
        ctx.set(dut.ops.ready, ready)
        self._offered = None if ready else offered
        if ready and offered is not None:
            assert self._on_the_way is None, "a second operation while one is on its way"
            self._on_the_way = self.clocks + FILTER_CLOCKS, offered
            self.ops.append(offered[:2])
        self.clocks += 1
        await ctx.tick()

    def _commit(self):
        """What commits in this clock: the operation, or the answer of a snoop."""
        if self._on_the_way is not None and self._on_the_way[0] == self.clocks:
            kind, where, everything = self._on_the_way[1]
            self._on_the_way = None
            return self._operate(kind, where, everything)
        if self.snoops and self.rng.random() < self.answering:
            snoop, left = self.snoops.pop(self.rng.randrange(len(self.snoops)))
            lines = left & self.rng.choice((0b0101, 0b1111)) or left
            if left & ~lines:
                self.snoops.append((snoop, left & ~lines))
            answered = {line: LineState.I for line in range(SECTOR_LINES) if lines >> line & 1}
            self.filter.apply(set_of(self.config, snoop.sector), self.filter.answer(snoop, answered))
            return {"valid": 1, "op": {"kind": FilterOp.ANSWER, "snoop": {"sector": snoop.sector}}}
        return {}

    def _operate(self, kind, where, everything):
        states = [state for state in LineState if state and (everything or state == LineState.STALE)]
        if kind == FilterOp.RECALL:
            number, operate = set_of(self.config, where), lambda free: self.filter.recall(where, may_launch=free)
            assert not everything
        else:
            number = where
            operate = lambda free: self.filter.scrub(number, everything=bool(everything), may_launch=free)  # noqa: E731
        asked = [way for way in self.filter.row(number).ways if way is not None and way.busy]
        hosts = range(self.config.hosts)
        busy = kind == FilterOp.SCRUB and any(
            way.lines(host, states) & ~(way.busy if len(hosts) == 1 else 0) for way in asked for host in hosts
        )
        verdict = operate(len(self.snoops) < self.places)
        full = not verdict.launched and bool(operate(True).launched)
        self.filter.apply(number, verdict)
        self.snoops += [(snoop, snoop.lines) for snoop in verdict.launched]
        if full:
            self.full.append((kind, where))
        launched = bool(verdict.launched)
        return {"valid": 1, "op": {"kind": kind}, "launched": launched, "full": full, "busy": busy}

    async def until(self, condition, **given):
        for _ in range(LIMIT):
            if condition():
                return
            await self.clock(**given)
        raise AssertionError(f"never came: {len(self.states())} lines, {len(self.snoops)} snoops")

    async def settle(self):
        """Until the block leaves the filter alone."""
        count = -1
        while count != len(self.ops) or self.snoops:
            count = len(self.ops)
            for _ in range(PAUSE_CLOCKS + 150):
                await self.clock()
            assert self.clocks < LIMIT, "it does not come to an end"

    def run(self, scenario):
        async def testbench(ctx):
            self.ctx = ctx
            await scenario()

        simulate(ResetInserter(self.reset)(self.dut), testbench)


@pytest.mark.parametrize("places", [1, 64])
def test_a_better_victim_is_asked_back_sector_by_sector_once(places):
    bench = Bench(seed=places, places=places)

    async def scenario():
        bench.cover(1, 3, range(0, SECTORS_PER_BLOCK, 3))
        bench.cover(1, 2, range(4))
        # Without pressure nothing is taken back.
        await bench.clock(candidate=(1, 3, 0))
        await bench.settle()
        assert not bench.ops
        bench.pressure = 1
        await bench.clock(candidate=(1, 3, 0))
        await bench.settle()
        sectors = [bench.sector(1, 3, local) for local in range(SECTORS_PER_BLOCK)]
        repeated = [where for _, where in bench.full]
        assert bench.ops == [(FilterOp.RECALL, s) for s in sectors for _ in range(1 + repeated.count(s))]
        assert bool(repeated) == (places == 1)
        assert bench.filter.covered == {(1, 2): 4}

    bench.run(scenario)


@pytest.mark.parametrize("seed", range(3))
def test_a_needed_block_is_asked_back_until_it_is_uncovered_whoever_holds_it(seed):
    bench = Bench(TWO_HOSTS, seed=seed, answering=(0.3, 0.02, 0.005)[seed])

    async def scenario():
        for host in range(2):
            bench.cover(2, 5, range(6, 12), host)
        await bench.clock(candidate=(2, 5, 1))
        await bench.until(lambda: not bench.filter.covered)
        await bench.settle()
        bench.ops.clear()
        await bench.settle()
        assert not bench.ops

    bench.run(scenario)


def test_the_next_needed_block_waits_for_the_end_of_a_pass_and_no_longer():
    """The first one's snoops are never answered."""
    bench = Bench(seed=5, places=64, answering=0)

    async def scenario():
        for block in range(3):
            bench.cover(0, block, range(3))
        bench.pressure = 1
        await bench.clock(candidate=(0, 0, 1))
        await bench.until(lambda: len(bench.ops) == 2)
        await bench.clock(candidate=(0, 1, 1))
        # Whoever is needed goes before who is not; and one waits, no more.
        await bench.clock(candidate=(0, 2, 0))
        await bench.clock(candidate=(0, 2, 1))
        await bench.until(lambda: len(bench.ops) == 3 * SECTORS_PER_BLOCK)
        blocks = [where // SECTORS_PER_BLOCK for _, where in bench.ops]
        assert blocks == [0] * SECTORS_PER_BLOCK + [1] * 2 * SECTORS_PER_BLOCK

    bench.run(scenario)


#: clocks that a pass over a block or over all sets takes here, at most
PASS_CLOCKS = 600


def test_passes_pause_while_nobody_answers():
    """A block that is needed, and lines that became stale in a sector that is being asked."""
    bench = Bench(seed=9, places=64, answering=0)

    async def scenario():
        bench.cover(0, 0, range(3))
        for line in range(SECTOR_LINES):
            bench.access(Access.READ_OWN, bench.sector(1, 0, 0), line)
        bench.access(Access.WRITE_KEEP, bench.sector(1, 0, 0), 0)
        await bench.clock(candidate=(0, 0, 1), stale=True)
        for _ in range(PASS_CLOCKS):
            await bench.clock()
        bench.access(Access.WRITE_KEEP, bench.sector(1, 0, 0), 1)
        await bench.clock(stale=True)
        for _ in range(PAUSE_CLOCKS):
            await bench.clock()
        bench.ops.clear()
        for _ in range(3 * (PAUSE_CLOCKS + PASS_CLOCKS)):
            await bench.clock()
        kinds = [kind for kind, _ in bench.ops]
        assert 2 <= kinds.count(FilterOp.RECALL) / SECTORS_PER_BLOCK <= 5
        assert 2 <= kinds.count(FilterOp.SCRUB) / CONFIG.filter_sets <= 6

    bench.run(scenario)


@pytest.mark.parametrize("places", [1, 64])
def test_an_answer_ends_a_pause(places):
    """Another pass begins with it, or the operation that found no place is repeated."""
    bench = Bench(seed=10, places=places, answering=0)

    async def scenario():
        bench.cover(0, 0, range(3))
        await bench.clock(candidate=(0, 0, 1))
        # Until its second pass has ended, or an operation found no place
        for _ in range(PASS_CLOCKS if places > 1 else PASS_CLOCKS // 3):
            await bench.clock()
        bench.ops.clear()
        for _ in range(PAUSE_CLOCKS // 2):
            await bench.clock()
        assert not bench.ops
        bench.answering = 1
        await bench.clock()
        bench.answering = 0
        for _ in range(20):
            await bench.clock()
        assert bench.ops

    bench.run(scenario)


@pytest.mark.parametrize("why", ["answer", "recall_all"])
def test_a_reason_that_comes_during_a_pass_lets_the_next_one_follow_at_once(why):
    """The pass has been at set 0 before, and asks nobody."""
    bench = Bench(seed=11, answering=0)
    sector = next(s for s in range(SECTORS_PER_BLOCK) if set_of(CONFIG, s) == 0)

    async def scenario():
        for line in range(2):
            bench.access(Access.READ_OWN, sector, line)
        if why == "answer":
            await bench.clock(stale=bench.access(Access.WRITE_KEEP, sector, 0))
            await bench.until(lambda: bench.snoops)
            await bench.until(lambda: len(bench.ops) == 2 * CONFIG.filter_sets)
            stale = bench.access(Access.WRITE_KEEP, sector, 1)
        else:
            stale = True
        await bench.clock(stale=stale)
        passes = len(bench.ops) // CONFIG.filter_sets
        await bench.until(lambda: len(bench.ops) == (passes + 1) * CONFIG.filter_sets + 4)
        begun = bench.clocks
        bench.answering = 1
        wanted = LineState.STALE if why == "answer" else LineState.A
        await bench.until(lambda: wanted not in bench.states(), recall_all=why == "recall_all")
        assert bench.clocks - begun < PAUSE_CLOCKS // 2

    bench.run(scenario)


def test_any_answer_lets_a_recall_go_on_that_found_no_place_for_its_first_snoop():
    bench = Bench(seed=12, places=2, answering=0)

    async def scenario():
        for block in range(2):
            bench.cover(0, block, range(2))
        await bench.clock(candidate=(0, 0, 1))
        await bench.until(lambda: len(bench.snoops) == 2)
        await bench.clock(candidate=(0, 1, 1))
        await bench.until(lambda: bench.full)
        bench.answering = 1
        await bench.clock()
        bench.answering = 0
        for _ in range(20):
            await bench.clock()
        assert bench.snoops[-1][0].sector == bench.sector(0, 1, 0)

    bench.run(scenario)


@pytest.mark.parametrize("seed", range(4))
def test_stale_lines_are_taken_back_also_if_they_become_so_while_their_sector_is_asked(seed):
    bench = Bench(seed=seed, answering=(0.3, 0.05, 0.02, 0.002)[seed])
    rng = bench.rng

    async def scenario():
        sectors = [bench.sector(0, 0, local) for local in range(6)]
        for sector in sectors:
            for line in range(SECTOR_LINES):
                bench.access(Access.READ_OWN, sector, line)
        for _ in range(16):
            owned = [
                (sector, line)
                for sector in sectors
                for line in range(SECTOR_LINES)
                for way in bench.filter.row(sector).ways
                if way is not None and way.sector == sector and way.states[0][line] == LineState.A
                if not way.busy >> line & 1
            ]
            if owned:
                await bench.clock(stale=bench.access(Access.WRITE_KEEP, *rng.choice(owned)))
            for _ in range(rng.choice((1, 3, 60))):
                await bench.clock()
        await bench.until(lambda: LineState.STALE not in bench.states())
        await bench.settle()
        assert {kind for kind, _ in bench.ops} == {FilterOp.SCRUB}
        assert bench.states(), "lines that are not stale were asked back"
        bench.ops.clear()
        await bench.settle()
        assert not bench.ops

    bench.run(scenario)


@pytest.mark.quick
def test_every_line_is_taken_back_while_all_are_to_be_and_a_recall_goes_on_beside():
    bench = Bench(TWO_HOSTS, seed=7, answering=0.2)

    async def scenario():
        for block in range(2):
            bench.cover(3, block, range(8), host=block)
        await bench.clock(candidate=(3, 1, 1), recall_all=True)
        await bench.until(lambda: not bench.states() and not bench.snoops, recall_all=True)
        assert [kind for kind, _ in bench.ops[:12]] == [FilterOp.SCRUB, FilterOp.RECALL] * 6
        sets = [where for kind, where in bench.ops if kind == FilterOp.SCRUB]
        assert sets == [n % bench.config.filter_sets for n in range(len(sets))]
        bench.cover(3, 2, range(2))
        await bench.until(lambda: not bench.states(), recall_all=True)
        bench.cover(3, 2, range(2))
        await bench.settle()
        assert len(bench.states()) == 2

    bench.run(scenario)


def test_a_reset_in_the_middle_leaves_nothing_behind():
    bench = Bench(seed=8, answering=0)

    async def scenario():
        bench.cover(0, 0)
        await bench.clock(candidate=(0, 0, 1), stale=True)
        await bench.clock(candidate=(0, 1, 1))
        await bench.until(lambda: len(bench.ops) == 5)
        bench.ctx.set(bench.reset, 1)
        bench.forget()
        await bench.clock()
        bench.ctx.set(bench.reset, 0)
        bench.forget()
        bench.ops.clear()
        await bench.settle()
        assert not bench.ops

    bench.run(scenario)
