# amaranth: UnusedElaboratable=no
"""The victim engine answers every request with the victim that brute force finds, whatever was committed before."""

import random
from dataclasses import replace

import pytest
from amaranth.hdl import ResetInserter, Signal

from kv_endpoint.golden.common.config import ConfigError, preset
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.common.policy import Policy, Priority, ScoreSource, alpha_code, lambda_of
from kv_endpoint.golden.pipeline.metadata import FLAGS, Entry, Slot, SlotKind, State, commit
from kv_endpoint.golden.pipeline.score import key
from kv_endpoint.golden.victims.search import Domain, VictimSearch
from kv_endpoint.hw.victims.engine import VictimEngine
from tests.support.native import simulate
from tests.support.simulation import fields_of, set_payload

TINY, SMALL = preset("tiny"), preset("small")
#: number of heads not a power of two, and a queue of two blocks
ODD = preset("tiny", heads=5, blocks_per_head=32, queue_depth=2, step_bits=27)
#: each configuration is a build of its own; `ODD` has what the others have, and sizes that are no powers of two
LONG_TINY = pytest.param(TINY, marks=pytest.mark.long)
REQUEST_CLOCKS_MAX = 20_000


def _packer(layout):
    """A function that packs named integers into the integer of a flat struct."""
    offsets = {name: layout[name].offset for name, _ in layout}

    def pack(**values):
        return sum(int(value) << offsets[name] for name, value in values.items())

    return pack


class Bench:
    """A metadata table in Python, whose every change is shown to the engine as a commit; the golden search follows."""

    def __init__(self, config, policy, seed, modes=None):
        print(f"seed {seed}")
        self.modes = [Mode.EXACT] * config.heads if modes is None else list(modes)
        self.config, self.policy, self.random = config, policy, random.Random(seed)
        self.dut = VictimEngine(config=config)
        self.reset = Signal()
        self.golden = VictimSearch(config)
        self.table = {(h, b): Entry() for h in range(config.heads) for b in range(config.blocks_per_head)}
        self.packed = dict.fromkeys(self.table, 0)
        self.migrating = set()
        #: blocks that hosts may hold lines of, those that they ever did, and what was told to be taken back
        self.covered, self.ever_covered = set(), set()
        self.recalls = []
        self.now = 0
        #: a head without a block is never above its minimum: tests in which such heads change modes clear their bits
        self.may_be_above = self.above_min = (1 << config.heads) - 1
        self.pack_entry = _packer(self.dut.table.entry.shape())
        self.pack_slot = _packer(self.dut.commit.slot.shape())
        self.pack_commit = _packer(self.dut.commit.shape())
        self.next_frame = 0
        #: how often an event covers a block, and takes the coverage from one
        self.covering = self.uncovering = 0.0
        self.request_clocks = []
        self.answers = []

    # One clock --------------------------------------------------------------------------------------------------------

    def start(self, ctx):
        self.ctx = ctx
        self.set_policy(self.policy)
        ctx.set(self.dut.above_min, self.above_min)
        self.set_modes(self.modes)

    def set_modes(self, modes):
        self.modes = list(modes)
        self.ctx.set(self.dut.modes, sum(mode << head for head, mode in enumerate(self.modes)))

    def set_above_min(self, value):
        self.above_min = value & self.may_be_above
        self.ctx.set(self.dut.above_min, self.above_min)

    def set_policy(self, policy):
        self.policy = policy
        values = {name: getattr(policy, name) for name in ("priority", "score", "alpha", "lam", "protect", "bypass")}
        set_payload(self.ctx, self.dut.policy, values)

    def index_of(self, where):
        return where[0] * self.config.blocks_per_head + where[1]

    async def clock(self, slot=None, ended=None, uncovered=None):
        """One clock, in which `slot` commits, and the migration of `ended` and the coverage of `uncovered` are reported
        to be over.
        """
        ctx, dut = self.ctx, self.dut
        enable, index = ctx.get(dut.table.enable), ctx.get(dut.table.index)
        where = divmod(index, self.config.blocks_per_head)
        entry = self.packed.get(where, 0)
        migrating = divmod(ctx.get(dut.migrating_index), self.config.blocks_per_head)
        ctx.set(dut.migrating, migrating in self.migrating)
        if slot is not None:
            self._commit(slot)
            # A read in the clock of the write may see either.
            if self.random.random() < 0.5:
                entry = self.packed.get(where, 0)
        if ended is not None:
            ctx.set(dut.migration_ended.valid, 1)
            ctx.set(dut.migration_ended.head, ended[0])
        if uncovered is not None:
            ctx.set(dut.uncovered.valid, 1)
            ctx.set(dut.uncovered.head, uncovered[0])
        recall = fields_of(ctx.get(dut.recall))
        if recall["valid"]:
            assert ctx.get(dut.answer.valid) and ctx.get(dut.answer.ready)
            self.recalls.append(recall)
        await ctx.tick()
        if slot is not None:
            ctx.set(dut.commit.valid, 0)
        if ended is not None:
            ctx.set(dut.migration_ended.valid, 0)
        if uncovered is not None:
            ctx.set(dut.uncovered.valid, 0)
        if enable:
            ctx.set(dut.table.entry.as_value(), entry)
            ctx.set(dut.covered, where in self.covered)

    def _commit(self, slot):
        where = slot.head, slot.block
        before = self.table[where]
        done = commit(before, slot, self.now, self.policy)
        packed_before = self.packed[where]
        if done.entry is not before:
            self.table[where] = done.entry
            names = ("ema", "step", "frame", "state", *FLAGS)
            self.packed[where] = self.pack_entry(**{name: getattr(done.entry, name) for name in names})
            self.golden.observe(*where, done.entry)
        value = self.pack_commit(
            valid=1,
            slot=self.pack_slot(kind=slot.kind, head=slot.head, block=slot.block, value=slot.value, frame=slot.frame),
            before=packed_before,
            after=self.packed[where],
            outcome=done.outcome,
            touch=done.touch,
            event=done.event,
        )
        self.ctx.set(self.dut.commit.as_value(), value)

    # What happens in them ---------------------------------------------------------------------------------------------

    async def idle(self, clocks):
        for _ in range(clocks):
            await self.clock()

    async def slot(self, kind, where, value=0):
        self.next_frame = (self.next_frame + 1) % self.config.frames
        await self.clock(Slot(kind, head=where[0], block=where[1], value=value, frame=self.next_frame))

    async def make_warm(self, where, score=0):
        """Bring an absent block to a frame, with a hint if `score`, and end its miss."""
        if score:
            await self.slot(SlotKind.HINT, where, score)
        await self.slot(SlotKind.ALLOCATE, where)

    async def end_migration(self, where):
        self.migrating.discard(where)
        await self.clock(ended=where)

    def cover(self, where):
        self.covered.add(where)
        self.ever_covered.add(where)

    async def uncover(self, where):
        self.covered.discard(where)
        await self.clock(uncovered=where)

    async def step(self, steps=1):
        self.now += steps
        self.ctx.set(self.dut.now, self.now)

    async def restart(self):
        """Reset the engine and what the rest of the endpoint resets with it: the table and the step."""
        self.ctx.set(self.reset, 1)
        self.now = 0
        self.ctx.set(self.dut.now, 0)
        await self.clock()
        self.ctx.set(self.reset, 0)
        for where in self.table:
            self.table[where], self.packed[where] = Entry(), 0
            self.golden.observe(*where, Entry())
        self.migrating.clear()
        self.covered.clear()

    async def rebuild(self, policy):
        self.set_policy(policy)
        self.ctx.set(self.dut.rebuild, 1)
        await self.clock()
        self.ctx.set(self.dut.rebuild, 0)

    def heads_of(self, domain, head):
        if domain == Domain.OWN:
            return [head]
        pool = [h for h in range(self.config.heads) if self.modes[h] == self.modes[head]]
        if domain == Domain.ANY:
            return pool
        return [h for h in pool if self.above_min >> h & 1 or h == head]

    async def request(self, head, domain, waivable=True):
        """Ask, and check the answer."""
        ctx, dut, config, policy = self.ctx, self.dut, self.config, self.policy
        own = head, next(b for b in range(config.blocks_per_head) if self.table[head, b].state != State.WARM)
        asked = {"head": head, "block": own[1], "domain": domain, "waivable": waivable}
        set_payload(ctx, dut.request.payload, asked)
        recalls = len(self.recalls)
        ctx.set(dut.request.valid, 1)
        clocks = 1
        while not ctx.get(dut.request.ready):
            await self.clock()
            clocks += 1
        await self.clock()
        ctx.set(dut.request.valid, 0)
        while not ctx.get(dut.answer.valid):
            await self.clock()
            clocks += 1
            assert clocks < REQUEST_CLOCKS_MAX, "no answer"
        answer = fields_of(ctx.get(dut.answer.payload))
        await self.idle(self.random.choice((0, 0, 2)))
        assert ctx.get(dut.answer.valid) and fields_of(ctx.get(dut.answer.payload)) == answer
        ctx.set(dut.answer.ready, 1)
        await self.clock()
        ctx.set(dut.answer.ready, 0)
        self.request_clocks.append(clocks)

        victim = self.golden.find(
            self.heads_of(domain, head), now=self.now, policy=policy, in_migration=self.migrating | self.covered,
            protect=policy.protect and domain != Domain.ANY,
        )  # fmt: skip
        if victim is not None and victim.waived and not waivable:
            victim = None
        self.check_recalls(self.recalls[recalls:], head, domain, victim, waivable)
        entry = self.table[own]
        expected = {"own_key": key(config, policy.priority, entry.ema, entry.step, self.now, policy.lam)}
        expected["own_zero"] = entry.ema == 0
        expected["found"] = victim is not None
        expected["waived"] = victim is not None and victim.waived
        if victim is not None:
            expected |= {name: getattr(victim, name) for name in ("head", "block", "frame", "key")}
        self.answers.append((domain, victim))
        for name in {"key", "own_key"} & expected.keys():
            expected[name] &= (1 << config.key_bits) - 1
        seen = {name: answer[name] for name in expected}
        assert seen == expected, f"request {len(self.request_clocks)}: {Domain(domain).name} of head {head}"
        return answer

    def check_recalls(self, recalls, head, domain, victim, waivable):
        """What is to be taken back is in the domain; where nothing was found it is the best of all that is covered."""
        told = [(recall["head"], recall["block"]) for recall in recalls]
        heads = self.heads_of(domain, head)
        assert waivable or not told
        assert all(where[0] in heads and where in self.ever_covered for where in told)
        assert all(recall["needed"] == (victim is None) for recall in recalls)
        if victim is None and waivable:
            policy, ranks = self.policy, []
            for where in self.covered - self.migrating:
                entry = self.table[where]
                if where[0] in heads and entry.state == State.WARM and not entry.pinned:
                    value = key(self.config, policy.priority, entry.ema, entry.step, self.now, policy.lam)
                    ranks.append((policy.protect and entry.protected(self.now), value, entry.step, where))
            assert told == [rank[-1] for rank in sorted(ranks)[:1]]

    async def random_event(self, blocks):
        """Something that may happen to a block, in one clock."""
        rng = self.random
        where = rng.choice(blocks)
        choices = {
            State.ABSENT: (SlotKind.ALLOCATE, SlotKind.ALLOCATE, SlotKind.HINT, SlotKind.WRITE),
            State.COLD: (SlotKind.PROMOTE, SlotKind.PROMOTE, SlotKind.HINT, SlotKind.READ),
            State.PROMOTING: (SlotKind.FILL, SlotKind.FILL, SlotKind.HINT, SlotKind.READ),
            State.WARM: (
                SlotKind.HINT, SlotKind.HINT, SlotKind.READ, SlotKind.READ, SlotKind.WRITE, SlotKind.DEMOTE,
                SlotKind.PIN, SlotKind.UNPIN, SlotKind.UNPIN,
            ),
            State.DEMOTING: (SlotKind.EVICT, SlotKind.EVICT, SlotKind.RESTORE, SlotKind.READ, SlotKind.HINT),
        }  # fmt: skip
        if self.migrating and rng.random() < 0.25:
            await self.end_migration(rng.choice(sorted(self.migrating)))
            return
        if rng.random() < self.covering and self.table[where].state == State.WARM:
            self.cover(where)
        if self.covered and rng.random() < self.uncovering:
            await self.uncover(rng.choice(sorted(self.covered)))
            return
        kind = rng.choice(choices[self.table[where].state])
        if kind == SlotKind.DEMOTE and where in self.covered:
            await self.uncover(where)
            return
        if kind in (SlotKind.ALLOCATE, SlotKind.PROMOTE, SlotKind.DEMOTE):
            self.migrating.add(where)
        if kind == SlotKind.READ and rng.random() < 0.05:
            # A miss that was overtaken by another one of the same block opens when the block is warm.
            self.migrating.add(where)
        await self.slot(kind, where, rng.choice((0, 1, 2, 40, 0x4000, 0xFFFF, rng.getrandbits(16))))
        if kind == SlotKind.EVICT:
            self.migrating.discard(where)

    async def random_life(self, *, requests, events, blocks, rebuilds=(), rebuild=0.0, pause=0.2, warm_up=40):
        """Requests with random events, steps, masks and policies between them, after `warm_up` clocks."""
        rng = self.random
        await self.idle(warm_up)
        for _ in range(requests):
            for _ in range(rng.randrange(events + 1)):
                await self.random_event(blocks)
                if rng.random() < pause:
                    await self.idle(rng.choice((1, 1, 2, 5, 10, 60)))
            if rng.random() < 0.15:
                await self.step(rng.choice((1, 1, 1, 3, 60, 3000)))
            if rng.random() < 0.2:
                self.set_above_min(rng.getrandbits(self.config.heads))
            if rng.random() < 0.03:
                self.set_policy(replace(self.policy, protect=not self.policy.protect))
            if rng.random() < rebuild:
                await self.rebuild(replace(rng.choice(rebuilds), protect=self.policy.protect))
            domain = rng.choice((Domain.SHARED, Domain.SHARED, Domain.SHARED, Domain.OWN, Domain.ANY))
            heads = {head for (head, _), entry in self.table.items() if entry.state != State.WARM}
            await self.request(rng.choice(sorted(heads)), domain, waivable=rng.random() < 0.8)


def run(bench, testbench):
    """Run `testbench()` on the bench's engine, which `bench.reset` resets."""

    async def started(ctx):
        bench.start(ctx)
        await testbench()

    simulate(ResetInserter(bench.reset)(bench.dut), started)


def policy_of(priority, **overrides):
    return Policy(priority=priority, **overrides)


def warm_blocks(bench, heads=None):
    return [w for w, e in bench.table.items() if e.state == State.WARM and (heads is None or w[0] in heads)]


@pytest.mark.parametrize("priority", list(Priority))
@pytest.mark.parametrize(
    "config", [LONG_TINY, ODD, pytest.param(SMALL, marks=pytest.mark.long)], ids=["tiny", "odd", "small"]
)
def test_random_life_is_answered_as_by_brute_force(config, priority):
    bench = Bench(config, policy_of(priority), seed=100 * config.heads + priority)
    requests = {TINY: 400, ODD: 300, SMALL: 80}[config]
    if priority == Priority.PRODUCT:
        requests //= 5
    blocks = sorted(bench.table)
    if config is SMALL:
        blocks = [where for where in blocks if where[1] < 24]
    run(bench, lambda: bench.random_life(requests=requests, events=30 if config is SMALL else 12, blocks=blocks))
    assert sum(victim is not None for _, victim in bench.answers) > requests * 0.8


@pytest.mark.parametrize("needed", [0, 1], ids=["some-covered", "most-covered"])
@pytest.mark.parametrize("priority", list(Priority))
@pytest.mark.parametrize("config", [LONG_TINY, ODD], ids=["tiny", "odd"])
def test_covered_blocks_stay_until_they_are_uncovered_and_are_recalled(config, priority, needed):
    bench = Bench(config, policy_of(priority), seed=300 * config.heads + priority)
    bench.covering, bench.uncovering = (0.9, 0.02) if needed else (0.4, 0.2)
    requests = 30 if priority == Priority.PRODUCT else 80
    blocks = [where for where in sorted(bench.table) if where[1] < 6]
    run(bench, lambda: bench.random_life(requests=requests, events=12, blocks=blocks))
    assert any(recall["needed"] == needed for recall in bench.recalls)


def test_a_better_victim_that_is_covered_is_recalled_and_leaves_once_it_is_uncovered():
    bench = Bench(TINY, Policy(), seed=17)

    async def victim(head=3, domain=Domain.SHARED):
        answer = await bench.request(head, domain)
        return (answer["head"], answer["block"]) if answer["found"] else None

    async def life():
        await bench.idle(20)
        for where in ((0, 0), (0, 1), (1, 0)):
            await bench.slot(SlotKind.ALLOCATE, where)
        await bench.idle(150)
        bench.cover((0, 0))
        assert await victim() == (0, 1)
        assert [(r["needed"], r["head"], r["block"]) for r in bench.recalls] == [(0, 0, 0)]
        # It has been told, and nothing has changed since.
        assert await victim() == (0, 1) and len(bench.recalls) == 1
        await bench.uncover((0, 0))
        assert await victim() == (0, 0) and len(bench.recalls) == 1
        # What leaves behind the victim is not taken back.
        bench.cover((1, 0))
        await bench.idle(150)
        assert await victim() == (0, 0) and len(bench.recalls) == 1

    run(bench, life)


@pytest.mark.parametrize("protect", [False, True])
def test_where_all_blocks_are_covered_the_first_of_the_domain_is_recalled_each_time(protect):
    bench = Bench(TINY, Policy(protect=protect), seed=18)

    async def life():
        await bench.idle(20)
        for where in ((0, 0), (1, 0), (1, 1)):
            await bench.slot(SlotKind.HINT, where, 10)
            await bench.slot(SlotKind.ALLOCATE, where)
            bench.cover(where)
        for domain, best in ((Domain.OWN, (1, 0)), (Domain.SHARED, (0, 0)), (Domain.ANY, (0, 0))):
            for _ in range(2):
                bench.recalls.clear()
                await bench.idle(100)
                assert not (await bench.request(1, domain))["found"]
                assert [(r["needed"], r["head"], r["block"]) for r in bench.recalls] == [(1, *best)]

    run(bench, life)


@pytest.mark.parametrize("priority", list(Priority))
@pytest.mark.parametrize("config", [LONG_TINY, ODD], ids=["tiny", "odd"])
def test_each_pool_has_its_own_victims(config, priority):
    seed = 200 * config.heads + priority
    rng = random.Random(seed)
    bench = Bench(config, policy_of(priority), seed, [rng.choice(list(Mode)) for _ in range(config.heads)])
    assert len(set(bench.modes)) == 2
    requests = 30 if priority == Priority.PRODUCT else 120
    run(bench, lambda: bench.random_life(requests=requests, events=12, blocks=sorted(bench.table)))
    assert sum(victim is not None for _, victim in bench.answers) > requests * 0.8


@pytest.mark.parametrize("priority", [Priority.DECAYED, Priority.PRODUCT])
def test_a_head_without_blocks_may_change_its_mode(priority):
    """Heads get their first blocks one after the other; the others change modes, also where keys are rebuilt."""
    bench = Bench(ODD, policy_of(priority), seed=16)
    policies = [policy_of(priority, lam=lambda_of(alpha)) for alpha in (0.02, 0.2, 0.5)]

    async def life():
        rng = bench.random
        for _ in range(4):
            heads = rng.sample(range(ODD.heads), ODD.heads)
            for count in range(ODD.heads + 1):
                inhabited, empty = heads[:count], heads[count:]
                blocks = [where for where in sorted(bench.table) if where[0] in inhabited]
                bench.may_be_above = sum(1 << head for head in inhabited)
                for _ in range(4):
                    await bench.idle(rng.choice((0, 1, 4, 60)) if count else 40)
                    bench.set_modes(
                        rng.choice(list(Mode)) if h in empty else mode for h, mode in enumerate(bench.modes)
                    )
                    bench.set_above_min(rng.getrandbits(ODD.heads))
                    for head in empty:
                        await bench.slot(SlotKind.HINT, (head, rng.randrange(4)), rng.getrandbits(16))
                    await bench.random_life(
                        requests=1, events=12 if blocks else 0, blocks=blocks, rebuilds=policies, rebuild=0.3, warm_up=0
                    )
            await bench.restart()

    run(bench, life)
    pools = {(domain, victim is not None) for domain, victim in bench.answers}
    assert pools == {(domain, found) for domain in Domain for found in (False, True)}


@pytest.mark.quick
def test_background_repairs_miss_nothing_that_happens_meanwhile():
    bench = Bench(ODD, Policy(), seed=5)
    # Two heads, so that nearly every event hits a head that is being scanned or swept.
    blocks = [where for where in sorted(bench.table) if where[0] < 2]
    run(bench, lambda: bench.random_life(requests=200, events=20, blocks=blocks, pause=0.7))


def test_while_paused_only_requests_repair_and_are_answered_all_the_same():
    bench = Bench(ODD, Policy(), seed=15)
    blocks = sorted(bench.table)

    async def table_reads(clocks):
        """Clocks in which the engine reads the table, of so many without a commit."""
        reads = 0
        for _ in range(clocks):
            reads += bench.ctx.get(bench.dut.table.enable)
            await bench.clock()
        return reads

    async def life():
        bench.ctx.set(bench.dut.pause, 1)
        await bench.random_life(requests=60, events=20, blocks=blocks)
        for _ in range(2):
            for where in blocks:
                await bench.slot(SlotKind.HINT, where, 0x4000)
            assert await table_reads(200) == 0
        bench.ctx.set(bench.dut.pause, 0)
        assert await table_reads(200) > 0

    run(bench, life)


def test_policies_may_change_at_any_rebuild():
    bench = Bench(ODD, Policy(), seed=6)
    policies = [policy_of(p, alpha=alpha_code(a), lam=lambda_of(a)) for p in Priority for a in (0.02, 0.2, 0.5)]
    policies += [replace(policy, score=ScoreSource.ACCESS) for policy in policies]
    run(
        bench,
        lambda: bench.random_life(requests=160, events=12, blocks=sorted(bench.table), rebuilds=policies, rebuild=0.1),
    )


@pytest.mark.parametrize("priority", [Priority.DECAYED, Priority.PRODUCT])
def test_announcement_is_waived_only_where_nothing_else_may_leave(priority):
    bench = Bench(TINY, policy_of(priority), seed=7)

    async def life():
        rng = bench.random
        await bench.idle(20)
        for where in bench.table:
            if where[1] < 6:
                await bench.slot(SlotKind.ALLOCATE, where)
        for _ in range(80):
            # All blocks of some heads are announced, all but one, or all but some that cannot leave anyway.
            for head in rng.sample(range(TINY.heads), rng.randint(1, TINY.heads)):
                spared = rng.choice(warm_blocks(bench, [head]))
                fate = rng.choice(("announced", "announced", "plain", "touched", "pinned", "migrating"))
                for where in warm_blocks(bench, [head]):
                    if where != spared or fate in ("announced", "touched"):
                        await bench.slot(SlotKind.HINT, where, rng.getrandbits(16))
                if fate == "touched":
                    await bench.slot(SlotKind.READ, spared)
                elif fate == "pinned":
                    await bench.slot(rng.choice((SlotKind.PIN, SlotKind.UNPIN)), spared)
                elif fate == "migrating":
                    bench.migrating.add(spared)
            bench.set_above_min(rng.choice((0, 0b1111, rng.getrandbits(4))))
            await bench.request(rng.randrange(TINY.heads), rng.choice((Domain.OWN, Domain.SHARED, Domain.ANY)))
            while bench.migrating:
                await bench.end_migration(min(bench.migrating))
            if rng.random() < 0.6:
                await bench.step()

    run(bench, life)
    waived = {(domain, victim.waived) for domain, victim in bench.answers if victim}
    assert waived == {(Domain.OWN, False), (Domain.OWN, True), (Domain.SHARED, False), (Domain.SHARED, True),
                      (Domain.ANY, False)}  # fmt: skip


def test_no_victim_where_no_block_may_leave():
    bench = Bench(TINY, Policy(), seed=8)

    async def life():
        await bench.idle(20)
        for domain in Domain:
            assert not (await bench.request(1, domain))["found"]
        await bench.slot(SlotKind.ALLOCATE, (1, 3))
        await bench.slot(SlotKind.PIN, (1, 3))
        await bench.slot(SlotKind.ALLOCATE, (2, 5))
        bench.migrating.add((2, 5))
        for domain in Domain:
            assert not (await bench.request(1, domain))["found"]
        await bench.end_migration((2, 5))
        assert not (await bench.request(1, Domain.OWN))["found"]
        assert (await bench.request(1, Domain.SHARED))["found"]
        await bench.slot(SlotKind.UNPIN, (1, 3))
        assert (await bench.request(1, Domain.OWN))["found"]

    run(bench, life)


def test_block_whose_migration_began_without_a_commit_stays_until_it_ends():
    bench = Bench(TINY, Policy(), seed=14)

    async def victim():
        answer = await bench.request(3, Domain.SHARED)
        return answer["head"], answer["block"]

    async def life():
        await bench.idle(20)
        for where in ((0, 0), (1, 0)):
            await bench.slot(SlotKind.ALLOCATE, where)
        # In the background both become known as what may leave first.
        await bench.idle(150)
        bench.migrating.add((0, 0))
        assert await victim() == (1, 0)
        await bench.end_migration((0, 0))
        assert await victim() == (0, 0)

    run(bench, life)


@pytest.mark.parametrize("priority", list(Priority))
def test_ties_go_to_the_lowest_head_then_the_lowest_block(priority):
    bench = Bench(ODD, policy_of(priority), seed=9)
    order = []

    async def life():
        await bench.idle(20)
        blocks = [where for where in bench.table if where[1] < 7]
        bench.random.shuffle(blocks)
        for where in blocks:
            await bench.slot(SlotKind.ALLOCATE, where)
        for _ in blocks:
            answer = await bench.request(bench.random.randrange(ODD.heads), Domain.SHARED)
            order.append((answer["head"], answer["block"]))
            await bench.slot(SlotKind.DEMOTE, order[-1])
        assert order == sorted(blocks)

    run(bench, life)


@pytest.mark.parametrize("clocks", [0, 100], ids=["at-once", "after-background-repair"])
def test_hint_that_leaves_the_key_as_it_is_protects_until_the_touch_or_the_next_step(clocks):
    bench = Bench(TINY, Policy(), seed=13)

    async def victim():
        answer = await bench.request(3, Domain.SHARED)
        assert answer["found"] and not answer["waived"]
        return answer["head"], answer["block"]

    async def life():
        await bench.idle(20)
        for where in ((0, 0), (0, 1), (1, 0)):
            await bench.slot(SlotKind.ALLOCATE, where)
        await bench.idle(clocks)
        assert await victim() == (0, 0)
        await bench.slot(SlotKind.HINT, (0, 0), 0)
        await bench.idle(clocks)
        assert await victim() == (0, 1)
        await bench.slot(SlotKind.HINT, (0, 1), 0)
        await bench.idle(clocks)
        assert await victim() == (1, 0)
        await bench.slot(SlotKind.READ, (0, 1))
        await bench.idle(clocks)
        assert await victim() == (0, 1)
        for protect, expected in ((False, (0, 0)), (True, (0, 1))):
            bench.set_policy(replace(bench.policy, protect=protect))
            await bench.idle(clocks)
            assert await victim() == expected
        await bench.step()
        await bench.idle(clocks)
        assert await victim() == (0, 0)

    run(bench, life)


def test_keys_that_rounding_lowers_are_found():
    bench = Bench(ODD, Policy(), seed=10)
    lowered = 0

    def key_now(where):
        entry = bench.table[where]
        return key(ODD, bench.policy.priority, entry.ema, entry.step, bench.now, bench.policy.lam)

    async def life():
        nonlocal lowered
        rng = bench.random
        await bench.idle(20)
        blocks = [where for where in bench.table if where[0] < 2 and where[1] < 16]
        for where in blocks:
            await bench.make_warm(where, rng.randrange(1, 60))
        for _ in range(100):
            await bench.step()
            # A hint that scores nothing only brings the entry to now: all that changes the key is rounding.
            for where in rng.sample(blocks, 8):
                before = key_now(where)
                await bench.slot(SlotKind.HINT, where, rng.choice((0, 0, 20, 30)))
                lowered += key_now(where) < before
            if rng.random() < 0.5:
                await bench.step()
            await bench.request(rng.randrange(3), rng.choice((Domain.SHARED, Domain.OWN)))

    run(bench, life)
    assert lowered > 60


@pytest.mark.parametrize("protect", [False, True])
def test_reset_leaves_nothing_behind(protect):
    bench = Bench(TINY, Policy(protect=protect), seed=11)

    async def life():
        for _ in range(4):
            await bench.random_life(requests=20, events=12, blocks=sorted(bench.table))
            await bench.restart()

    run(bench, life)


@pytest.mark.long
def test_realistic_stream_takes_few_clocks_a_request():
    """20 heads share 160 frames; a head's blocks are announced, then read; some of them miss."""
    bench = Bench(SMALL, Policy(), seed=12)

    async def life():
        rng = bench.random
        await bench.idle(40)
        heads = range(20)
        for head in heads:
            for block in range(8):
                await bench.make_warm((head, block), rng.randrange(0x1000))
        await bench.idle(100)
        head = 0
        for _ in range(60):
            for _ in range(5):
                head = (head + 1) % len(heads)
                if head == 0:
                    await bench.step()
                blocks = rng.sample(warm_blocks(bench, [head]), min(8, len(warm_blocks(bench, [head]))))
                for where in blocks:
                    await bench.slot(SlotKind.HINT, where, rng.choice((100, 0x1000, 0x3000, 0xFFFF)))
                await bench.idle(20)
                for where in blocks:
                    await bench.slot(SlotKind.READ, where)
                    await bench.idle(3)
            block = rng.choice([b for b in range(64) if bench.table[head, b].state in (State.ABSENT, State.COLD)])
            answer = await bench.request(head, Domain.SHARED)
            victim = answer["head"], answer["block"]
            bench.migrating.add(victim)
            await bench.slot(SlotKind.DEMOTE, victim)
            cold = bench.table[head, block].state == State.COLD
            bench.migrating.add((head, block))
            await bench.slot(SlotKind.PROMOTE if cold else SlotKind.ALLOCATE, (head, block))
            await bench.idle(30)
            await bench.slot(SlotKind.EVICT, victim)
            await bench.end_migration(victim)
            if cold:
                await bench.slot(SlotKind.FILL, (head, block))
            await bench.slot(SlotKind.READ, (head, block))
            await bench.end_migration((head, block))

    run(bench, life)
    mean = sum(bench.request_clocks) / len(bench.request_clocks)
    print(f"mean {mean:.1f}, most {max(bench.request_clocks)} clocks a request")
    assert mean < 60


def test_more_than_one_lane_is_refused():
    with pytest.raises(ConfigError, match="sweep_width = 4: must be 1"):
        VictimEngine(config=preset("tiny", sweep_width=4))
