"""Every decision of the golden endpoint is the one that hw/README.md describes."""

import pytest

from kv_endpoint.golden.common.policy import Policy, Priority, ScoreSource
from kv_endpoint.golden.events.port import EngineKind, Lane, RefusalKind
from kv_endpoint.golden.frames.allocator import Action, Allocator
from kv_endpoint.golden.front.hints import SCORE_ONE
from kv_endpoint.golden.pipeline.metadata import Entry, Outcome, SlotKind, State
from kv_endpoint.golden.pipeline.score import key
from kv_endpoint.golden.victims.search import Domain, Victim
from tests.support.concurrent_golden import ConcurrentDevice
from tests.support.golden_devices import LRU, TINY, Device

# Who leaves -----------------------------------------------------------------------------------------------------------


def test_lru_takes_the_oldest_event_then_the_lowest_head_then_the_lowest_block():
    device = Device(policy=LRU, pool_frames=4)
    device.hint(0, [], 1)
    device.write_all((1, 3), (1, 2))
    device.hint(0, [], 2)
    device.write_all((0, 7), (0, 5))
    for step, block in ((3, 8), (4, 9), (5, 10), (6, 11)):
        device.hint(0, [], step)
        device.write_all((2, block))
    assert device.victims() == [(1, 2), (1, 3), (0, 5), (0, 7)]


def test_of_equal_keys_the_older_leaves_before_the_lower_head():
    device = Device(policy=Policy(priority=Priority.DECAYED, protect=False, bypass=False), pool_frames=2)
    device.hint(0, [], 1)
    device.write_all((1, 0))
    device.hint(0, [], 2)
    device.write_all((0, 0))
    assert device.follower.key_of(device.follower.entry(0, 0)) == device.follower.key_of(device.follower.entry(1, 0))
    device.write_all((2, 0))
    assert device.victims() == [(1, 0)]


def test_an_announced_block_is_spared_until_it_is_touched():
    policy = Policy(priority=Priority.LRU, bypass=False)
    device = Device.full(policy)
    device.hint(0, [(0, 1)], 2)
    device.hint(0, [(1, 1), (2, 1)], 2)
    assert device.read(0, 0) == Outcome.HIT
    device.read(0, 9)
    # All three have an event in step 2; 0 is touched, 1 and 2 are still waited for.
    assert device.victims()[-1] == (0, 0)
    assert device.follower.waived == 0


def test_the_announcement_expires_with_its_step():
    device = Device.full(Policy(priority=Priority.LRU, bypass=False))
    device.hint(0, [(0, 1)], 2)
    device.hint(0, [(1, 1), (2, 1)], 3)
    device.read(0, 9)
    assert device.victims()[-1] == (0, 0)
    assert device.follower.waived == 0


def test_without_protection_an_announcement_spares_nothing():
    device = Device.full(Policy(priority=Priority.LRU, bypass=False, protect=False))
    device.hint(0, [(0, 1), (1, 1), (2, 1)], 2)
    device.read(0, 9)
    assert device.victims()[-1] == (0, 0)
    assert device.follower.waived == 0


def test_if_all_are_announced_the_announcement_is_waived():
    device = Device.full(Policy(bypass=False))
    device.hint(0, [(0, 300), (1, 200), (2, 100)], 2)
    device.read(0, 9)
    assert device.victims()[-1] == (0, 2)
    assert device.follower.waived == 1
    assert [r["aux"] for _, r in device.records if r["kind"] == EngineKind.VICTIM and "aux" in r][-1] == 0b10


def test_a_pin_is_never_waived():
    device = Device.full(Policy(bypass=False))
    device.pin(0, 2)
    device.hint(0, [(0, 300), (1, 200), (2, 100)], 2)
    device.read(0, 9)
    assert device.victims()[-1] == (0, 1)
    assert device.state(0, 2) == State.WARM


def test_a_head_at_its_maximum_evicts_its_own():
    device = Device(policy=LRU, pool_frames=6)
    assert device.quota(1, 0, 2) is None
    device.hint(0, [], 1)
    device.write_all((0, 0))
    device.hint(0, [], 2)
    device.write_all((1, 0), (1, 1), (1, 2))
    assert device.victims() == [(1, 0)]


def test_a_head_at_its_minimum_is_not_robbed_but_may_rob_itself():
    device = Device(policy=LRU, pool_frames=4)
    assert device.quota(0, 2, 8) is None
    device.hint(0, [], 1)
    device.write_all((0, 0), (0, 1))
    device.hint(0, [], 2)
    device.write_all((1, 0), (1, 1), (2, 0))
    assert device.victims() == [(1, 0)]
    device.write_all((0, 2))
    assert device.victims()[-1] == (0, 0)


def test_a_shrunken_pool_is_emptied_by_the_next_miss():
    device = Device(policy=LRU, pool_frames=8)
    device.hint(0, [], 1)
    device.write_all(*((0, block) for block in range(8)))
    assert device.pool(5) is None
    device.write_all((1, 0))
    assert device.victims() == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert device.follower.allocator.total_held == 5


@pytest.mark.parametrize("priority", list(Priority))
@pytest.mark.parametrize("protect", [False, True])
def test_the_victim_is_the_lowest_of_all_eligible_blocks(priority, protect):
    """Against a plain sort of the whole table, at each VICTIM of a busy device."""
    device = ConcurrentDevice(
        TINY, 7, policy=Policy(priority=priority, protect=protect, bypass=False), pool_frames=9, failures=0.1
    )
    golden, checked, note = device.golden, [], device.note

    def checking(kind, **fields):
        if kind == EngineKind.VICTIM:
            migrating = {*golden.misses.open, *golden.migration.demotions}
            eligible = [
                (key(TINY, priority, entry.ema, entry.step, golden.now, golden.policy.lam), entry.step, *where)
                for where, entry in golden.table.items()
                if entry.state == State.WARM and not entry.pinned and where not in migrating
            ]
            spared = [rank for rank in eligible if not (protect and golden.entry(*rank[2:]).protected(golden.now))]
            best = min(spared or eligible)
            assert (fields["key"], fields["head"], fields["block"]) == (best[0], *best[2:])
            assert fields["aux"] >> 1 & 1 == (not spared)
            checked.append(fields)
        note(kind, **fields)

    device.note = checking
    device.run(3000)
    assert len(checked) > 50


# Bypass ---------------------------------------------------------------------------------------------------------------


def bypassing():
    """A device at step 2 where reading block 9 has just been decided to go past the pool."""
    device = Device.full(Policy())
    device.hint(0, [(0, SCORE_ONE), (1, SCORE_ONE), (2, SCORE_ONE)], 2)
    for block in range(3):
        device.read(0, block)
    assert device.read(0, 9) == Outcome.MISS
    assert device.notes(EngineKind.BYPASS) == [(0, 9)]
    return device


def test_a_block_worse_than_every_victim_is_read_past_the_pool():
    device = bypassing()
    assert device.state(0, 9) == State.COLD
    assert device.victims() == [(0, 9)]
    kinds = [(lane, record["kind"]) for lane, record in device.records[-5:]]
    assert kinds == [
        (Lane.ENGINE, EngineKind.BYPASS),
        (Lane.ENGINE, EngineKind.PAGE_READ),
        (Lane.ENGINE, EngineKind.PAGE_READ_DONE),
        (Lane.SLOT, SlotKind.BYPASS_READ),
        (Lane.ENGINE, EngineKind.MISS_CLOSE),
    ]


def test_a_second_read_in_the_step_needs_no_new_decision():
    device = bypassing()
    device.read(0, 9, line=5)
    assert device.notes(EngineKind.BYPASS) == [(0, 9)]
    assert device.notes(EngineKind.PAGE_READ) == [(0, 9)]
    assert device.records[-2][1]["kind"] == SlotKind.BYPASS_READ


def test_a_read_in_the_next_step_is_decided_anew():
    device = bypassing()
    device.hint(0, [], 3)
    device.read(0, 9)
    assert device.notes(EngineKind.BYPASS) == [(0, 9)] * 2


def test_a_write_is_never_bypassed_and_makes_the_slot_forget_the_block():
    device = bypassing()
    assert device.write(0, 9) == Outcome.MISS
    assert device.state(0, 9) == State.WARM
    assert device.follower.bypass_slots.holding((0, 9)) is None


def test_bypass_slots_are_reused_oldest_first():
    device = Device.full(Policy())
    device.write_all(*((1, block) for block in range(5)))
    device.hint(0, [], 2)
    for block in range(3):
        device.hint(0, [(block, SCORE_ONE)], 2)
        device.read(0, block)
    for block in range(5):
        device.read(1, block)
    frames = [r["frame"] for lane, r in device.records if lane and r["kind"] == EngineKind.BYPASS]
    base = TINY.bypass_base
    assert frames == [base, base + 1, base + 2, base + 3, base]


def test_bypass_can_be_switched_off():
    device = Device.full(Policy())
    device.write_register("POLICY", PROTECT=1, BYPASS=0)
    device.hint(0, [(0, SCORE_ONE), (1, SCORE_ONE), (2, SCORE_ONE)], 2)
    device.read(0, 9)
    assert device.notes(EngineKind.BYPASS) == []
    assert device.state(0, 9) == State.WARM


# Frames ---------------------------------------------------------------------------------------------------------------


def taken(frames):
    """An allocator of which head 0 holds `frames` frames."""
    allocator = Allocator(TINY)
    for frame in range(frames):
        allocator.observe(0, SlotKind.ALLOCATE, Entry(), Entry(state=State.WARM, frame=frame))
    return allocator


def returned(allocator, frame):
    allocator.observe(0, SlotKind.DEMOTE, Entry(state=State.WARM, frame=frame), Entry(state=State.DEMOTING))
    before = Entry(state=State.DEMOTING, frame=frame)
    allocator.observe(0, SlotKind.EVICT, before, Entry(state=State.COLD, frame=frame))


def test_frames_come_back_longest_free_first_then_never_used_lowest_first():
    allocator = taken(5)
    returned(allocator, 3)
    returned(allocator, 1)
    seen = []
    for _ in range(4):
        seen.append(allocator.pool_of(0).next_frame)
        allocator.observe(0, SlotKind.ALLOCATE, Entry(), Entry(state=State.WARM, frame=seen[-1]))
    assert seen == [3, 1, 5, 6]


VICTIM = Victim(head=1, block=2, frame=3, key=100, waived=False)


def decide(allocator, *, write=False, find=lambda domain: None, demoting=False, bypass_below=None, unwritable=False):
    return allocator.decide(
        0, write=write, bypass_below=bypass_below, find=find, demoting=demoting, unwritable=unwritable
    )


def test_the_reserve_serves_writes_alone():
    """The pool has room, but the spare frames are still with blocks that are leaving."""
    allocator = taken(TINY.bypass_base - TINY.reserve_frames)
    leaving = allocator.total_held - TINY.pool_frames_max + 1
    for frame in range(leaving):
        allocator.observe(0, SlotKind.DEMOTE, Entry(state=State.WARM, frame=frame), Entry(state=State.DEMOTING))
    assert allocator.domain(0) is None
    assert decide(allocator, write=True, demoting=True).action == Action.FRAME
    assert decide(allocator, demoting=True).action == Action.WAIT


def test_a_write_without_victim_takes_a_reserve_frame_then_any_block():
    allocator = taken(TINY.bypass_base - 1)
    assert decide(allocator, write=True).action == Action.FRAME
    assert decide(allocator).action == Action.WAIT
    allocator = taken(TINY.bypass_base)
    assert decide(allocator, write=True, find={Domain.ANY: VICTIM}.get).victim == VICTIM
    assert decide(allocator, write=True, find={Domain.ANY: VICTIM}.get, demoting=True).action == Action.WAIT
    assert decide(allocator, find={Domain.ANY: VICTIM}.get).action == Action.WAIT
    assert decide(allocator, write=True).action == Action.WAIT


def test_only_a_read_with_the_lower_key_is_bypassed():
    allocator = taken(TINY.pool_frames_max)
    find = {Domain.OWN: VICTIM}.get
    assert decide(allocator, find=find, bypass_below=99).action == Action.BYPASS
    assert decide(allocator, find=find, bypass_below=100).action == Action.VICTIM
    assert decide(allocator, find=find, bypass_below=None).action == Action.VICTIM
    assert decide(allocator, find=find, bypass_below=99, write=True).action == Action.VICTIM


def test_nothing_is_demoted_once_flash_is_unwritable():
    find = {Domain.OWN: VICTIM, Domain.ANY: VICTIM}.get
    allocator = taken(TINY.pool_frames_max)
    assert decide(allocator, find=find, write=True, unwritable=True).action == Action.DROP
    assert decide(allocator, find=find, bypass_below=101, unwritable=True).action == Action.BYPASS
    assert decide(allocator, write=True, unwritable=True).action == Action.FRAME
    allocator = taken(TINY.bypass_base)
    assert decide(allocator, find={Domain.ANY: VICTIM}.get, write=True, unwritable=True).action == Action.DROP


def test_pins_are_refused_beyond_the_cap_and_the_quota():
    device = Device(policy=LRU)
    device.hint(0, [], 1)
    device.write_all((0, 0), (0, 1), (1, 0))
    device.quota(0, 0, 3)
    assert device.pin(TINY.heads, 0) == RefusalKind.PIN_RANGE
    assert device.pin(0, 0) is None
    assert device.pin(0, 1) == RefusalKind.PIN_QUOTA
    assert device.quota(0, 0, 2) == RefusalKind.QUOTA_RANGE
    assert device.pin(1, 0) is None
    assert device.pin(1, 1) == RefusalKind.PIN_CAP
    device.unpin(0, 0)
    assert device.pin(1, 1) is None


def test_quotas_and_pool_sizes_that_promise_too_much_are_refused():
    device = Device(policy=LRU, pool_frames=10)
    assert device.quota(0, 5, 4) == RefusalKind.QUOTA_RANGE
    assert device.quota(0, 0, TINY.pool_frames_max + 1) == RefusalKind.QUOTA_RANGE
    assert device.quota(0, 6, 20) is None
    assert device.quota(1, 5, 20) == RefusalKind.QUOTA_SUM
    assert device.quota(1, 4, 20) is None
    assert device.pool(9) == RefusalKind.POOL_SIZE
    assert device.pool(TINY.pool_frames_max + 1) == RefusalKind.POOL_SIZE
    assert device.quota(0, 0, 20) is None
    assert device.pool(TINY.pool_frames_min - 1) == RefusalKind.POOL_SIZE
    assert device.pool(TINY.pool_frames_min) is None


# Hints and counters ---------------------------------------------------------------------------------------------------


def test_a_second_hint_in_the_step_is_ignored():
    device = Device()
    device.hint(0, [(0, 1000)], 1)
    once = device.follower.entry(0, 0)
    device.hint(0, [(0, 5000)], 1)
    assert device.follower.entry(0, 0) == once
    assert [r["outcome"] for _, r in device.records if r["kind"] == SlotKind.HINT and "ema" in r] == [
        Outcome.DONE,
        Outcome.IGNORED,
    ]


def test_a_hint_after_the_touch_scores_without_protecting():
    device = Device.full(Policy(bypass=False))
    device.hint(0, [(1, 50), (2, 50)], 2)
    device.read(0, 0)
    before = device.follower.entry(0, 0).ema
    device.hint(0, [(0, 40)], 2)
    assert device.follower.entry(0, 0).ema > before
    device.read(0, 9)
    assert device.victims()[-1] == (0, 0)
    assert device.follower.waived == 0


def test_hint_headers_advance_once_and_are_dropped_when_stale_or_at_the_end():
    device = Device()
    assert device.hint(0, [], 5) == Outcome.HINT_DONE
    assert device.follower.now == 5
    assert device.hint(0, [], 4) == Outcome.HINT_STALE
    assert device.hint(0, [], 5 + 256) == Outcome.HINT_DONE
    assert device.hint(0, [], 5 + 2 * 256 + 1) == Outcome.HINT_STALE
    assert device.hint(0, [(TINY.blocks_per_head, 1)], 5 + 256) == Outcome.HINT_MALFORMED
    assert device.follower.now == 5 + 256
    device.follower.now = (1 << TINY.step_bits) - (1 << 16) - 1
    assert device.hint(0, [], device.follower.now + 1) == Outcome.HINT_EXHAUSTED


def test_a_first_write_is_neither_hit_nor_miss():
    device = Device(policy=LRU, pool_frames=2)
    device.hint(0, [], 1)
    assert device.read(0, 0) == Outcome.ZEROS
    device.write_all((0, 0))
    assert device.read(0, 0) == Outcome.HIT
    device.hint(0, [], 2)
    assert device.read(0, 0) == Outcome.HIT
    device.write_all((0, 1), (0, 2))
    device.hint(0, [], 3)
    assert device.read(0, 0) == Outcome.MISS
    counters = device.follower.counters[0]
    assert (counters.touches, counters.hits, counters.misses, counters.first_writes) == (5, 1, 1, 3)
    assert (counters.frames_held, counters.evictions) == (2, 2)
    assert counters.hit_rate == 0.5


def test_the_score_mean_follows_the_ema_of_the_touched_blocks():
    device = Device(policy=Policy(score=ScoreSource.ACCESS))
    mean = 0
    for step in range(1, 40):
        device.hint(1, [], step)
        device.write(1, 0)
        mean += (device.follower.entry(1, 0).ema - mean) >> 4
    assert mean > 100_000
    assert device.follower.counters[1].score_mean == mean


def test_alternating_flags_and_pins_survive_eviction():
    device = Device.full(LRU)
    device.hint(0, [(9, SCORE_ONE)], 2)
    ema = device.follower.entry(0, 9).ema
    assert ema > 0
    device.hint(0, [], 3)
    assert device.follower.entry(0, 9).ema == ema
