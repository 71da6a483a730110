"""The prefetch unit notes and queues what the golden one allows, in its order, and loses no announced block."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from amaranth.hdl import ResetInserter, Signal

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.events.port import EngineKind, PrefetchDrop, PrefetchSource
from kv_endpoint.golden.pipeline.metadata import FLAGS, Entry, Slot, SlotKind, State, commit
from kv_endpoint.golden.prefetch.stream_descriptor import StreamDescriptor
from kv_endpoint.golden.prefetch.unit import Prefetcher
from kv_endpoint.hw.prefetch.unit import PrefetchUnit
from tests.support.simulation import fields_of, set_payload, simulate

TINY = preset("tiny")
#: number of heads no power of two, one place a queue, three streams, no miss slot for a prefetch
ODD = preset("tiny", heads=5, blocks_per_head=32, step_bits=27, prefetch_queue_depth=1, streams=3, prefetch_slots=0)
PIPELINE_DEPTH = 7
ALL_ON = Policy(prefetch_announced=True, prefetch_window=True, prefetch_streams=True)
ANNOUNCED, WINDOW, STREAM = PrefetchSource
DUPLICATE, FULL = PrefetchDrop.DUPLICATE, PrefetchDrop.FULL
#: clocks after which a unit that nobody holds up has noted all it can
QUIET_CLOCKS = 60


class Bench:
    """A metadata table in Python that commits change, and a golden unit that follows commits, notes and takes."""

    def __init__(self, config, policy=ALL_ON, *, seed=0, note_ready=1.0, table_free=1.0):
        print(f"seed {seed}")
        self.config, self.random = config, random.Random(seed)
        self.dut = PrefetchUnit(config=config, pipeline_depth=PIPELINE_DEPTH)
        self.reset = Signal()
        self.note_ready, self.table_free = note_ready, table_free
        self.golden = Prefetcher(config)
        #: a second golden unit that follows no notes: it makes its own (`settle`)
        self.free = Prefetcher(config)
        self.policy, self.streams = policy, config.streams * (StreamDescriptor(),)
        self.table = {
            (h, b): Entry(state=State.COLD) for h in range(config.heads) for b in range(config.blocks_per_head)
        }
        self.now = 1
        #: notes as (where, source, reason or None), and how many of each kind there were in all
        self.notes = []
        self.counted = Counter()

    # One clock --------------------------------------------------------------------------------------------------------

    def start(self, ctx):
        self.ctx = ctx
        ctx.set(self.dut.now, self.now)
        self.set_registers()

    def set_registers(self, *streams, policy=None):
        """Set the first stream descriptors and the policy; the pipeline must stand still."""
        ctx, dut = self.ctx, self.dut
        self.streams = (*streams, *self.streams[len(streams) :])
        self.policy = self.policy if policy is None else policy
        for unit in (self.golden, self.free):
            unit.set_registers(self.streams, self.policy)
        switches = ("prefetch_announced", "prefetch_window", "prefetch_streams")
        set_payload(ctx, dut.policy, {name: getattr(self.policy, name) for name in switches})
        for number, stream in enumerate(self.streams):
            set_payload(
                ctx,
                dut.streams[number],
                {name: getattr(stream, name) for name in ("enabled", "base", "length", "stride", "ahead")}
                | {"mode": 1},
            )

    async def clock(self, slot=None, *, decode=True, take=False, lock=None):
        """One clock, in which `slot` commits; returns the golden request for it."""
        ctx, dut, rng = self.ctx, self.dut, self.random
        if lock is not None:
            ctx.set(dut.lock.request, lock)
        is_free = rng.random() < self.table_free
        ctx.set(dut.table_free, is_free)
        ctx.set(dut.notes.ready, rng.random() < self.note_ready)
        if slot is not None:
            self._commit(slot, decode)
        if take:
            first = self.golden.first()
            ctx.set(dut.take, 1)
            self.golden.take(first[0])
        self._follow_note()
        # What the port gives to whoever was not granted it is another's entry.
        reading = ctx.get(dut.table.index) if is_free and ctx.get(dut.table.enable) else None
        await ctx.tick()
        ctx.set(dut.commit.valid, 0)
        ctx.set(dut.take, 0)
        entry = Entry(state=rng.choice(list(State)))
        if reading is not None:
            entry = self.table[divmod(reading, self.config.blocks_per_head)]
        ctx.set(dut.table.entry.state, entry.state)

    def _commit(self, slot, decode):
        ctx, dut = self.ctx, self.dut
        where = slot.head, slot.block
        before = self.table[where]
        result = commit(before, slot, self.now, self.policy)
        self.table[where] = result.entry
        for unit in (self.golden, self.free):
            unit.observe(slot, before, result, now=self.now, policy=self.policy, decode=decode)
        ctx.set(dut.decode, decode)
        names = {name: getattr(slot, name) for name in ("kind", "head", "block", "value")}
        set_payload(ctx, dut.commit.slot, names | {"mode": slot.head & 1})
        set_payload(ctx, dut.commit.before, {name: getattr(before, name) for name in ("state", "step", *FLAGS)})
        set_payload(ctx, dut.commit, {"valid": 1, "outcome": result.outcome, "touch": result.touch})

    def _follow_note(self):
        ctx, dut = self.ctx, self.dut
        if not (ctx.get(dut.notes.valid) and ctx.get(dut.notes.ready)):
            return
        note = fields_of(ctx.get(dut.notes.payload))
        where, source = (note["head"], note["block"]), PrefetchSource(note["aux"] & 0xFF)
        reason = None
        if note["kind"] == EngineKind.PREFETCH_DROPPED:
            reason = PrefetchDrop(note["aux"] >> 8)
            self.golden.dropped(where, source, reason)
        else:
            assert (note["kind"], note["aux"] >> 8) == (EngineKind.PREFETCH_QUEUED, 0)
            self.golden.queued(where, source)
        assert (note["frame"], note["key"]) == (0, 0)
        self.notes.append((where, source, reason))
        self.counted[source, reason] += 1

    # What happens in them ---------------------------------------------------------------------------------------------

    async def idle(self, clocks):
        for _ in range(clocks):
            await self.clock()

    async def until_quiet(self):
        """Clocks until no note has come for long enough; returns the notes since the last call."""
        quiet = 0
        while quiet < QUIET_CLOCKS:
            seen = len(self.notes)
            await self.clock()
            quiet = quiet + 1 if len(self.notes) == seen else 0
        notes, self.notes = self.notes, []
        return notes

    async def slot(self, kind, where, value=0):
        await self.clock(Slot(kind, head=where[0], block=where[1], value=value))

    async def cycle(self, where, used):
        """Fetch a cold block ahead and evict it again, used or not."""
        await self.slot(SlotKind.PROMOTE, where, 1)
        await self.slot(SlotKind.FILL, where)
        if used:
            self.table[where] = replace(self.table[where], touched=True, step=self.now)
            await self.slot(SlotKind.READ, where)
        await self.slot(SlotKind.DEMOTE, where)
        await self.slot(SlotKind.EVICT, where)

    async def hint(self, where):
        await self.clock(Slot(SlotKind.HINT, rwd=True, head=where[0], block=where[1], value=1))

    async def touch(self, where, **options):
        await self.clock(Slot(SlotKind.READ, head=where[0], block=where[1]), **options)

    async def step(self):
        """The next step, for which the pipeline stands still."""
        await self.idle(3)
        self.now += 1
        self.ctx.set(self.dut.now, self.now)

    async def take(self, *, hold=0, take=True):
        """Lock the unit, check what is first, and take it; returns it."""
        ctx, dut = self.ctx, self.dut
        await self.clock(lock=1)
        clocks = 0
        while not ctx.get(dut.lock.granted):
            await self.clock()
            clocks += 1
            assert clocks < 2000, "the lock is not granted"
        notes = len(self.notes)
        for _ in range(hold):
            self.check_first()
            await self.clock()
        first = self.check_first()
        if take and first is not None:
            await self.clock(take=True)
            self.check_first()
        assert len(self.notes) == notes, "a note under the lock"
        await self.clock(lock=0)
        return first

    def check_first(self):
        first = self.golden.first()
        seen = self.ctx.get(self.dut.first)
        assert seen.valid == (first is not None)
        if first is not None:
            (head, block), source = first
            mode = 1 if source == STREAM else head & 1
            expected = {"head": head, "block": block, "mode": mode, "source": source}
            assert fields_of(seen.request) == expected
        return first

    def settle(self):
        """What is noted until nothing is left to note, if that takes no time."""
        notes = []
        while (found := self.free.candidate(lambda where: self.table[where])) is not None:
            where, source = found
            reason = self.free.drop_reason(where, source)
            if reason is None:
                self.free.queued(where, source)
            else:
                self.free.dropped(where, source, reason)
            notes.append((where, source, reason))
        return notes


def run(bench, testbench):
    """Run `testbench()` on the bench's unit, which `bench.reset` resets, once its windows are cleared."""

    async def started(ctx):
        bench.start(ctx)
        await bench.idle(bench.config.heads)
        await testbench()

    simulate(ResetInserter(bench.reset)(bench.dut), started)


# What a source asks for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "expected"),
    [(5, [6, 4]), (0, [1]), (TINY.blocks_per_head - 1, [TINY.blocks_per_head - 2])],
    ids=["middle", "first", "last"],
)
def test_a_touch_asks_for_its_neighbours_in_the_head(block, expected):
    bench = Bench(TINY)

    async def life():
        await bench.touch((2, block))
        notes = await bench.until_quiet()
        assert notes == [((2, near), WINDOW, None) for near in expected]

    run(bench, life)


def test_neighbours_that_are_not_cold_are_passed_over_without_a_note():
    bench = Bench(TINY)

    async def life():
        for number, state in enumerate(State):
            bench.table[2, 2 * number] = Entry(state=state)
        for block in (1, 3, 5, 7):
            await bench.touch((2, block))
        asked = {block for (_, block), _, _ in await bench.until_quiet()}
        assert asked == {2 * State.COLD}

    run(bench, life)


@pytest.mark.parametrize(
    ("off", "source"),
    [("prefetch_announced", ANNOUNCED), ("prefetch_window", WINDOW), ("prefetch_streams", STREAM)],
)
def test_each_switch_stops_its_source_alone(off, source):
    bench = Bench(TINY, replace(ALL_ON, **{off: False}))

    async def life():
        bench.set_registers(StreamDescriptor(base=0, length=2, enabled=False))
        await bench.clock()
        bench.set_registers(StreamDescriptor(base=0, length=2, enabled=True))
        await bench.hint((1, 3))
        await bench.touch((2, 8))
        assert {of for _, of, _ in await bench.until_quiet()} == set(PrefetchSource) - {source}

    run(bench, life)


def test_in_prefill_no_touch_asks():
    bench = Bench(TINY)

    async def life():
        await bench.touch((2, 8), decode=False)
        assert await bench.until_quiet() == []
        await bench.touch((2, 11))
        assert [where for where, _, _ in await bench.until_quiet()] == [(2, 12), (2, 10)]

    run(bench, life)


def test_a_widened_window_asks_further_and_a_closed_one_seldom():
    bench = Bench(TINY)

    async def life():
        for number in range(8 * 4):
            await bench.cycle((0, 15), used=True)
            await bench.cycle((1, 15), used=number % 8 == 0)
        bench.ctx.set(bench.dut.inspect_head, 0)
        await bench.idle(3)
        assert bench.ctx.get(bench.dut.inspect_window) == bench.golden.window(0) == 4
        await bench.touch((0, 2))
        assert [block for (_, block), _, _ in await bench.until_quiet()] == [3, 1, 4, 0, 5, 6]
        bench.ctx.set(bench.dut.inspect_head, 1)
        await bench.idle(3)
        assert bench.ctx.get(bench.dut.inspect_window) == bench.golden.window(1) == 0
        asked = []
        for number in range(1, 2 * 64 + 1):
            await bench.step()
            await bench.touch((1, 8))
            if await bench.until_quiet():
                asked.append(number)
        assert asked == [64, 128]

    run(bench, life)


@pytest.mark.parametrize("note_ready", [1.0, 0.4])
def test_bursts_of_hints_and_touches_are_noted_as_if_nothing_took_time(note_ready):
    bench = Bench(TINY, replace(ALL_ON, prefetch_streams=False), seed=3, note_ready=note_ready, table_free=0.6)
    windows = set()

    async def life():
        rng = bench.random
        blocks = list(bench.table)
        for where in blocks:
            if rng.random() < 0.2:
                bench.table[where] = Entry(state=State.WARM)
        for _ in range(40):
            cold = [where for where in blocks if bench.table[where].state == State.COLD]
            for _ in range(rng.randrange(12)):
                await bench.cycle(rng.choice(cold), used=rng.random() < 0.45)
            await bench.step()
            # Announced blocks overtake what windows ask for, so hints come first.
            for _ in range(rng.randrange(5)):
                await bench.hint(rng.choice(blocks))
            for _ in range(rng.randrange(4)):
                await bench.touch(rng.choice(blocks))
            assert await bench.until_quiet() == bench.settle()
            for _ in range(rng.randrange(6)):
                first = await bench.take()
                if first is not None:
                    bench.free.take(first[0])
            windows.update(bench.golden.window(head) for head in range(TINY.heads))

    run(bench, life)
    assert windows >= {0, 1, 2}
    expected = {(source, reason) for source in (ANNOUNCED, WINDOW) for reason in (None, DUPLICATE, FULL)}
    assert expected <= set(bench.counted)


# Streams --------------------------------------------------------------------------------------------------------------


async def enable(bench, *streams):
    """Write the descriptors, then enable them."""
    await bench.idle(3)
    bench.set_registers(*(replace(stream, enabled=False) for stream in streams))
    await bench.clock()
    bench.set_registers(*streams)


async def serve(bench, *, touch=True):
    """Take what is first, and touch it, until nothing is left; returns what was taken."""
    taken = []
    while True:
        await bench.until_quiet()
        first = await bench.take()
        if first is None:
            return taken
        taken.append(first[0])
        if touch:
            await bench.touch(first[0], decode=False)


@pytest.mark.parametrize(
    "stream",
    [
        StreamDescriptor(base=16 + 3, length=9, stride=1, ahead=2, enabled=True),
        StreamDescriptor(base=7, length=4, stride=16, ahead=3, enabled=True),
        StreamDescriptor(base=1, length=12, stride=4, ahead=255, enabled=True),
        StreamDescriptor(base=63, length=1, stride=1, ahead=1, enabled=True),
        StreamDescriptor(base=0, length=64, stride=1, ahead=4, enabled=True),
    ],
    ids=["along a head", "head to head", "every fourth", "one block", "everything"],
)
def test_a_stream_asks_for_all_its_blocks_in_order_and_then_stops(stream):
    bench = Bench(TINY)

    async def life():
        await enable(bench, stream)
        notes = await bench.until_quiet()
        assert len(notes) == min(stream.length, stream.ahead, TINY.prefetch_queue_depth)
        taken = await serve(bench)
        assert taken == [divmod(stream.base + place * stream.stride, 16) for place in range(stream.length)]
        assert bench.ctx.get(bench.dut.positions[0]) == stream.length == bench.golden.positions()[0]

    run(bench, life)


def test_touches_of_other_blocks_do_not_move_a_stream_on():
    bench = Bench(TINY)
    stream = StreamDescriptor(base=16 + 4, length=6, stride=2, ahead=1, enabled=True)
    members = {stream.base + place * stream.stride for place in range(stream.length)}

    async def life():
        await enable(bench, stream)
        assert len(await bench.until_quiet()) == 1
        for index in range(TINY.blocks):
            if index not in members:
                await bench.touch(divmod(index, 16), decode=False)
        assert await bench.until_quiet() == []
        # In any order: the last member counts as the first does.
        for number, index in enumerate(sorted(members, reverse=True), 1):
            await bench.touch(divmod(index, 16), decode=False)
            notes = await bench.until_quiet()
            assert len(notes) == (number < stream.length)
            await bench.take()

    run(bench, life)


def test_streams_take_turns_and_pass_over_what_is_not_cold():
    bench = Bench(TINY, seed=4, table_free=0.5)
    warm = [(0, 1), (0, 2), (1, 3), (2, 0), (2, 1), (2, 2)]

    async def life():
        for where in warm:
            bench.table[where] = Entry(state=State.WARM)
        streams = (
            StreamDescriptor(base=0, length=20, ahead=2, enabled=True),
            StreamDescriptor(base=32, length=20, ahead=3, enabled=True),
        )
        await enable(bench, *streams)
        for where in warm:
            await bench.touch(where, decode=False)
        taken = await serve(bench)
        assert Counter(taken) == Counter(
            divmod(index, 16)
            for index in [*range(20), *range(32, 52)]
            if divmod(index, 16) not in warm
        )  # fmt: skip
        # While both have blocks to ask for, neither gets far ahead.
        assert 6 <= sum(where[0] // 2 for where in taken[:16]) <= 10
        assert [bench.ctx.get(bench.dut.positions[number]) for number in range(2)] == [20, 20]

    run(bench, life)


def test_a_stream_that_nobody_takes_from_waits_and_drops_nothing():
    bench = Bench(ODD)

    async def life():
        await enable(bench, StreamDescriptor(base=0, length=30, ahead=30, enabled=True))
        assert await bench.until_quiet() == [((0, 0), STREAM, None)]
        assert len(await serve(bench, touch=False)) == 30
        assert bench.counted == {(STREAM, None): 30}

    run(bench, life)


@pytest.mark.parametrize("by", ["its CTRL", "PREFETCH"])
@pytest.mark.parametrize("note_ready", [1.0, 0.2])
def test_a_stream_may_be_switched_off_and_on_at_any_clock(by, note_ready):
    bench = Bench(TINY, seed=5, note_ready=note_ready)
    stream = StreamDescriptor(base=8, length=10, ahead=10, enabled=True)

    async def life():
        for clocks in range(40):
            await enable(bench, stream)
            bench.set_registers(policy=ALL_ON)
            await bench.idle(clocks)
            bench.notes.clear()
            if by == "PREFETCH":
                bench.set_registers(policy=replace(ALL_ON, prefetch_streams=False))
            else:
                bench.set_registers(replace(stream, enabled=False))
            assert len(await bench.until_quiet()) <= 1
            if clocks % 3 == 0:
                while await bench.take() is not None:
                    pass
            bench.set_registers(replace(stream, enabled=False))

    run(bench, life)
    assert bench.counted[STREAM, None] and bench.counted[STREAM, DUPLICATE]


def test_a_stream_that_is_enabled_again_at_once_starts_with_its_first_block():
    bench = Bench(TINY, replace(ALL_ON, prefetch_announced=False), seed=8)
    stream = StreamDescriptor(base=8, length=10, ahead=3, enabled=True)

    async def life():
        for clocks in range(1, 30):
            await enable(bench, stream)
            await bench.idle(clocks)
            bench.notes.clear()
            bench.set_registers(replace(stream, enabled=False))
            await bench.clock()
            bench.set_registers(stream)
            blocks = [block for (_, block), _, _ in await bench.until_quiet()]
            # One of before may come ahead of them.
            assert blocks[-3:] == [8, 9, 10] and len(blocks) <= 4
            while await bench.take() is not None:
                pass
            bench.set_registers(replace(stream, enabled=False))

    run(bench, life)


# Queues, lock, room, reset --------------------------------------------------------------------------------------------


def test_a_block_that_waits_is_not_queued_again_whoever_asks():
    bench = Bench(TINY)

    async def life():
        await enable(bench, StreamDescriptor(base=16 + 8, length=1, enabled=True))
        await bench.idle(QUIET_CLOCKS)
        # Two hints in a row, so that the second is compared while the first is still on its way.
        for block in (8, 6, 6, 7, 6):
            bench.table[1, block] = Entry(state=State.COLD)
            await bench.hint((1, block))
        await bench.touch((1, 7))
        assert await bench.until_quiet() == [
            ((1, 8), STREAM, None),
            ((1, 8), ANNOUNCED, DUPLICATE),
            ((1, 6), ANNOUNCED, None),
            ((1, 6), ANNOUNCED, DUPLICATE),
            ((1, 7), ANNOUNCED, None),
            ((1, 6), ANNOUNCED, DUPLICATE),
            ((1, 8), WINDOW, DUPLICATE),
            ((1, 6), WINDOW, DUPLICATE),
        ]

    run(bench, life)


@pytest.mark.parametrize("distance", range(1, 8))
def test_a_block_is_compared_with_those_just_ahead_of_it(distance):
    bench = Bench(preset("tiny", prefetch_queue_depth=8))

    async def life():
        others = [(2, block) for block in range(distance - 1)]
        for where in ((1, 1), *others, (1, 1)):
            bench.table[where] = Entry(state=State.COLD)
            await bench.hint(where)
        assert [reason for _, _, reason in await bench.until_quiet()] == [*distance * [None], DUPLICATE]

    run(bench, life)


def test_announced_blocks_are_noted_one_a_clock_five_clocks_later():
    bench = Bench(preset("tiny", prefetch_queue_depth=16))

    async def life():
        count = []
        for block in range(15):
            await bench.hint((1, block))
            count.append(len(bench.notes))
        assert count == [max(0, clock - 4) for clock in range(15)]
        await bench.idle(5)
        assert [where for where, _, _ in bench.notes] == [(1, block) for block in range(15)]

    run(bench, life)


@pytest.mark.quick
@pytest.mark.parametrize("slow", [0.0, 0.02, 0.3])
def test_no_announced_block_is_lost_while_the_pipeline_obeys_room(slow):
    bench = Bench(TINY, seed=6, note_ready=slow)

    async def life():
        in_flight = PIPELINE_DEPTH * [None]
        issued, stopped = 0, 0
        for clock in range(600):
            if clock == 400:
                bench.note_ready = 1.0
            where = None
            if bench.ctx.get(bench.dut.room):
                where = divmod(issued % TINY.blocks, TINY.blocks_per_head)
                issued += 1
            else:
                stopped += 1
            # What issues in this clock commits `PIPELINE_DEPTH` clocks later.
            in_flight.append(where)
            where = in_flight.pop(0)
            if where is None:
                await bench.clock()
            else:
                bench.table[where] = Entry(state=State.COLD)
                await bench.hint(where)
        for where in in_flight:
            if where is not None:
                bench.table[where] = Entry(state=State.COLD)
                await bench.hint(where)
        assert stopped > 50 and len(await bench.until_quiet()) == issued > 150
        assert not list(bench.golden.owed())

    run(bench, life)


def test_the_lock_is_granted_between_notes_and_first_stands_still_under_it():
    bench = Bench(TINY, seed=7, note_ready=0.5)

    async def life():
        rng = bench.random
        for block in range(0, 16, 2):
            # Candidates are on their way when the lock is asked for.
            for head in range(TINY.heads):
                await bench.hint((head, block))
                await bench.touch((head, block + 1))
            await bench.idle(rng.randrange(8))
            await bench.take(hold=rng.randrange(10), take=rng.random() < 0.8)
            await bench.step()

    run(bench, life)
    assert bench.counted[ANNOUNCED, DUPLICATE] + bench.counted[ANNOUNCED, FULL] and bench.counted[WINDOW, FULL]


@pytest.mark.parametrize("clocks", range(12))
def test_a_candidate_on_its_way_is_noted_before_the_lock_is_granted_or_after_it(clocks):
    bench = Bench(TINY)

    async def life():
        await bench.hint((1, 1))
        await bench.touch((2, 0))
        await bench.idle(clocks)
        await bench.take(hold=12, take=False)
        assert len(await bench.until_quiet()) == 2

    run(bench, life)


async def random_life(bench, clocks):
    """Everything at once: slots of all kinds, steps, stream writes, locks with and without takes."""
    rng, config = bench.random, bench.config
    blocks = list(bench.table)
    near = [where for where in blocks if where[0] < 2]
    kinds = {
        State.ABSENT: (SlotKind.ALLOCATE, SlotKind.HINT, SlotKind.WRITE),
        State.COLD: (SlotKind.HINT, SlotKind.HINT, SlotKind.READ, SlotKind.READ, SlotKind.PROMOTE),
        State.PROMOTING: (SlotKind.FILL, SlotKind.HINT, SlotKind.READ),
        State.WARM: (SlotKind.HINT, SlotKind.READ, SlotKind.READ, SlotKind.DEMOTE),
        State.DEMOTING: (SlotKind.EVICT, SlotKind.EVICT, SlotKind.READ),
    }
    done = 0
    while done < clocks:
        for _ in range(rng.choice((1, 3, 20))):
            done += 1
            if not bench.ctx.get(bench.dut.room) or rng.random() < 0.3:
                await bench.clock()
                continue
            where = rng.choice(near if rng.random() < 0.7 else blocks)
            kind = rng.choice(kinds[bench.table[where].state])
            slot = Slot(kind, head=where[0], block=where[1], value=rng.choice((0, 1, 1)))
            await bench.clock(slot, decode=rng.random() < 0.9)
        if rng.random() < 0.3:
            await bench.step()
        if rng.random() < 0.1:
            await bench.idle(3)
            number = rng.randrange(config.streams)
            old = bench.streams[number]
            new = replace(old, enabled=False)
            if not old.enabled:
                stride = rng.choice((1, 2, config.blocks_per_head))
                length = rng.randint(1, config.heads - 1 if stride > 2 else 24)
                base = rng.randrange(config.blocks - (length - 1) * stride)
                new = StreamDescriptor(base, length, stride, rng.randint(1, 8), enabled=False)
            streams = list(bench.streams)
            streams[number] = new
            bench.set_registers(*streams)
            await bench.clock()
            if not old.enabled:
                streams[number] = replace(new, enabled=True)
                bench.set_registers(*streams)
        for _ in range(rng.choice((0, 0, 1, 4))):
            await bench.take(hold=rng.choice((0, 0, 3)), take=rng.random() < 0.8)


@pytest.mark.parametrize("config", [TINY, ODD], ids=["tiny", "odd"])
@pytest.mark.parametrize(("note_ready", "table_free"), [(1.0, 1.0), (0.3, 0.2)], ids=["free", "stalled"])
def test_random_life_follows_the_golden_unit(config, note_ready, table_free):
    bench = Bench(config, seed=10 + config.heads, note_ready=note_ready, table_free=table_free)

    async def life():
        await random_life(bench, 2500)
        bench.note_ready = bench.table_free = 1.0
        await bench.until_quiet()
        assert not list(bench.golden.owed())
        for head in range(config.heads):
            bench.ctx.set(bench.dut.inspect_head, head)
            await bench.clock()
            assert bench.ctx.get(bench.dut.inspect_window) == bench.golden.window(head)

    run(bench, life)
    seen = set(bench.counted)
    assert seen >= {(source, reason) for source in (ANNOUNCED, WINDOW) for reason in (None, DUPLICATE, FULL)}
    assert (STREAM, None) in seen and (STREAM, FULL) not in seen


def test_a_reset_in_the_middle_leaves_nothing_behind():
    bench = Bench(TINY, seed=9, note_ready=0.5)

    async def life():
        rng, ctx, dut = bench.random, bench.ctx, bench.dut
        for _ in range(4):
            await random_life(bench, 150 + rng.randrange(20))
            ctx.set(dut.lock.request, rng.random() < 0.5)
            await ctx.tick().repeat(3)
            ctx.set(bench.reset, 1)
            await ctx.tick()
            ctx.set(bench.reset, 0)
            ctx.set(dut.lock.request, 0)
            bench.golden, bench.free, bench.now = Prefetcher(TINY), Prefetcher(TINY), 1
            bench.notes.clear()
            bench.table = dict.fromkeys(bench.table, Entry(state=State.COLD))
            bench.set_registers(*TINY.streams * [StreamDescriptor()])
            ctx.set(dut.now, bench.now)
            assert not ctx.get(dut.first).valid and not ctx.get(dut.notes.valid)
            assert await bench.until_quiet() == []
            await bench.touch((3, 15))
            assert await bench.until_quiet() == [((3, 14), WINDOW, None)]

    run(bench, life)


def test_the_depth_of_the_pipeline_is_a_positive_number():
    with pytest.raises(ValueError, match="pipeline_depth must be a positive integer, not 0"):
        PrefetchUnit(config=TINY, pipeline_depth=0)
