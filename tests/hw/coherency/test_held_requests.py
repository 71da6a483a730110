"""Held requests come back once each, in the order in which they were held, when what they wait for is freed."""

import random
from dataclasses import dataclass

import pytest
from amaranth.hdl import ResetInserter, Signal

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import Access, Retry
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.coherency.held_requests import HeldRequests
from tests.support.simulation import fields_of, set_payload, simulate

CONFIG = preset("tiny", read_slots=16)
HELD = [outcome for outcome in Outcome if outcome.held]
NONE, ANY = "none", "any"


@dataclass
class Request:
    node: int
    fields: dict
    kind: SlotKind
    outcome: Outcome
    #: the clock in which what it waits for was freed
    ready_at: int = 0

    def retry(self):
        """The slot that it must come back as."""
        again = Retry.SNOOPED if self.outcome == Outcome.HELD_LINE else Retry.WAITED
        kind = SlotKind.RELEASE if self.kind == SlotKind.RELEASE else SlotKind.READ
        return {**self.fields, "kind": kind, "id": self.node, "retry": again}


class Bench:
    """The block beside lists of lists: `lists[place]`, `lists[ANY]`, and `ready`, what has to come back next."""

    def __init__(self, seed):
        print("seed", seed)
        self.random = random.Random(seed)
        self.dut = HeldRequests(config=CONFIG)
        self.lists = {where: [] for where in (*range(CONFIG.snoops), ANY)}
        self.ready = []
        #: nodes that are not held
        self.free = set(range(CONFIG.read_slots))
        #: `both`: requests held in the clock in which their place was freed
        self.clocks, self.retried, self.both = 0, 0, 0

    def random_request(self):
        rng = self.random
        fields = {"tag": rng.getrandbits(16), "head": rng.randrange(CONFIG.heads), "line": rng.randrange(128),
                  "block": rng.randrange(CONFIG.blocks_per_head), "mode": rng.randrange(2),
                  "access": rng.choice(list(Access)), "host": rng.randrange(2)}  # fmt: skip
        kind = rng.choice((SlotKind.READ, SlotKind.REPLAY_READ, SlotKind.RELEASE))
        return Request(rng.choice(sorted(self.free)), fields, kind, rng.choice(HELD))

    def make_ready(self, requests):
        for request in requests:
            request.ready_at = self.clocks
        self.ready += requests

    async def clock(self, ctx, *, request=None, waits_on=NONE, freed=None, ready=True):
        """One clock in which `request` is held and place `freed` is freed."""
        dut = self.dut
        set_payload(ctx, dut.commit, {"valid": request is not None})
        if request is not None:
            self.free.discard(request.node)
            slot = {**request.fields, "kind": request.kind, "id": request.node}
            set_payload(ctx, dut.commit.slot, slot)
            set_payload(ctx, dut.commit, {"outcome": request.outcome})
            by_place = waits_on not in (NONE, ANY)
            where = {"none": waits_on == NONE, "any": waits_on == ANY, "tag": waits_on if by_place else 0}
            if not by_place:
                where["tag"] = self.random.randrange(CONFIG.snoops)
            set_payload(ctx, dut.waits_on, where)
        set_payload(ctx, dut.freed, {"valid": freed is not None, "tag": freed or 0})
        ctx.set(dut.retry_slots.ready, ready)
        taken = None
        if ctx.get(dut.retry_slots.valid) and ready:
            taken = fields_of(ctx.get(dut.retry_slots.payload))
        if not self.ready:
            assert not ctx.get(dut.retrying)
        elif self.clocks >= self.ready[0].ready_at + 2:
            assert ctx.get(dut.retrying), f"clock {self.clocks}"
        if taken is not None:
            expected = self.ready.pop(0)
            assert taken == {name: int(expected.retry().get(name, 0)) for name in taken}, f"clock {self.clocks}"
            self.free.add(expected.node)
            self.retried += 1
        # Lists change behind the outputs of this clock.
        if request is not None and waits_on != NONE:
            self.lists[waits_on].append(request)
            self.both += waits_on == freed
        if freed is not None:
            for where in (freed, ANY):
                self.make_ready(self.lists[where])
                self.lists[where] = []
        if request is not None and waits_on == NONE:
            self.make_ready([request])
        await ctx.tick()
        self.clocks += 1

    async def drain(self, ctx):
        for place in range(CONFIG.snoops):
            await self.clock(ctx, freed=place)
        for _ in range(2 * CONFIG.read_slots + 8):
            await self.clock(ctx)
        assert not self.ready and ctx.get(self.dut.held) == 0


@pytest.mark.parametrize("seed", range(4))
def test_each_request_comes_back_once_and_in_order(seed):
    bench = Bench(seed)
    rng = bench.random

    async def run(ctx):
        for _ in range(12):
            hold, free, take = (rng.choice((0.1, 0.5, 1)) for _ in range(3))
            for _ in range(150):
                request = bench.random_request() if bench.free and rng.random() < hold else None
                where = rng.choice((*range(CONFIG.snoops), *range(CONFIG.snoops), ANY, NONE))
                freed = None
                if rng.random() < free:
                    freed = where if where not in (ANY, NONE) and rng.random() < 0.3 else rng.randrange(CONFIG.snoops)
                await bench.clock(ctx, request=request, waits_on=where, freed=freed, ready=rng.random() < take)
                assert ctx.get(bench.dut.held) <= CONFIG.read_slots
        await bench.drain(ctx)

    simulate(bench.dut, run)
    assert bench.retried > 150 and bench.both > 20


@pytest.mark.quick
@pytest.mark.parametrize("where", [0, CONFIG.snoops - 1, ANY, NONE])
def test_all_requests_in_one_list_come_back_one_every_two_clocks(where):
    bench = Bench(0)

    async def run(ctx):
        for _ in range(CONFIG.read_slots):
            await bench.clock(ctx, request=bench.random_request(), waits_on=where, ready=False)
        await bench.clock(ctx, ready=False)
        assert ctx.get(bench.dut.held) == CONFIG.read_slots
        place = where if where not in (ANY, NONE) else 1
        await bench.clock(ctx, freed=place)
        for _ in range(2 * CONFIG.read_slots + 2):
            await bench.clock(ctx)
        assert bench.retried == CONFIG.read_slots

    simulate(bench.dut, run)


@pytest.mark.parametrize("where", [2, ANY, NONE])
@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_request_held_in_the_clock_in_which_its_place_is_freed_is_tried_again(where, before):
    bench = Bench(1)

    async def run(ctx):
        for _ in range(before):
            await bench.clock(ctx, request=bench.random_request(), waits_on=where, ready=False)
        await bench.clock(ctx, request=bench.random_request(), waits_on=where, freed=2, ready=False)
        for _ in range(12):
            await bench.clock(ctx)
        assert bench.retried == before + 1

    simulate(bench.dut, run)


def test_a_retry_is_offered_three_clocks_after_its_place_is_freed():
    bench = Bench(2)

    async def run(ctx):
        await bench.clock(ctx, request=bench.random_request(), waits_on=3, ready=False)
        await bench.clock(ctx, ready=False)
        await bench.clock(ctx, freed=3, ready=False)
        for _ in range(2):
            assert not ctx.get(bench.dut.retry_slots.valid)
            await bench.clock(ctx, ready=False)
        assert ctx.get(bench.dut.retry_slots.valid)

    simulate(bench.dut, run)


def test_other_commits_are_not_kept():
    dut = HeldRequests(config=CONFIG)

    async def run(ctx):
        for outcome in Outcome:
            if not outcome.held:
                set_payload(ctx, dut.commit, {"valid": 1, "outcome": outcome})
                await ctx.tick()
        set_payload(ctx, dut.commit, {"valid": 0, "outcome": Outcome.HELD_LINE})
        await ctx.tick().repeat(3)
        assert ctx.get(dut.held) == 0

    simulate(dut, run)


def test_after_a_reset_nothing_is_held():
    bench = Bench(3)
    reset = Signal()

    async def run(ctx):
        for where in (0, 1, ANY, 0, NONE, NONE, 2):
            await bench.clock(ctx, request=bench.random_request(), waits_on=where, ready=False)
        ctx.set(reset, 1)
        set_payload(ctx, bench.dut.commit, {"valid": 0})
        await ctx.tick()
        ctx.set(reset, 0)
        assert ctx.get(bench.dut.held) == 0
        bench.lists = {where: [] for where in bench.lists}
        bench.ready, bench.free = [], set(range(CONFIG.read_slots))
        for place in range(CONFIG.snoops):
            await bench.clock(ctx, freed=place)
        for _ in range(8):
            await bench.clock(ctx)
            assert not ctx.get(bench.dut.retry_slots.valid)
        await bench.clock(ctx, request=bench.random_request(), waits_on=0)
        await bench.drain(ctx)
        assert bench.retried == 1

    simulate(ResetInserter(reset)(bench.dut), run)
