"""Write combining: every half is written once, with its partner or in time, and every write ends."""

import random

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.hw.data.mxint8.write_combiner import PATIENCE, PLACES, WriteCombiner
from tests.support.simulation import set_payload, simulate

CONFIG = preset("tiny")
HALF_BITS = 256
HALF_STRB = (1 << 32) - 1


class Bench:
    """Offers halves, plays memory, and checks that each write ends as memory said, with its own note."""

    def __init__(self, *, seed=0, delay=(1, 1), stall=0.0):
        print("seed", seed)
        self.rng = random.Random(seed)
        self.dut = WriteCombiner(config=CONFIG)
        self.delay, self.stall = delay, stall
        self.clocks = 0
        #: write slot -> (place, note, elements) from the offer to the end; of those taken, what memory said: failed
        self.writes, self.failed = {}, {}
        self.offered, self.answers, self.answer = None, [], None
        #: (clock, number of halves) of each access; clocks in which halves were taken
        self.accesses, self.taken, self.ended, self.joined = [], [], 0, 0
        self._waiting = None

    def run(self, scenario):
        async def bench(ctx):
            self.ctx = ctx
            await scenario(self)

        simulate(self.dut, bench)

    def places(self):
        return {place for place, _, _ in self.writes.values()}

    async def clock(self, place=None):
        ctx, dut, rng = self.ctx, self.dut, self.rng
        free = sorted(set(range(CONFIG.write_slots)) - set(self.writes))
        if self.offered is None and place is not None and free and place not in self.places():
            self.offered = rng.choice(free)
            note = {"scale": rng.getrandbits(8), "read_failed": rng.getrandbits(1)}
            elements = rng.getrandbits(HALF_BITS)
            self.writes[self.offered] = place, note, elements
            set_payload(ctx, dut.halves.payload, {"id": self.offered, "elements": elements})
            set_payload(ctx, dut.halves.payload.place, {"frame": place[0], "line": place[1], "mode": 1})
            set_payload(ctx, dut.halves.payload.note, note)
        ctx.set(dut.halves.valid, self.offered is not None)
        if self.answer is None:
            due = [answer for answer in self.answers if answer[0] <= self.clocks]
            if due:
                self.answer = rng.choice(due)
                self.answers.remove(self.answer)
                set_payload(ctx, dut.confirmed.payload, {"id": self.answer[1], "failed": self.answer[2]})
        ctx.set(dut.confirmed.valid, self.answer is not None)
        ctx.set(dut.memory.ready, rng.random() >= self.stall)
        ctx.set(dut.ended.ready, rng.random() >= self.stall)

        if self.offered is not None and ctx.get(dut.halves.ready):
            self.taken.append(self.clocks)
            self.offered = None
        if self.answer is not None and ctx.get(dut.confirmed.ready):
            self.answer = None
        self._memory()
        if ctx.get(dut.ended.valid) and ctx.get(dut.ended.ready):
            got = ctx.get(dut.ended.payload)
            _, note, _ = self.writes.pop(got.id)
            failed = self.failed.pop(got.id)
            assert (got.scale, got.read_failed, got.failed) == (note["scale"], note["read_failed"], failed)
            self.ended += 1
            self.joined += got.joined
        self.clocks += 1
        await ctx.tick()

    def _memory(self):
        ctx, memory = self.ctx, self.dut.memory
        if not ctx.get(memory.valid):
            assert self._waiting is None
            return
        line = ctx.get(memory.payload)
        assert self._waiting is None or self._waiting == line, "changed before it was taken"
        if not ctx.get(memory.ready):
            self._waiting = line
            return
        self._waiting = None
        halves = 0
        failed = self.rng.random() < 0.1
        for half in range(2):
            strb = line.strb >> 32 * half & HALF_STRB
            assert strb in (0, HALF_STRB)
            if strb:
                place = line.place.frame, line.place.line & ~1 | half
                ids = [id_ for id_, write in self.writes.items() if write[0] == place and id_ not in self.failed]
                assert len(ids) == 1, f"{place} written twice"
                assert line.data >> HALF_BITS * half & (1 << HALF_BITS) - 1 == self.writes[ids[0]][2]
                self.failed[ids[0]] = failed
                halves += 1
                if line.id == ids[0]:
                    self.answers.append((self.clocks + self.rng.randint(*self.delay), line.id, failed))
        assert halves
        self.accesses.append((self.clocks, halves))

    async def settle(self):
        limit = self.clocks + 500
        while self.writes:
            await self.clock()
            assert self.clocks < limit, f"no end of {self.writes}"


@pytest.mark.parametrize("seed, delay, stall", [(0, (1, 1), 0.0), (1, (1, 30), 0.4), (2, (20, 20), 0.1)])
def test_every_half_is_written_once_and_ends_with_its_own_note(seed, delay, stall):
    async def scenario(bench):
        rng = bench.rng
        for _ in range(2500):
            bench.ctx.set(bench.dut.flush, rng.random() < 0.02)
            bench.ctx.set(bench.dut.urgent.valid, rng.random() < 0.05)
            set_payload(bench.ctx, bench.dut.urgent.place, {"frame": rng.randrange(2), "line": rng.randrange(8)})
            await bench.clock((rng.randrange(2), rng.randrange(8)) if rng.random() < 0.7 else None)
        await bench.settle()
        assert bench.ended > 400 and bench.joined > 100
        assert bench.joined == sum(halves - 1 for _, halves in bench.accesses)

    Bench(seed=seed, delay=delay, stall=stall).run(scenario)


@pytest.mark.quick
@pytest.mark.parametrize("streams", [1, PLACES - 1])
@pytest.mark.parametrize("first", [0, 1])
def test_sequential_writes_need_half_an_access_each_and_one_clock(streams, first):
    """Also where the odd line comes first."""

    async def scenario(bench):
        count = 16 * streams
        for number in range(count):
            await bench.clock((number % streams, number // streams ^ first))
        await bench.settle()
        assert [halves for _, halves in bench.accesses] == [2] * (count // 2)
        assert bench.taken == list(range(count))
        # The last half: its line leaves 2 clocks later, is confirmed 1 clock later, and ends in 2 clocks.
        assert bench.accesses[-1][0] == bench.taken[-1] + 2
        assert bench.clocks <= count + 2 + 1 + 2 + streams

    Bench().run(scenario)


def test_lone_halves_leave_one_a_clock_when_no_place_is_left():
    async def scenario(bench):
        # As many as there are write slots.
        for line in range(CONFIG.write_slots):
            await bench.clock((line % 3, 2 * line))
        # One clock from the last place to the first that is free again.
        count = CONFIG.write_slots - 1
        assert bench.taken == [*range(PLACES), *range(PLACES + 1, count + 1)]
        assert [halves for _, halves in bench.accesses] == [1] * len(bench.accesses)
        assert len(bench.accesses) >= CONFIG.write_slots - PLACES - 1

    Bench(delay=(60, 60)).run(scenario)


def test_a_lone_half_waits_its_time_and_no_longer():
    async def scenario(bench):
        await bench.clock((1, 5))
        await bench.settle()
        ((clock, halves),) = bench.accesses
        assert halves == 1 and PATIENCE <= clock - bench.taken[0] <= PATIENCE + 3

    Bench().run(scenario)


@pytest.mark.parametrize("flush", [True, False])
def test_a_half_that_somebody_waits_for_leaves_at_once(flush):
    async def scenario(bench):
        for line in (4, 8):
            await bench.clock((1, line))
        bench.ctx.set(bench.dut.flush, flush)
        if not flush:
            # Whoever waits for either half of the DDR5 line.
            set_payload(bench.ctx, bench.dut.urgent.place, {"frame": 1, "line": 5})
            bench.ctx.set(bench.dut.urgent.valid, 1)
        for _ in range(5):
            await bench.clock()
        assert len(bench.accesses) == (2 if flush else 1)

    Bench().run(scenario)


def test_parameters_that_make_no_combiner_are_refused():
    with pytest.raises(ValueError, match="places must be 2 or more, not 1"):
        WriteCombiner(config=CONFIG, places=1)
    with pytest.raises(ValueError, match="patience must be 1 clock or more, not 0"):
        WriteCombiner(config=CONFIG, patience=0)
