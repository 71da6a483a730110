"""Read combining: who joins whose access, and that nobody reads what was there before a write."""

import random
from collections import Counter

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.hw.data.mxint8.read_combiner import OPEN, ReadCombiner
from tests.support.simulation import set_payload, simulate

CONFIG = preset("tiny")
HALF_BITS = 256


class Memory:
    """DDR5 lines (frame, line // 2) behind the combiner: answers in any order, each after `delay()` clocks."""

    def __init__(self, dut, rng, delay, ready=lambda: True):
        self.dut, self.rng, self.delay, self.ready = dut, rng, delay, ready
        self.halves, self.accesses, self.clock = {}, 0, 0
        #: [clock, number, line, its value if it was taken early]
        self.reads, self.offered = [], None

    def half(self, frame, line):
        return self.halves.setdefault((frame, line), self.rng.getrandbits(HALF_BITS))

    def drive(self, ctx):
        ctx.set(self.dut.memory.ready, self.ready())
        due = [read for read in self.reads if read[0] <= self.clock]
        if self.offered is None and due:
            self.offered = self.rng.choice(due)
            self.reads.remove(self.offered)
            _, number, place, value = self.offered
            value = self._value(place) if value is None else value
            set_payload(ctx, self.dut.returned.payload, {"number": number, "data": value, "failed": number % 8 == 7})
        ctx.set(self.dut.returned.valid, self.offered is not None)

    def _value(self, place):
        frame, pair = place
        return self.half(frame, 2 * pair) | self.half(frame, 2 * pair + 1) << HALF_BITS

    def sample(self, ctx):
        self.clock += 1
        if self.offered is not None and ctx.get(self.dut.returned.ready):
            self.offered = None
        if ctx.get(self.dut.memory.valid) and ctx.get(self.dut.memory.ready):
            wanted = ctx.get(self.dut.memory.payload)
            place = wanted.place.frame, wanted.place.line // 2
            self.accesses += 1
            self.reads.append(
                [
                    self.clock + self.delay(),
                    wanted.number,
                    place,
                    self._value(place) if self.rng.random() < 0.5 else None,
                ]
            )


class Reader:
    """Offers reads (frame, line) and compares what comes back with what was there when they were taken."""

    def __init__(self, dut, memory, rng, take=lambda: True):
        self.dut, self.memory, self.rng, self.take = dut, memory, rng, take
        self.offered, self.expected, self.done = None, {}, 0
        self.busy, self.joined = Counter(), 0

    def offer(self, ctx, place):
        """Offers a read, unless one waits or every number is in use."""
        numbers = set(range(CONFIG.read_slots + 1)) - set(self.expected)
        if self.offered is not None or not numbers or place is None:
            return
        frame, line = place
        self.offered = self.rng.choice(sorted(numbers)), place, self.rng.getrandbits(8)
        payload = self.dut.reads.payload
        set_payload(ctx, payload, {"number": self.offered[0], "scale": self.offered[2]})
        set_payload(ctx, payload.place, {"frame": frame, "line": line, "mode": 1})
        self.busy[place] += 1

    def clock(self, ctx):
        ctx.set(self.dut.reads.valid, self.offered is not None)
        ctx.set(self.dut.halves.ready, self.take())
        if ctx.get(self.dut.halves.valid) and ctx.get(self.dut.halves.ready):
            got = ctx.get(self.dut.halves.payload)
            place, scale, elements = self.expected.pop(got.number)
            assert (got.scale, got.elements) == (scale, elements), place
            if not got.joined:
                assert got.failed == (got.number % 8 == 7)
            self.joined += got.joined
            self.busy[place] -= 1
            self.done += 1
        if self.offered is not None and ctx.get(self.dut.reads.ready):
            number, place, scale = self.offered
            self.expected[number] = place, scale, self.memory.half(*place)
            self.offered = None


def run(scenario, *, seed=0, delay=(1, 1), stall=0.0):
    print("seed", seed)
    rng = random.Random(seed)
    dut = ReadCombiner(config=CONFIG)
    memory = Memory(dut, rng, lambda: rng.randint(*delay), lambda: rng.random() >= stall)
    reader = Reader(dut, memory, rng, lambda: rng.random() >= stall)

    async def clock(ctx, place=None):
        reader.offer(ctx, place)
        memory.drive(ctx)
        reader.clock(ctx)
        memory.sample(ctx)
        await ctx.tick()

    async def bench(ctx):
        await scenario(ctx, dut, memory, reader, clock, rng)

    simulate(dut, bench)


@pytest.mark.parametrize("seed, delay, stall", [(0, (1, 1), 0.0), (1, (1, 20), 0.3), (2, (10, 30), 0.0)])
def test_every_read_gets_what_the_last_write_of_its_half_left(seed, delay, stall):
    async def scenario(ctx, dut, memory, reader, clock, rng):
        # half being written -> what is left to do: write it, say so, let reads pass again
        writing = {}
        for _ in range(2000):
            ctx.set(dut.written.valid, 0)
            for place, steps in list(writing.items()):
                if rng.random() < 0.2:
                    step = steps.pop(0)
                    if step == "write":
                        memory.halves[place] = rng.getrandbits(HALF_BITS)
                    elif step == "say so" and ctx.get(dut.written.valid) == 0:
                        ctx.set(dut.written.valid, 1)
                        set_payload(ctx, dut.written.place, {"frame": place[0], "line": place[1], "mode": 1})
                    elif step == "say so":
                        steps.insert(0, step)
                    else:
                        del writing[place]
            place = rng.randrange(2), rng.randrange(6)
            if rng.random() < 0.3 and not reader.busy[place] and place not in writing:
                writing[place] = ["write", "say so", "end"]
            await clock(ctx, place if place not in writing else None)
        assert reader.done > 200 and reader.joined > 50

    run(scenario, seed=seed, delay=delay, stall=stall)


@pytest.mark.quick
@pytest.mark.parametrize("streams", [1, OPEN])
def test_sequential_reads_need_half_an_access_each_and_one_clock(streams):
    async def scenario(ctx, dut, memory, reader, clock, rng):
        memory.delay = lambda: streams
        for number in range(96):
            await clock(ctx, (number % streams, number // streams))
        while reader.done < 96:
            await clock(ctx)
        assert memory.accesses == 48
        # The last pair: its access, the answer, both ends.
        assert memory.clock <= 96 + 3 + 2 * streams

    run(scenario)


def test_a_read_joins_until_its_line_is_answered_and_a_third_read_does_not():
    async def scenario(ctx, dut, memory, reader, clock, rng):
        memory.delay = lambda: 12
        for place in ((3, 0), (3, 1), (3, 0), (3, 1)):
            await clock(ctx, place)
        assert memory.accesses == 2
        while reader.done < 4:
            await clock(ctx)
        await clock(ctx, (3, 1))
        assert memory.accesses == 3
        # Another frame, another line of the same number.
        await clock(ctx, (4, 0))
        await clock(ctx, (3, 2))
        assert memory.accesses == 5

    run(scenario)


def test_the_last_accesses_can_be_joined():
    async def scenario(ctx, dut, memory, reader, clock, rng):
        memory.delay = lambda: 40
        for pair in range(OPEN + 1):
            await clock(ctx, (0, 2 * pair))
        for pair in reversed(range(OPEN + 1)):
            await clock(ctx, (0, 2 * pair + 1))
        assert memory.accesses == OPEN + 2

    run(scenario)


def test_an_access_that_may_have_seen_what_was_there_before_a_write_is_joined_no_more():
    async def scenario(ctx, dut, memory, reader, clock, rng):
        memory.delay = lambda: 40
        await clock(ctx, (3, 0))
        await clock(ctx, (4, 0))
        await clock(ctx)
        # The lines of both frames are in the access already; then the other half of one is written.
        memory.halves[3, 1] = rng.getrandbits(HALF_BITS)
        set_payload(ctx, dut.written.place, {"frame": 3, "line": 1, "mode": 1})
        ctx.set(dut.written.valid, 1)
        await clock(ctx)
        ctx.set(dut.written.valid, 0)
        for frame, accesses in ((3, 3), (4, 3)):
            await clock(ctx, (frame, 1))
            assert memory.accesses == accesses
        while reader.done < 4:
            await clock(ctx)

    run(scenario)
