"""Frames, quotas, pins and pool sizes of both pools against `golden.frames.allocator`."""

from random import Random

import pytest
from amaranth.hdl import ResetInserter, Signal

from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.events.port import EngineKind, RefusalKind
from kv_endpoint.golden.frames.allocator import Allocator as Golden
from kv_endpoint.golden.pipeline.metadata import Entry, Outcome, SlotKind, State
from kv_endpoint.hw.common.layouts import CommandKind
from kv_endpoint.hw.frames.allocator import Allocator
from tests.support.residency import World, random_accesses, scarce
from tests.support.simulation import fields_of, simulate

CONFIG = scarce()


def command(kind, head=0, block=0, minimum=0, maximum=0, mode=Mode.EXACT):
    return {
        "kind": kind.value, "mode": mode, "head": head, "block": block, "minimum": minimum, "maximum": maximum,
    }  # fmt: skip


class Bench:
    """An `Allocator` alone, told of commits, with the golden one beside it."""

    def __init__(self, config=CONFIG, modes=None):
        self.config = config
        self.dut = Allocator(config=config)
        self.reset = Signal()
        self.modes = [Mode.EXACT] * config.heads if modes is None else modes
        self.cached = [False] * config.heads
        self.golden = Golden(config, modes=self.modes, cached=self.cached)
        self.entries = {}

    def set_modes(self, ctx, modes):
        self.modes[:] = modes
        ctx.set(self.dut.modes, sum(mode << head for head, mode in enumerate(modes)))

    def set_cached(self, ctx, cached):
        self.cached[:] = cached
        ctx.set(self.dut.cached, sum(of << head for head, of in enumerate(cached)))

    async def restart(self, ctx):
        ctx.set(self.reset, 1)
        await ctx.tick()
        ctx.set(self.reset, 0)
        self.golden = Golden(self.config, modes=self.modes, cached=self.cached)
        self.entries.clear()

    async def commit(self, ctx, kind, head, block, **changes):
        """A slot that changes an entry, and one clock."""
        before = self.entries.get((head, block), Entry())
        after = Entry(**vars(before) | changes)
        self.entries[head, block] = after
        self.golden.observe(head, kind, before, after)

        def entry(values):
            return {name: int(value) for name, value in vars(values).items()}

        payload = {
            "valid": 1,
            "slot": {"kind": int(kind), "head": head, "block": block},
            "before": entry(before),
            "after": entry(after),
            "outcome": int(Outcome.DONE),
        }
        ctx.set(self.dut.commit, payload)
        await ctx.tick()
        ctx.set(self.dut.commit, {})

    async def query(self, ctx, head):
        ctx.set(self.dut.query.payload, head)
        ctx.set(self.dut.query.valid, 1)
        ctx.set(self.dut.availability.ready, 1)
        await ctx.tick().until(self.dut.query.ready)
        ctx.set(self.dut.query.valid, 0)
        while not ctx.get(self.dut.availability.valid):
            await ctx.tick()
        answer = fields_of(ctx.get(self.dut.availability.payload))
        await ctx.tick()
        return answer

    def expected(self, head):
        golden = self.golden
        return {
            "at_maximum": golden.held[head] >= golden.maximum[head],
            "pool_full": golden.pool_of(head).full,
            "for_read": golden.pool_of(head).free_frames > self.config.reserve_frames,
            "for_write": golden.pool_of(head).free_frames > 0,
        }

    async def check(self, ctx):
        """Everything that is counted, after the last commit."""
        dut, golden = self.dut, self.golden
        await ctx.tick().repeat(20)
        for mode, pool in golden.pools.items():
            assert ctx.get(dut.held[mode]) == pool.held
            assert ctx.get(dut.free[mode]) == pool.free_frames
            assert ctx.get(dut.pool_frames[mode]) == pool.size
        assert ctx.get(dut.pins) == sum(golden.pins)
        heads = range(self.config.heads)
        above = sum((golden.held[head] > golden.minimum[head]) << head for head in heads)
        assert ctx.get(dut.above_min) == above
        assert ctx.get(dut.has_minimum) == sum((golden.minimum[head] > 0) << head for head in heads)
        for head in heads:
            ctx.set(dut.inspect_head, head)
            await ctx.tick().repeat(2)
            assert ctx.get(dut.inspect_held) == golden.held[head]
            assert ctx.get(dut.inspect_minimum) == golden.minimum[head]
            assert ctx.get(dut.inspect_maximum) == golden.maximum[head]

    async def command(self, ctx, values, granted_after=3):
        """Carry out a command; the notes it made, and its answer."""
        dut = self.dut
        ctx.set(dut.commands.payload, values)
        ctx.set(dut.commands.valid, 1)
        ctx.set(dut.notes.ready, 1)
        ctx.set(dut.engine_slots.ready, 1)
        await ctx.tick().until(dut.commands.ready)
        ctx.set(dut.commands.valid, 0)
        ctx.set(dut.commands.payload, {})
        notes, held = [], 0
        while not ctx.get(dut.command_answers.valid):
            held = held + 1 if ctx.get(dut.hold.request) else 0
            ctx.set(dut.hold.granted, held > granted_after)
            slot = None
            if ctx.get(dut.engine_slots.valid):
                slot = fields_of(ctx.get(dut.engine_slots.payload))
            if ctx.get(dut.notes.valid):
                notes.append(fields_of(ctx.get(dut.notes.payload)))
                if notes[-1]["kind"] in (EngineKind.QUOTA, EngineKind.POOL):
                    assert held > granted_after, "changed outside a hold"
            await ctx.tick()
            if slot is not None:
                kind = SlotKind(slot["kind"])
                await self.commit(ctx, kind, slot["head"], slot["block"], pinned=kind == SlotKind.PIN)
        assert not ctx.get(dut.hold.request), "the hold is kept"
        answer = ctx.get(dut.command_answers.payload)
        refusal = RefusalKind(int(answer.reason)) if answer.refused else None
        ctx.set(dut.command_answers.ready, 1)
        await ctx.tick()
        ctx.set(dut.command_answers.ready, 0)
        return notes, refusal

    def run(self, body):
        async def started(ctx):
            self.set_modes(ctx, list(self.modes))
            await body(ctx)

        simulate(ResetInserter(self.reset)(self.dut), started)


#: of `CONFIG`'s heads: all in one pool, or two in each
POOLS = {"one pool": [Mode.EXACT] * 4, "two pools": [Mode.MXINT8, Mode.EXACT, Mode.EXACT, Mode.MXINT8]}
MOVES = {
    State.ABSENT: [(SlotKind.ALLOCATE, State.WARM)],
    State.COLD: [(SlotKind.PROMOTE, State.PROMOTING)],
    State.PROMOTING: [(SlotKind.FILL, State.WARM)],
    State.WARM: [(SlotKind.DEMOTE, State.DEMOTING)],
    State.DEMOTING: [(SlotKind.EVICT, State.COLD), (SlotKind.RESTORE, State.WARM), (SlotKind.READ, State.WARM)],
}


async def random_moves(ctx, bench, rng, count):
    """Blocks get and lose frames at random; every answer is as of the commit before it."""
    config, golden = bench.config, bench.golden
    for _ in range(count):
        head, block = rng.randrange(config.heads), rng.randrange(6)
        before = bench.entries.get((head, block), Entry())
        kind, state = rng.choice(MOVES[before.state])
        changes = {"state": state}
        if kind in (SlotKind.PROMOTE, SlotKind.ALLOCATE):
            frame = golden.pool_of(head).next_frame
            answer = await bench.query(ctx, head)
            if frame is None:
                assert not answer["for_write"]
                continue
            assert answer.pop("frame") == frame
            assert answer == bench.expected(head)
            changes["frame"] = frame
        await bench.commit(ctx, kind, head, block, **changes)
        # Accesses come back to back, engine slots do not; a query may follow an EVICT at once.
        if kind not in (SlotKind.READ, SlotKind.EVICT):
            await ctx.tick().repeat(2)


@pytest.mark.parametrize("modes", POOLS.values(), ids=POOLS.keys())
@pytest.mark.parametrize("seed", range(2))
def test_counts_and_free_frames_follow_the_commits(seed, modes):
    print(f"seed {seed}")
    rng = Random(seed)
    bench = Bench(modes=list(modes))

    async def body(ctx):
        await random_moves(ctx, bench, rng, 400)
        await bench.check(ctx)
        for mode in set(modes):
            assert bench.golden.pools[mode].free_frames < bench.config.bypass_base

    bench.run(body)


def test_each_pool_counts_its_own_frames_from_the_lowest():
    bench = Bench(modes=[Mode.EXACT, Mode.MXINT8, Mode.EXACT, Mode.MXINT8])

    async def body(ctx):
        for taken in range(4):
            for head in (0, 1):
                answer = await bench.query(ctx, head)
                assert answer["frame"] == taken
                await bench.commit(ctx, SlotKind.ALLOCATE, head, taken, state=State.WARM, frame=taken)
        # The lower frame comes back to the one pool, the higher to the other.
        for head, frame in ((0, 1), (1, 2)):
            await bench.commit(ctx, SlotKind.DEMOTE, head, frame, state=State.DEMOTING)
            await bench.commit(ctx, SlotKind.EVICT, head, frame, state=State.COLD)
        assert (await bench.query(ctx, 2))["frame"] == 1
        assert (await bench.query(ctx, 3))["frame"] == 2

    bench.run(body)


def test_a_full_pool_leaves_the_other_as_it_is():
    bench = Bench(modes=[Mode.EXACT, Mode.MXINT8, Mode.EXACT, Mode.MXINT8])
    frames = bench.config.pool_frames_min

    async def body(ctx):
        values = command(CommandKind.POOL, maximum=frames, mode=Mode.MXINT8)
        notes, refusal = await bench.command(ctx, values)
        assert refusal is None and (notes[0]["key"], notes[0]["aux"]) == (Mode.MXINT8, frames)
        bench.golden.pools[Mode.MXINT8].size = frames
        for taken in range(frames):
            await bench.commit(ctx, SlotKind.ALLOCATE, 1, taken, state=State.WARM, frame=taken)
        assert (await bench.query(ctx, 3))["pool_full"]
        assert not (await bench.query(ctx, 2))["pool_full"]
        await bench.check(ctx)

    bench.run(body)


def test_a_head_takes_its_next_frames_from_the_pool_of_its_new_mode():
    """Modes change while a head has no block; reset brings every count back."""
    bench = Bench()
    rng = Random(4)

    async def body(ctx):
        for modes in (*POOLS.values(), [Mode.MXINT8] * 4):
            bench.set_modes(ctx, modes)
            await ctx.tick().repeat(2)
            await random_moves(ctx, bench, rng, 60)
            await bench.command(ctx, command(CommandKind.QUOTA, 1, minimum=1, maximum=8))
            bench.golden.set_quotas(1, 1, 8)
            await bench.check(ctx)
            await bench.restart(ctx)
            await bench.check(ctx)
        # Without a reset: head 3 has held nothing yet.
        bench.set_modes(ctx, POOLS["one pool"])
        for block in range(3):
            await bench.commit(ctx, SlotKind.ALLOCATE, 0, block, state=State.WARM, frame=block)
        await bench.check(ctx)
        bench.set_modes(ctx, [Mode.EXACT] * 3 + [Mode.MXINT8])
        assert (await bench.query(ctx, 3))["frame"] == 0
        await bench.commit(ctx, SlotKind.ALLOCATE, 3, 0, state=State.WARM, frame=0)
        await bench.check(ctx)

    bench.run(body)


@pytest.mark.quick
def test_the_last_frames_are_for_writes_then_there_are_none():
    bench = Bench()
    config = bench.config

    async def body(ctx):
        for taken in range(config.bypass_base):
            answer = await bench.query(ctx, 0)
            assert answer["frame"] == taken
            assert answer["for_write"]
            assert answer["for_read"] == (config.bypass_base - taken > config.reserve_frames)
            await bench.commit(ctx, SlotKind.ALLOCATE, *divmod(taken, 16), state=State.WARM, frame=taken)
        answer = await bench.query(ctx, 0)
        assert not answer["for_write"] and not answer["for_read"]

    bench.run(body)


@pytest.mark.parametrize("modes", POOLS.values(), ids=POOLS.keys())
@pytest.mark.parametrize("seed", range(2))
def test_commands_are_accepted_or_refused_as_the_golden_ones(seed, modes):
    print(f"seed {seed}")
    rng = Random(seed)
    bench = Bench(modes=list(modes))
    config, golden = bench.config, bench.golden
    wide = (0, 1, 2, 3, 4, 5, 7, 8, 9, 1 << 20, (1 << 32) - 1)
    seen = set()

    async def body(ctx):
        for _ in range(300):
            if rng.random() < 0.1:
                bench.set_cached(ctx, [rng.random() < 0.2 for _ in range(config.heads)])
            kind = rng.choice(list(CommandKind))
            head = rng.choice((*range(config.heads), config.heads, 0xFFFF))
            block = rng.choice((*range(4), config.blocks_per_head, 0xFFFF))
            mode = rng.choice(list(Mode)) if kind == CommandKind.POOL else Mode.EXACT
            values = command(kind, head, block, rng.choice(wide), rng.choice(wide), mode)
            pinned = bench.entries.get((head, block), Entry()).pinned
            if kind == CommandKind.PIN:
                expected = golden.pin_refusal(head, block)
            elif kind == CommandKind.UNPIN:
                out_of_range = head >= config.heads or block >= config.blocks_per_head
                expected = RefusalKind.PIN_RANGE if out_of_range else None
            elif kind == CommandKind.QUOTA:
                expected = golden.quota_refusal(head, values["minimum"], values["maximum"])
            else:
                expected = golden.pool_refusal(values["maximum"], mode)
            pins = sum(golden.pins)
            notes, refusal = await bench.command(ctx, values)
            assert refusal == expected, (values, refusal, expected)
            seen.add((kind, refusal))
            kinds = [note["kind"] for note in notes]
            if refusal is not None:
                assert kinds == [EngineKind.REFUSAL, EngineKind.ERROR]
                assert notes[0]["key"] == refusal
                assert notes[0]["head"] < config.heads
                if refusal in (RefusalKind.POOL_SIZE, RefusalKind.POOL_CACHED):
                    assert (notes[0]["block"], notes[0]["aux"]) == (mode, values["maximum"])
            elif kind == CommandKind.QUOTA:
                assert kinds == [EngineKind.QUOTA]
                assert (notes[0]["aux"], notes[0]["key"]) == (values["minimum"], values["maximum"])
                golden.set_quotas(head, values["minimum"], values["maximum"])
            elif kind == CommandKind.POOL:
                assert kinds == [EngineKind.POOL]
                assert (notes[0]["key"], notes[0]["aux"]) == (mode, values["maximum"])
                golden.pools[mode].size = values["maximum"]
            else:
                assert kinds == []
                assert sum(golden.pins) - pins == (kind == CommandKind.PIN) - pinned
        await bench.check(ctx)

    bench.run(body)
    assert {kind for kind, refusal in seen if refusal is None} == set(CommandKind)
    rare = {RefusalKind.PIN_QUOTA, RefusalKind.QUOTA_SUM}
    by_csr = {
        RefusalKind.STREAM_RANGE, RefusalKind.STREAM_OVERLAP, RefusalKind.MODE_BUSY, RefusalKind.COVERED,
        RefusalKind.SHARED_MODE,
    }  # fmt: skip
    assert {refusal for _, refusal in seen} >= set(RefusalKind) - rare - by_csr


def test_pins_leave_a_head_two_frames_of_its_quota():
    bench = Bench(scarce(pin_cap=3))

    async def body(ctx):
        async def refused(*args, **values):
            return (await bench.command(ctx, command(*args, **values)))[1]

        assert await refused(CommandKind.QUOTA, 1, minimum=2, maximum=3) is None
        assert await refused(CommandKind.PIN, 1, 0) is None
        assert await refused(CommandKind.PIN, 1, 1) == RefusalKind.PIN_QUOTA
        assert await refused(CommandKind.QUOTA, 1, minimum=0, maximum=2) == RefusalKind.QUOTA_RANGE
        assert await refused(CommandKind.UNPIN, 1, 0) is None
        assert await refused(CommandKind.QUOTA, 1, minimum=0, maximum=2) is None
        assert await refused(CommandKind.PIN, 1, 1) == RefusalKind.PIN_QUOTA

    bench.run(body)


def test_minimums_never_exceed_the_pool():
    bench = Bench()

    async def body(ctx):
        async def refused(*args, **values):
            return (await bench.command(ctx, command(*args, **values)))[1]

        for head in range(bench.config.heads):
            assert await refused(CommandKind.QUOTA, head, minimum=2, maximum=8) is None
        assert await refused(CommandKind.QUOTA, 3, minimum=3, maximum=8) == RefusalKind.QUOTA_SUM
        assert await refused(CommandKind.POOL, maximum=7) == RefusalKind.POOL_SIZE
        assert await refused(CommandKind.QUOTA, 0, minimum=1, maximum=8) is None
        assert await refused(CommandKind.POOL, maximum=7) is None
        assert await refused(CommandKind.QUOTA, 0, minimum=2, maximum=8) == RefusalKind.QUOTA_SUM

    bench.run(body)


@pytest.mark.parametrize("seed", range(2))
def test_commands_among_traffic(seed):
    """Quotas, pool sizes and pins change while blocks come and go: every decision obeys those of its time."""
    config = scarce()
    rng = Random(seed)
    commands = []
    for _ in range(40):
        kind = rng.choice(list(CommandKind))
        minimum, maximum = rng.randrange(3), rng.randrange(1, 9)
        commands.append(command(kind, rng.randrange(config.heads), rng.randrange(4), minimum, maximum))
    world = World(config, seed=seed, policy=Policy())
    world.run(random_accesses(rng, config, 100), commands=commands, steps=4)
    assert len(world.answers) == len(commands)
    accepted = {CommandKind(values["kind"]) for values, reason in world.answers if reason is None}
    assert accepted == set(CommandKind)
