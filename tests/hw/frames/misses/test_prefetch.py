"""Prefetches through the miss engine, in lock-step with the golden rules (`tests/support/residency.py`)."""

from random import Random

import pytest

from kv_endpoint.golden.common.policy import Policy, Priority
from kv_endpoint.golden.events.port import EngineKind, ErrorKind, PrefetchDrop
from kv_endpoint.golden.frames.allocator import Action
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind, State
from kv_endpoint.hw.common.layouts import CommandKind
from tests.support.residency import POISON, Access, World, random_accesses, scarce

#: blocks written to head 0 before anything else: more than the pool holds
BLOCKS = 12
FLAG_PREFETCHED = 16
#: from a prefetch's turn to its MISS_OPEN, what is on its way to the engine included
BEGIN_CLOCKS = 20
#: a build in which many prefetches may be under way
MANY_SLOTS = {"miss_slots": 8, "miss_slots_for_writes": 2, "prefetch_slots": 5}


def announced(**policy):
    return Policy(prefetch_announced=True, **policy)


class Prepared:
    """A world whose pool is full of blocks of head 0, while some are cold; then `steps` with hint lines.

    `then(world)` is called every clock after the first of them was requested. `later` is issued after that.
    """

    def __init__(self, *, seed, policy, steps=1, config=None, then=None, later=(), outstanding=1, **options):
        self._outstanding = outstanding
        self.world = World(scarce() if config is None else config, seed=seed, policy=policy, **options)
        self.writes = [Access(True, 0, block, 0, block + 1) for block in range(BLOCKS)]
        self.later = list(later)
        self._steps, self._then, self._started = steps, then, False

    def run(self, commands=(), stays_back=False):
        self.world.holds_back = stays_back
        self.world.run(self.writes, script=self._script, commands=commands, outstanding=self._outstanding)
        return self.world

    @property
    def cold(self):
        return [block for block in range(BLOCKS) if self.world.golden.entry(0, block).state == State.COLD]

    def _script(self, world):
        if not self._started and all(access.result for access in self.writes) and not world.golden.migration.demotions:
            self._started = True
            for _ in range(self._steps):
                world.request_step()
            world.urgent.extend(self.later)
        elif self._started and self._then is not None:
            self._then(world)


def opened(world):
    return [record for record in world.kinds(EngineKind.MISS_OPEN) if record["aux"] == 2]


def issued(world):
    return [record for record in world.kinds(SlotKind.PROMOTE) if record["value"]]


def drops(world):
    return [PrefetchDrop(record["aux"] >> 8) for record in world.kinds(EngineKind.PREFETCH_DROPPED)]


def used(world, outcome):
    accesses = [*world.kinds(SlotKind.READ), *world.kinds(SlotKind.WRITE)]
    return [r for r in accesses if r["flags_before"] & FLAG_PREFETCHED and r["outcome"] == outcome]


@pytest.mark.parametrize(
    ("seed", "policy", "config", "world", "run"),
    [
        (1, {"prefetch_window": True}, {}, {}, {"outstanding": 3}),
        pytest.param(
            2, {"priority": Priority.LRU, "protect": False}, {}, {"stall": 0.5}, {"outstanding": 6},
            marks=pytest.mark.long,
        ),
        (3, {"priority": Priority.PRODUCT, "bypass": False, "prefetch_window": True},
         {"demotion_slots": 4, "pin_cap": 1}, {"flash_latency": (1, 4), "stall": 0}, {"outstanding": 4}),
        pytest.param(
            4, {"prefetch_depth": 2}, MANY_SLOTS, {"flash_latency": (200, 300)}, {"outstanding": 2},
            marks=pytest.mark.long,
        ),
        (5, {"prefetch_window": True}, {}, {}, {"outstanding": 48, "reset_after": 900}),
        pytest.param(
            7, {"prefetch_window": True}, {"pool_blocks": 5}, {"modes": [1, 0, 1, 0]}, {"outstanding": 4},
            marks=pytest.mark.long,
        ),
    ],
)  # fmt: skip
def test_every_prefetch_is_legal_and_every_request_is_answered(seed, policy, config, world, run):
    config = scarce(**config)
    world = World(config, seed=seed, policy=announced(**policy), **world)
    accesses = world.run(random_accesses(Random(seed), config, 110, writes=0.3, heads=2, blocks=12), steps=15, **run)
    assert all(access.result is not None for access in accesses)
    assert opened(world)


def test_pages_that_fail_quotas_and_pins():
    config = scarce(flash_failure_limit=100)
    rng = Random(6)
    commands = [
        {"kind": CommandKind.QUOTA.value, "head": 0, "block": 0, "minimum": 1, "maximum": 4},
        {"kind": CommandKind.PIN.value, "head": 1, "block": 2, "minimum": 0, "maximum": 0},
        {"kind": CommandKind.QUOTA.value, "head": 1, "block": 0, "minimum": 3, "maximum": 5},
    ]
    world = World(config, seed=6, policy=announced(prefetch_window=True), fails=lambda *_: rng.random() < 0.2)
    world.run(random_accesses(Random(6), config, 150, heads=2, blocks=12), steps=20, outstanding=4, commands=commands)
    assert len(world.answers) == len(commands) and opened(world)


def test_an_announced_block_takes_the_frame_of_a_block_worth_less():
    read = Access(False, 0, 0, 0)

    def then(world):
        if issued(world) and read.result is None and not world.golden.misses.open and not world.urgent:
            world.urgent.append(read)

    world = Prepared(seed=11, policy=announced(), hints={0: [0]}, then=then).run()
    [promoted] = issued(world)
    victim = world.kinds(EngineKind.VICTIM)[-1]
    assert promoted["block"] == 0 and victim["aux"] == 0 and victim["clock"] < promoted["clock"]
    assert len(used(world, Outcome.HIT)) == 1 and read.result == 1


def test_a_block_never_scored_makes_nobody_leave():
    """Touches of warm blocks ask for their cold neighbours."""
    reads = [Access(False, 0, block, 0, barrier=True) for block in range(BLOCKS - 1, 2, -1)]
    prepared = Prepared(seed=12, policy=Policy(prefetch_window=True, bypass=False), hints={1: []}, later=reads)
    world = prepared.run()
    assert PrefetchDrop.NOT_WORTH in drops(world)
    assert not issued(world)


def test_a_block_stays_cold_unless_a_victim_is_worth_less():
    """Every block is announced, so the scores alone decide."""
    drop_count = issue_count = 0
    for seed in range(13, 17):
        policy = announced(protect=False)
        world = Prepared(seed=seed, policy=policy, hints={0: range(BLOCKS)}, steps=3).run()
        drop_count += drops(world).count(PrefetchDrop.NOT_WORTH)
        issue_count += len(issued(world))
    assert drop_count and issue_count


def test_nothing_that_waits_for_its_touch_leaves_for_a_prefetch():
    world = Prepared(seed=17, policy=announced(), hints={0: range(BLOCKS)}).run()
    assert PrefetchDrop.NO_FRAME in drops(world)
    assert not issued(world)


def test_nothing_leaves_for_a_prefetch_when_flash_is_unwritable():
    config = scarce(flash_failure_limit=1)
    world = None
    lost = Access(True, 1, 0, 0, 50)

    def fails(write, page):
        return write and lost in started

    started = []

    def then(world):
        if not started:
            started.append(lost)
            world.urgent.append(lost)
        world.holds_back = not world.golden.migration.unwritable

    world = Prepared(seed=18, policy=announced(), config=config, hints={0: [0, 1]}, then=then, fails=fails).run(
        stays_back=True
    )
    assert drops(world) == [PrefetchDrop.NO_FRAME] * 2
    assert not issued(world)


@pytest.mark.quick
def test_a_prefetch_does_not_wait_for_a_demotion():
    """Two slow demotions for two prefetches; the others find no demotion slot."""
    config = scarce(**MANY_SLOTS, spare_frames=4)
    world = Prepared(seed=19, policy=announced(), config=config, hints={0: range(4)}, flash_latency=(300, 400)).run()
    assert len(issued(world)) == 2
    assert drops(world) == [PrefetchDrop.NO_FRAME] * 2


def test_a_prefetch_leaves_the_reserve_to_writes():
    """As above with more demotion slots than spare frames."""
    config = scarce(demotion_slots=4, pin_cap=1, **MANY_SLOTS)
    world = Prepared(seed=20, policy=announced(), config=config, hints={0: range(4)}, flash_latency=(300, 400)).run()
    assert len(issued(world)) == config.spare_frames
    assert PrefetchDrop.NO_FRAME in drops(world)
    assert len(world.kinds(SlotKind.DEMOTE)) == BLOCKS - config.pool_blocks + config.spare_frames, "one left in vain"


def test_a_prefetch_whose_block_has_been_missed_is_dropped():
    read = Access(False, 0, 0, 0)

    def then(world):
        if (
            world.golden.prefetcher.first()
            and read.result is None
            and not world.urgent
            and not world.golden.misses.open
        ):
            world.urgent.append(read)
        if (0, 0) in world.golden.misses.open:
            world.holds_back = False

    world = Prepared(seed=21, policy=announced(bypass=False), hints={0: [0]}, then=then, flash_latency=(300, 300)).run(
        stays_back=True
    )
    assert drops(world) == [PrefetchDrop.MISSED] and not opened(world)


@pytest.mark.parametrize("write", [False, True])
def test_a_request_that_comes_while_the_page_is_read_joins_the_prefetch(write):
    late = [Access(write, 0, 0, line, 60 + line) for line in range(3)]
    sent = []

    def then(world):
        if not sent and issued(world):
            sent.extend(late)
            world.urgent.extend(late)

    policy = announced()
    world = Prepared(seed=22, policy=policy, hints={0: [0]}, then=then, flash_latency=(300, 300), outstanding=4).run()
    [miss] = [record for record in world.kinds(EngineKind.MISS_OPEN) if record["block"] == 0][1:]
    assert miss["aux"] == 2
    assert len(used(world, Outcome.MISS)) == 1
    assert len(world.kinds(SlotKind.REPLAY_WRITE if write else SlotKind.REPLAY_READ)) >= len(late)


def test_a_request_that_comes_before_the_decision_makes_it_one_of_demand():
    """Requests come at any clock from MISS_OPEN on; a decision never overlooks one that has missed."""
    values = set()
    for delay in (0, 8, 16, 24, 60):
        read = Access(False, 0, 0, 0)
        opened_at = []

        def then(world, read=read, opened_at=opened_at, delay=delay):
            if not opened_at and opened(world):
                opened_at.append(world.clock)
            if opened_at and world.clock == opened_at[0] + delay:
                world.urgent.append(read)

        policy = announced(bypass=False)
        world = Prepared(seed=23, policy=policy, hints={0: [0]}, then=then, stall=0).run()
        [promoted] = [record for record in world.kinds(SlotKind.PROMOTE) if record["block"] == 0]
        values.add(promoted["value"])
        assert read.result == 1
    assert values == {0, 1}


def test_a_block_that_is_leaving_when_its_turn_comes_is_let_be():
    """Block 0 is announced while cold, then written, then made to leave; its prefetch has its turn meanwhile."""
    rewrite = Access(True, 0, 0, 0, 99)
    others = [Access(True, 1, block, 0, 80 + block) for block in range(8)]
    seen = []

    def then(world):
        if world.golden.prefetcher.first() and not seen:
            seen.append("announced")
            world.urgent.append(rewrite)
        if rewrite.result is not None and len(seen) == 1:
            seen.append("written")
            world.urgent.extend(others)
        if world.golden.entry(0, 0).state == State.DEMOTING:
            world.holds_back = False

    policy = announced(priority=Priority.LRU, bypass=False, protect=False)
    world = Prepared(seed=24, policy=policy, hints={0: [0]}, then=then, flash_latency=(200, 200)).run(stays_back=True)
    [looked] = world.kinds(SlotKind.PREFETCH)
    assert looked["outcome"] == Outcome.IGNORED and looked["state_before"] == State.DEMOTING
    closed = [record for record in world.kinds(EngineKind.MISS_CLOSE) if record["clock"] > looked["clock"]]
    assert (0, 0) in [(record["head"], record["block"]) for record in closed]


@pytest.mark.parametrize(("depth", "most"), [(0, 0), (1, 1), (12, 2)])
def test_no_more_prefetches_are_under_way_than_the_register_and_the_slots_say(depth, most):
    """Two miss slots are for prefetches. Clean blocks leave at once, so only page reads take time."""
    at_once = []

    def then(world):
        at_once.append(len(world.golden.misses.open))

    policy = announced(prefetch_depth=depth)
    Prepared(seed=25, policy=policy, hints={0: range(4)}, then=then, flash_latency=(150, 150)).run()
    assert max(at_once) == most


def test_a_prefetched_page_that_fails_is_poison():
    read = Access(False, 0, 0, 0)

    def then(world):
        if issued(world) and read.result is None and not world.golden.misses.open and not world.urgent:
            world.urgent.append(read)

    fails = {"fails": lambda write, page: not write and page == 0}
    world = Prepared(seed=26, policy=announced(), hints={0: [0]}, then=then, **fails).run()
    assert read.result == POISON and len(used(world, Outcome.HIT)) == 1
    assert [record["key"] for record in world.kinds(EngineKind.ERROR)] == [ErrorKind.PAGE_READ]


def test_a_head_at_its_maximum_gives_up_a_block_of_its_own():
    """Two heads share the pool. Head 0 is at its maximum, and announces a cold block."""
    others = [Access(True, 1, block, 0, 70 + block) for block in range(4)]
    quota = {"kind": CommandKind.QUOTA.value, "head": 0, "block": 0, "minimum": 0, "maximum": 4}

    def then(world):
        done = all(access.result for access in others) and world.answers and not world.golden.misses.open
        if done and world.golden.now == 1:
            world.request_step()
            others.append(Access(True, 1, 0, 1, 99))
            world.urgent.append(others[-1])

    policy = announced(priority=Priority.LRU, protect=False)
    world = Prepared(seed=27, policy=policy, hints={0: [0]}, then=then, later=others).run(commands=[quota])
    promoted = issued(world)
    assert promoted
    victims = [r for r in world.kinds(EngineKind.VICTIM) if r["aux"] == 0]
    assert victims and all(record["head"] == 0 for record in victims)


def test_demand_goes_first():
    """No prefetch begins while there is something to do for a request that has missed."""
    config = scarce(miss_slots=8, miss_slots_for_writes=2, prefetch_slots=4)
    policy = announced(prefetch_window=True, bypass=False, protect=False)
    world = World(config, seed=28, policy=policy, flash_latency=(20, 30), stall=0)
    old = [Access(True, head, block, 0, 1 + block) for head in range(2) for block in range(16)]
    rng = Random(28)
    reads = [Access(False, rng.randrange(2), rng.randrange(16), 0) for _ in range(120)]
    #: block -> clock since which the engine could do something for its requests
    since = {}
    seen = []

    def can_be_served(where):
        golden = world.golden
        if where not in golden.misses.open or golden.entry(*where).resident:
            return True
        wants = golden.wants_frame(where, write=False)
        return wants and golden.decide(where, write=False).action == Action.FRAME

    def script(world):
        waiting = {where for where in world.golden.misses.waiting if can_be_served(where)}
        for where in waiting:
            since.setdefault(where, world.clock)
        for where in since.keys() - waiting:
            del since[where]
        if len(opened(world)) > len(seen):
            seen.append(world.clock)
            # What has come up in the last clocks found the engine at the prefetch.
            late = {where: clock for where, clock in since.items() if world.clock - clock > BEGIN_CLOCKS}
            assert not late, (world.clock, late)

    world.run([*old, *reads], steps=20, script=script, outstanding=12)
    assert len(seen) > 5


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3))])
def test_a_frame_that_is_freed_before_the_hold_goes_to_demand(seed):
    """Reads wait for frames of slow demotions; `World` sees a prefetch that takes one of them."""
    config = scarce(miss_slots=8, miss_slots_for_writes=2, prefetch_slots=5, spare_frames=1)
    policy = announced(prefetch_window=True, bypass=False, protect=False)
    world = World(config, seed=seed, policy=policy, flash_latency=(60, 120), stall=0)
    rng = Random(seed)
    old = [Access(True, head, block, 0, 1 + block) for head in range(2) for block in range(12)]
    more = [Access(rng.random() < 0.2, rng.randrange(2), rng.randrange(12), 0, 500 + n) for n in range(120)]
    world.run([*old, *more], steps=30, outstanding=4)
    assert any(record["value"] for record in world.kinds(SlotKind.PROMOTE)), "no prefetch got a frame"
