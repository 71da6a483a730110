"""A sector is pending from the commit of a granted request until its NDR is queued, and no longer."""

import random

import pytest
from amaranth.hdl import ResetInserter, Signal

from kv_endpoint.golden.common.config import LINES_PER_BLOCK, SECTOR_LINES, preset
from kv_endpoint.hw.coherency.grants_in_flight import GrantsInFlight
from tests.support.simulation import set_payload, simulate

CONFIG = preset("tiny", read_slots=16)
#: (head, block, line) in few sectors, which differ in one part each
PLACES = [
    (head, block, line)
    for head in (0, CONFIG.heads - 1)
    for block in (0, CONFIG.blocks_per_head - 1)
    for line in (0, 1, SECTOR_LINES - 1, SECTOR_LINES, LINES_PER_BLOCK - 1)
]


def sector_of(head, block, line):
    return ((head * CONFIG.blocks_per_head + block) * LINES_PER_BLOCK + line) // SECTOR_LINES


SECTORS = sorted({sector_of(*place) for place in PLACES})


class Bench:
    def __init__(self):
        self.dut = GrantsInFlight(config=CONFIG)
        #: read slot -> sector of its request that was granted
        self.granted = {}

    async def clock(self, ctx, *, commit=None, grants=False, rwd=False, leave=None, ask=SECTORS[0]):
        """`commit` is (read slot, place). Returns whether sector `ask` is pending, which must be so."""
        dut = self.dut
        set_payload(ctx, dut.commit, {"valid": commit is not None})
        if commit is not None:
            number, place = commit
            set_payload(ctx, dut.commit.slot, {"id": number, "rwd": rwd})
            set_payload(ctx, dut.commit.slot, dict(zip(("head", "block", "line"), place, strict=True)))
            if grants and not rwd:
                self.granted[number] = sector_of(*place)
        ctx.set(dut.grants, grants)
        set_payload(ctx, dut.leave, {"valid": leave is not None, "id": leave or 0})
        ctx.set(dut.pending_sector, ask)
        pending = bool(ctx.get(dut.pending))
        assert pending == (ask in self.granted.values())
        await ctx.tick()
        self.granted.pop(leave, None)
        return pending


@pytest.mark.quick
@pytest.mark.parametrize("seed", range(2))
def test_pending_sectors_are_those_of_granted_requests(seed):
    print("seed", seed)
    rng = random.Random(seed)
    bench = Bench()
    seen = {False: 0, True: 0}

    async def run(ctx):
        out = set()
        for _ in range(10):
            enters, leaves = rng.choice((0.2, 0.8, 1)), rng.choice((0.1, 0.5, 1))
            for _ in range(150):
                free = [number for number in range(CONFIG.read_slots) if number not in out]
                commit = (rng.choice(free), rng.choice(PLACES)) if free and rng.random() < enters else None
                leave = rng.choice(sorted(out)) if out and rng.random() < leaves else None
                rwd = rng.random() < 0.1
                ask = sector_of(*commit[1]) if commit and rng.random() < 0.3 else rng.choice(SECTORS)
                grants = rng.random() < 0.7
                seen[await bench.clock(ctx, commit=commit, grants=grants, rwd=rwd, leave=leave, ask=ask)] += 1
                out.discard(leave)
                if commit is not None and not rwd:
                    out.add(commit[0])

    simulate(bench.dut, run)
    assert min(seen.values()) > 300


def test_a_grant_counts_in_the_very_clock_of_its_commit_and_every_clock_after():
    bench = Bench()
    place = PLACES[-1]
    sector = sector_of(*place)

    async def run(ctx):
        assert await bench.clock(ctx, commit=(3, place), grants=True, ask=sector)
        for _ in range(4):
            assert await bench.clock(ctx, ask=sector)
        assert await bench.clock(ctx, ask=sector, leave=3)
        assert not await bench.clock(ctx, ask=sector)

    simulate(bench.dut, run)


def test_all_read_slots_in_one_sector():
    bench = Bench()

    async def run(ctx):
        for number in range(CONFIG.read_slots):
            await bench.clock(ctx, commit=(number, PLACES[0]), grants=True)
        for number in range(CONFIG.read_slots):
            assert await bench.clock(ctx, leave=number)
        assert not await bench.clock(ctx)

    simulate(bench.dut, run)


def test_after_a_reset_nothing_is_pending():
    bench = Bench()
    reset = Signal()

    async def run(ctx):
        for number, place in enumerate(PLACES[:8]):
            await bench.clock(ctx, commit=(number, place), grants=True)
        set_payload(ctx, bench.dut.commit, {"valid": 0})
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        bench.granted = {}
        for sector in SECTORS:
            await bench.clock(ctx, ask=sector)

    simulate(ResetInserter(reset)(bench.dut), run)
