"""Misses, with migration and allocator around them, in lock-step with the golden rules."""

from random import Random

import pytest

from kv_endpoint.golden.common import line_access as coherency
from kv_endpoint.golden.common.policy import Policy, Priority
from kv_endpoint.golden.events.port import EngineKind, ErrorKind
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind, State
from tests.support.residency import POISON, Access, World, random_accesses, scarce, with_accesses

READ_CURRENT, READ_SHARED, WRITE_THROUGH = (
    coherency.Access.READ_CURRENT,
    coherency.Access.READ_SHARED,
    coherency.Access.WRITE_THROUGH,
)


def writes_of(blocks, *, line=0, first_value=1):
    return [Access(True, head, block, line, first_value + n) for n, (head, block) in enumerate(blocks)]


def places(count, head=0):
    """The first blocks of a head."""
    return [(head, block) for block in range(count)]


def kinds_of(world):
    return [kind for kind, _ in world.log]


@pytest.mark.parametrize(
    ("seed", "policy", "config", "world"),
    [
        pytest.param(1, {}, {}, {}, marks=pytest.mark.long),
        (2, {"priority": Priority.LRU, "protect": False}, {}, {"stall": 0.6}),
        pytest.param(
            3,
            {"priority": Priority.PRODUCT, "bypass": False},
            {"demotion_slots": 4, "pin_cap": 1},
            {},
            marks=pytest.mark.long,
        ),  # fmt: skip
        (4, {}, {"miss_slots": 2, "prefetch_slots": 0, "bypass_slots": 1, "spare_frames": 1, "write_slots": 2}, {}),
        pytest.param(
            5,
            {},
            {"miss_slots": 8, "miss_slots_for_writes": 4},
            {"flash_latency": (1, 4), "stall": 0},
            marks=pytest.mark.long,
        ),  # fmt: skip
        (6, {}, {"bypass_slots": 2}, {"modes": [0, 1, 0, 1], "hints": {1: range(8)}}),
    ],
)
def test_every_request_is_answered_and_every_decision_is_legal(seed, policy, config, world):
    config = scarce(**config)
    world = World(config, seed=seed, policy=Policy(**policy), **world)
    accesses = world.run(random_accesses(Random(seed), config, 80), steps=4)
    assert all(access.result is not None for access in accesses)


@pytest.mark.parametrize(
    ("seed", "policy", "config", "world", "caches"),
    [
        (21, {}, {}, {}, 0.5),
        (22, {"bypass": False}, {"filter_sets": 2}, {"stall": 0.6}, 1.0),
        (23, {}, {"miss_slots": 2, "prefetch_slots": 0, "bypass_slots": 1}, {"hints": {1: range(8)}}, 0.2),
    ],
)
def test_requests_of_a_caching_host_are_all_answered(seed, policy, config, world, caches):
    config = scarce(**config)
    rng = Random(seed)
    world = World(config, seed=seed, policy=Policy(**policy), cached=True, **world)
    accesses = world.run(with_accesses(rng, random_accesses(rng, config, 150), caches=caches), steps=6)
    assert all(access.result is not None for access in accesses)
    held = {record["outcome"] for record in world.kinds(SlotKind.REPLAY_READ)} - {Outcome.HIT}
    assert held or caches < 1, "no replay was held"


def test_a_caching_read_is_never_served_past_the_pool_nor_delayed_by_those_that_are():
    """Plain reads of little worth go through a bypass slot, one after the other; one read of the block caches."""
    world = World(scarce(), seed=24, hints={1: range(8)}, cached=True, flash_latency=(40, 40))
    world.recalls = False
    filling = [*writes_of(places(12, head=0)), *writes_of(places(8, head=1), first_value=50)]
    for access in filling:
        access.access = WRITE_THROUGH
    stream = [Access(False, 0, 0, n % 90, access=READ_CURRENT) for n in range(200)]
    caching = Access(False, 0, 0, 100, access=READ_SHARED)
    clocks = {}

    def script(world):
        if "filled" not in clocks and all(access.result for access in filling):
            clocks["filled"] = world.clock
            world.request_step()
            world.request_step()
        if "stream" not in clocks and world.golden.now == 2:
            clocks["stream"] = world.clock
            world.urgent.extend(stream)
        if "caching" not in clocks and len(world.kinds(SlotKind.BYPASS_READ)) == 20:
            clocks["caching"] = world.clock
            world.urgent.appendleft(caching)
        if "answered" not in clocks and caching.result is not None:
            clocks["answered"] = world.clock
            assert stream[-1].result is None, "the stream was too short"

    world.run(filling, script=script, outstanding=12)
    past_pool = world.kinds(SlotKind.BYPASS_READ)
    assert {record["access"] for record in past_pool} == {READ_CURRENT}
    [replayed] = [record for record in world.kinds(SlotKind.REPLAY_READ) if record["line"] == 100]
    assert (replayed["access"], replayed["outcome"]) == (READ_SHARED, Outcome.HIT)
    assert clocks["answered"] - clocks["caching"] < 400


def test_while_flash_is_unwritable_what_would_need_a_victim_is_refused_or_read_past_the_pool():
    config, rng = scarce(flash_failure_limit=2), Random(25)
    world = World(config, seed=25, fails=lambda write, page: write and world.clock > 800, cached=True)
    accesses = with_accesses(rng, random_accesses(rng, config, 250, heads=2))
    for access in accesses[:60]:
        access.write, access.access = True, WRITE_THROUGH
    world.run(accesses)
    assert all(access.result is not None for access in accesses)
    refused = [r for r in world.kinds(SlotKind.ANSWER) if r["outcome"] == Outcome.UNWRITABLE]
    assert {(bool(r["rwd"]), r["value"]) for r in refused} == {(True, 0), (False, 0), (False, 1)}
    last = max(record["clock"] for record in world.kinds(EngineKind.ERROR))
    assert [record for record in world.kinds(SlotKind.BYPASS_READ) if record["clock"] > last]


def test_reset_in_the_middle_leaves_nothing_behind():
    config = scarce()
    world = World(config, seed=6)
    world.run(random_accesses(Random(6), config, 80), steps=3, reset_after=700)


def test_first_writes_allocate_and_the_other_lines_read_as_zero():
    world = World(scarce(), seed=7)
    world.run([*writes_of(places(16)), *(Access(False, *place, 5) for place in places(16))])
    assert len(world.kinds(SlotKind.ALLOCATE)) == 16
    assert len({record["frame"] for record in world.kinds(SlotKind.ALLOCATE)}) < 16, "no frame was used twice"


def test_a_write_to_a_cold_block_is_merged_into_its_page():
    world = World(scarce(), seed=8)
    old = writes_of(places(12))
    cold = [Access(True, 0, 0, 1, 100), Access(False, 0, 0, 0), Access(False, 0, 0, 1)]
    world.run([*old, *cold], outstanding=1)
    promoted = [record["block"] for record in world.kinds(SlotKind.PROMOTE)]
    replayed = [record["block"] for record in world.kinds(SlotKind.REPLAY_WRITE)]
    assert promoted == [0] and replayed[-1] == 0
    assert [access.result for access in cold] == ["done", 1, 100]


@pytest.mark.quick
def test_page_reads_overlap():
    world = World(scarce(demotion_slots=4, pin_cap=1), seed=9, flash_latency=(300, 300), policy=Policy(bypass=False))
    reads = [Access(False, 0, block, 0, barrier=block == 0) for block in range(4)]
    world.run([*writes_of(places(14)), *reads])
    open_reads = most = 0
    for kind in kinds_of(world):
        open_reads += (kind == "PAGE_READ") - (kind == "PAGE_READ_DONE")
        most = max(most, open_reads)
    assert most >= 2


def test_requests_of_a_block_are_replayed_in_their_order():
    world = World(scarce(), seed=10, flash_latency=(300, 300), policy=Policy(bypass=False))
    old = writes_of(places(12))
    burst = [Access(False, 0, 0, line, barrier=line == 0) for line in range(20)]
    world.run([*old, *burst])
    missed = [r["line"] for r in world.kinds(SlotKind.READ) if r["outcome"] == Outcome.MISS]
    replayed = [r["line"] for r in world.kinds(SlotKind.REPLAY_READ)]
    assert len(missed) > 10 and replayed == missed


def test_a_read_that_can_get_nothing_delays_no_write():
    """No victim for head 0: its reads wait, with their miss slots, until writes to other heads are all done."""
    config = scarce()
    world = World(config, seed=11, policy=Policy(bypass=False))
    old = writes_of(places(16))
    reads = []
    others = [Access(True, 1 + n % 3, n // 3, 0, 100 + n) for n in range(30)]
    late = [Access(True, 3, 15, 0, 200)]

    def script(world):
        if not reads and all(access.result for access in old):
            cold = [place for place in places(16) if world.golden.entry(*place).state == State.COLD]
            reads.extend(Access(False, *place, 0) for place in cold)
            world.denied.update(cold)
            world.urgent.extend([*reads, *others])
        if world.denied and all(access.result for access in others):
            assert not any(access.result for access in reads), "no read had to wait"
            world.denied.clear()
            # Something has to change before they are tried again.
            world.urgent.extend(late)

    world.run(old, script=script, outstanding=46)
    assert len(reads) >= config.miss_slots
    assert all(access.result for access in (*reads, *others, *late))


def test_blocks_of_little_worth_are_read_through_bypass_slots_which_are_reused():
    """Eight blocks are hinted at in every step, the others read once a step: nothing of them is worth a frame."""
    config = scarce()
    world = World(config, seed=12, hints={1: range(8)}, slow=80)
    old = writes_of(places(16, head=0))
    warm = writes_of(places(8, head=1), first_value=50)
    rng = Random(12)
    reads = [Access(False, 0, rng.randrange(16), rng.randrange(2)) for _ in range(100)]
    rewrite = [Access(True, 0, block, 1, 100 + block) for block in range(3)]
    world.run([*old, *warm, *warm, *reads[:50], *rewrite, *reads[50:]], steps=10)
    decided = world.kinds(EngineKind.BYPASS)
    assert len(decided) > 2 * config.bypass_slots
    frames = {record["frame"] for record in decided}
    assert frames == set(range(config.bypass_base, config.bypass_base + config.bypass_slots))


def test_a_block_in_a_bypass_slot_is_read_again_without_a_decision():
    world = World(scarce(), seed=13, hints={1: range(8)})
    old = writes_of(places(12, head=0))
    warm = writes_of(places(8, head=1), first_value=50)
    again = [Access(False, 0, 0, 0) for _ in range(4)]
    world.run([*old, *warm, *warm, *warm], steps=2, outstanding=1)
    first = len(world.kinds(EngineKind.BYPASS))
    world = World(scarce(), seed=13, hints={1: range(8)})
    world.run([*old, *warm, *warm, *warm, *again], steps=2, outstanding=1)
    assert len(world.kinds(SlotKind.BYPASS_READ)) >= len(again)
    assert len(world.kinds(EngineKind.BYPASS)) == first + 1


def test_a_bypass_slot_forgets_a_block_that_gets_a_frame():
    """Read past the pool, written, evicted and read again, all in one step."""
    world = World(scarce(), seed=18, hints={1: range(8)})
    old = writes_of(places(12, head=0))
    warm = writes_of(places(8, head=1), first_value=50)
    first, rewrite, second = Access(False, 0, 0, 0), Access(True, 0, 0, 0, 99), Access(False, 0, 0, 0)
    back = writes_of(places(8, head=1), line=1)
    world.run([*old, *warm, *warm, *warm, first, rewrite, *back, second], steps=2, outstanding=1)
    assert (first.result, second.result) == (1, 99)
    read = [record["block"] for record in world.kinds(SlotKind.BYPASS_READ)]
    assert read[-2:] == [0, 0], "the block was not read past the pool before and after"


def test_a_touch_has_a_decision_of_its_own_even_if_a_bypass_slot_has_the_block():
    """Requests of one step whose decision falls into the next meet the first requests of that step there."""
    world = World(scarce(), seed=17, hints={1: range(8)}, stall=0)
    old = writes_of(places(12, head=0))
    warm = writes_of(places(8, head=1), first_value=50)
    rng = Random(17)
    reads = [Access(False, 0, rng.randrange(4), rng.randrange(2)) for _ in range(150)]
    world.run([*old, *warm, *warm, *reads], steps=60, outstanding=6)
    reads_past_pool = world.kinds(SlotKind.BYPASS_READ)
    assert len(world.kinds(EngineKind.BYPASS)) < len(reads_past_pool)


def test_the_reserve_serves_writes_alone():
    """Slow page writes keep the spare frames; then reads wait (the golden rules see to that) and writes go on."""
    config = scarce(demotion_slots=4, pin_cap=2)
    world = World(config, seed=14, flash_latency=(400, 500), policy=Policy(bypass=False))
    least = []

    def script(world):
        least.append(world.golden.allocator.pool_of(0).free_frames)

    accesses = random_accesses(Random(14), config, 80, writes=0.6)
    world.run(accesses, script=script)
    assert min(least) < config.reserve_frames


def test_a_failed_page_read_is_poison_until_written():
    config = scarce()
    failures = []

    def fails(write, page):
        if not write and page == 0 and not failures:
            failures.append(page)
            return True
        return False

    world = World(config, seed=15, fails=fails, policy=Policy(bypass=False))
    cold = [Access(False, 0, 0, 0), Access(True, 0, 0, 0, 99), Access(False, 0, 0, 0), Access(False, 0, 0, 1)]
    world.run([*writes_of(places(12)), *cold], outstanding=1)
    assert [access.result for access in cold] == [POISON, "done", 99, POISON]
    assert [r["key"] for r in world.kinds(EngineKind.ERROR)] == [ErrorKind.PAGE_READ]


def test_pages_that_fail_to_be_read_into_bypass_slots_are_poison_too():
    config = scarce()
    world = World(config, seed=16, hints={1: range(8)}, fails=lambda write, page: not write and page % 3 == 0)
    old = writes_of(places(16, head=0))
    warm = writes_of(places(8, head=1), first_value=50)
    reads = [Access(False, 0, n % 16, 0) for n in range(48)]
    world.run([*old, *warm, *warm, *reads], steps=6)
    assert any(access.result == POISON for access in reads)
    assert world.kinds(EngineKind.BYPASS)
