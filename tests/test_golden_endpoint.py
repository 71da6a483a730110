"""The golden endpoint keeps the rules of hw/README.md, accepts what keeps them, and reports what does not."""

import copy
import random

import pytest

from golden.allocator import Action, Allocator
from golden.config import preset
from golden.endpoint import Endpoint
from golden.events import EngineKind, ErrorKind, Lane, RefusalKind, pack, record_fields, unpack
from golden.hints import SCORE_ONE
from golden.metadata import Entry, Outcome, Slot, SlotKind, State
from golden.mismatch import Mismatch
from golden.policy import Policy, Priority, ScoreSource
from golden.score import key
from golden.standalone import Standalone
from golden.victim import Domain, Victim
from tests.concurrent_golden import ConcurrentDevice

TINY = preset("tiny")
LRU = Policy(priority=Priority.LRU, protect=False, bypass=False)


class Device(Standalone):
    """A standalone endpoint that keeps its records."""

    def __init__(self, config=TINY, **arguments):
        self.records = []
        super().__init__(config, on_record=lambda lane, record: self.records.append((lane, record)), **arguments)

    def notes(self, kind):
        """(head, block) of every note of a kind."""
        return [(r["head"], r["block"]) for lane, r in self.records if lane == Lane.ENGINE and r["kind"] == kind]

    def victims(self):
        return self.notes(EngineKind.VICTIM)

    def state(self, head, block):
        return self.endpoint.entry(head, block).state

    def write_all(self, *where):
        """First writes: the blocks are warm and touched in this step."""
        for head, block in where:
            assert self.write(head, block) == Outcome.FIRST_WRITE


def full_pool(policy, frames=3, **arguments):
    """A device at step 1 whose pool is full with blocks 0 .. of head 0; block 9 was written before them and is cold."""
    device = Device(policy=policy, pool_frames=frames, **arguments)
    device.hint(0, [], 0)
    device.write_all((0, 9))
    device.hint(0, [], 1)
    device.write_all(*((0, block) for block in range(frames)))
    assert device.state(0, 9) == State.COLD
    return device


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
    assert device.endpoint.key_of(device.endpoint.entry(0, 0)) == device.endpoint.key_of(device.endpoint.entry(1, 0))
    device.write_all((2, 0))
    assert device.victims() == [(1, 0)]


def test_an_announced_block_is_spared_until_it_is_touched():
    policy = Policy(priority=Priority.LRU, bypass=False)
    device = full_pool(policy)
    device.hint(0, [(0, 1)], 2)
    device.hint(0, [(1, 1), (2, 1)], 2)
    assert device.read(0, 0) == Outcome.HIT
    device.read(0, 9)
    # All three have an event in step 2; 0 is touched, 1 and 2 are still waited for.
    assert device.victims()[-1] == (0, 0)
    assert device.endpoint.waived == 0


def test_the_announcement_expires_with_its_step():
    device = full_pool(Policy(priority=Priority.LRU, bypass=False))
    device.hint(0, [(0, 1)], 2)
    device.hint(0, [(1, 1), (2, 1)], 3)
    device.read(0, 9)
    assert device.victims()[-1] == (0, 0)
    assert device.endpoint.waived == 0


def test_without_protection_an_announcement_spares_nothing():
    device = full_pool(Policy(priority=Priority.LRU, bypass=False, protect=False))
    device.hint(0, [(0, 1), (1, 1), (2, 1)], 2)
    device.read(0, 9)
    assert device.victims()[-1] == (0, 0)
    assert device.endpoint.waived == 0


def test_if_all_are_announced_the_announcement_is_waived():
    device = full_pool(Policy(bypass=False))
    device.hint(0, [(0, 300), (1, 200), (2, 100)], 2)
    device.read(0, 9)
    assert device.victims()[-1] == (0, 2)
    assert device.endpoint.waived == 1
    assert [r["aux"] for _, r in device.records if r["kind"] == EngineKind.VICTIM and "aux" in r][-1] == 0b10


def test_a_pin_is_never_waived():
    device = full_pool(Policy(bypass=False))
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
    assert device.endpoint.allocator.total_held == 5


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
    device = full_pool(Policy())
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
    assert device.endpoint.bypass_slots.holding((0, 9)) is None


def test_bypass_slots_are_reused_oldest_first():
    device = full_pool(Policy())
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
    device = full_pool(Policy())
    device.write_register("POLICY", PROTECT=1, BYPASS=0)
    device.hint(0, [(0, SCORE_ONE), (1, SCORE_ONE), (2, SCORE_ONE)], 2)
    device.read(0, 9)
    assert device.notes(EngineKind.BYPASS) == []
    assert device.state(0, 9) == State.WARM


# Frames ---------------------------------------------------------------------------------------------------------------


def taken(frames, config=TINY):
    """An allocator of which head 0 holds `frames` frames."""
    allocator = Allocator(config)
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
        seen.append(allocator.next_frame)
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
    once = device.endpoint.entry(0, 0)
    device.hint(0, [(0, 5000)], 1)
    assert device.endpoint.entry(0, 0) == once
    assert [r["outcome"] for _, r in device.records if r["kind"] == SlotKind.HINT and "ema" in r] == [
        Outcome.DONE,
        Outcome.IGNORED,
    ]


def test_a_hint_after_the_touch_scores_without_protecting():
    device = full_pool(Policy(bypass=False))
    device.hint(0, [(1, 50), (2, 50)], 2)
    device.read(0, 0)
    before = device.endpoint.entry(0, 0).ema
    device.hint(0, [(0, 40)], 2)
    assert device.endpoint.entry(0, 0).ema > before
    device.read(0, 9)
    assert device.victims()[-1] == (0, 0)
    assert device.endpoint.waived == 0


def test_hint_headers_advance_once_and_are_dropped_when_stale_or_at_the_end():
    device = Device()
    assert device.hint(0, [], 5) == Outcome.HINT_DONE
    assert device.endpoint.now == 5
    assert device.hint(0, [], 4) == Outcome.HINT_STALE
    assert device.hint(0, [], 5 + 256) == Outcome.HINT_DONE
    assert device.hint(0, [], 5 + 2 * 256 + 1) == Outcome.HINT_STALE
    assert device.hint(0, [(TINY.blocks_per_head, 1)], 5 + 256) == Outcome.HINT_MALFORMED
    assert device.endpoint.now == 5 + 256
    device.endpoint.now = (1 << TINY.step_bits) - (1 << 16) - 1
    assert device.hint(0, [], device.endpoint.now + 1) == Outcome.HINT_EXHAUSTED


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
    counters = device.endpoint.counters[0]
    assert (counters.touches, counters.hits, counters.misses, counters.first_writes) == (5, 1, 1, 3)
    assert (counters.frames_held, counters.evictions) == (2, 2)
    assert counters.hit_rate == 0.5


def test_the_score_mean_follows_the_ema_of_the_touched_blocks():
    device = Device(policy=Policy(score=ScoreSource.ACCESS))
    mean = 0
    for step in range(1, 40):
        device.hint(1, [], step)
        device.write(1, 0)
        mean += (device.endpoint.entry(1, 0).ema - mean) >> 4
    assert mean > 100_000
    assert device.endpoint.counters[1].score_mean == mean


def test_alternating_flags_and_pins_survive_eviction():
    device = full_pool(LRU)
    device.hint(0, [(9, SCORE_ONE)], 2)
    ema = device.endpoint.entry(0, 9).ema
    assert ema > 0
    device.hint(0, [], 3)
    assert device.endpoint.entry(0, 9).ema == ema


# Migration ------------------------------------------------------------------------------------------------------------


class Scripted:
    """Records by hand: golden evaluation fills in what a slot's record says, `checker` follows it."""

    def __init__(self, **arguments):
        self.checker = Endpoint(TINY, **arguments)
        self._maker = Endpoint(TINY, **arguments)
        self._sequence = 0

    def slot(self, kind, head=0, block=0, **fields):
        slot = Slot(kind, head=head, block=block, **fields)
        before, result = self._maker.slot(slot)
        self.feed(Lane.SLOT, self._maker.slot_record(slot, before, result))
        return result.outcome

    def note(self, kind, **fields):
        record = dict.fromkeys(("head", "block", "frame", "key", "aux"), 0) | {"kind": kind} | fields
        self._maker.note(kind, record)
        self.feed(Lane.ENGINE, record)

    def feed(self, lane, record):
        self.checker.check(lane, unpack(TINY, lane, pack(TINY, lane, **{"sequence": self._sequence} | record)))
        self._sequence += 1

    def step(self, step):
        self.note(EngineKind.STEP, aux=step)
        self.slot(SlotKind.ANSWER, rwd=True, value=step, outcome=Outcome.HINT_DONE)

    def first_write(self, block):
        frame = self.checker.allocator.next_frame
        self.slot(SlotKind.WRITE, 0, block, rwd=True, tag=block)
        self.note(EngineKind.MISS_OPEN, block=block, aux=1)
        self.slot(SlotKind.ALLOCATE, 0, block, frame=frame)
        self.slot(SlotKind.REPLAY_WRITE, 0, block, rwd=True, tag=block)
        self.note(EngineKind.MISS_CLOSE, block=block)

    def demotion(self):
        """A device with two warm blocks of which block 0 has begun to leave for a waiting first write of block 2."""
        self.step(1)
        for block in (0, 1):
            self.first_write(block)
        self.slot(SlotKind.WRITE, 0, 2, rwd=True, tag=2)
        self.note(EngineKind.MISS_OPEN, block=2, aux=1)
        self.victim(0)
        return self

    def victim(self, block, write=True):
        entry = self.checker.entry(0, block)
        self.note(EngineKind.VICTIM, block=block, frame=entry.frame, key=self.checker.key_of(entry), aux=int(write))
        self.slot(SlotKind.DEMOTE, 0, block)


def two_frames():
    return Scripted(policy=LRU, pool_frames=2)


def test_an_access_cancels_a_demotion_and_the_eviction_is_ignored():
    device = two_frames().demotion()
    assert device.checker.allocator.total_held == 1
    assert device.slot(SlotKind.READ, 0, 0) == Outcome.HIT
    assert device.checker.entry(0, 0).state == State.WARM
    assert device.checker.allocator.total_held == 2
    # The block may not be chosen again before its demotion has ended: the next one has to leave.
    assert device.checker.decide((0, 2), write=True).victim.block == 1
    assert device.slot(SlotKind.EVICT, 0, 0) == Outcome.IGNORED
    assert device.checker.decide((0, 2), write=True).victim.block == 0
    assert device.checker.counters[0].evictions == 0


def test_a_block_whose_page_could_not_be_written_stays_warm():
    device = two_frames().demotion()
    tag = device.checker.page_write_tag
    device.note(EngineKind.PAGE_WRITE, frame=0, aux=tag)
    device.note(EngineKind.PAGE_WRITE_DONE, frame=0, aux=tag << 1 | 1)
    device.note(EngineKind.ERROR, key=ErrorKind.PAGE_WRITE)
    with pytest.raises(Mismatch, match="a page write of the dirty block"):
        copy.deepcopy(device).slot(SlotKind.EVICT, 0, 0)
    assert device.slot(SlotKind.RESTORE, 0, 0) == Outcome.DONE
    assert device.checker.entry(0, 0).state == State.WARM
    assert device.checker.entry(0, 0).dirty


def test_flash_counts_as_unwritable_after_so_many_failures_in_a_row():
    device = two_frames().demotion()
    tag, limit = device.checker.page_write_tag, TINY.flash_failure_limit
    for failure in range(limit):
        with pytest.raises(Mismatch, match="UNWRITABLE"):
            copy.deepcopy(device).slot(SlotKind.ANSWER, 0, 2, rwd=True, tag=2, outcome=Outcome.UNWRITABLE)
        device.note(EngineKind.PAGE_WRITE, frame=0, aux=tag)
        device.note(EngineKind.PAGE_WRITE_DONE, frame=0, aux=tag << 1 | 1)
        device.note(EngineKind.ERROR, key=ErrorKind.PAGE_WRITE)
        device.slot(SlotKind.RESTORE, 0, 0)
        if failure < limit - 1:
            device.victim(0)
    device.slot(SlotKind.ANSWER, 0, 2, rwd=True, tag=2, outcome=Outcome.UNWRITABLE)
    device.note(EngineKind.MISS_CLOSE, block=2)
    with pytest.raises(Mismatch, match="ERROR FLASH_UNWRITABLE"):
        device.checker.finish()


def test_a_frame_is_not_given_away_before_its_block_has_left():
    device = two_frames().demotion()
    with pytest.raises(Mismatch, match="frame"):
        device.slot(SlotKind.ALLOCATE, 0, 2, frame=0)


# Lock-step ------------------------------------------------------------------------------------------------------------

SEEDS = (1, 2, 3, 4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("failures", [0.0, 0.3])
def test_records_of_a_busy_device_pass(seed, failures):
    print(f"seed {seed}")
    device = ConcurrentDevice(TINY, seed, pool_frames=7 + seed, failures=failures, commands=True)
    records = device.run(3000)
    checker = device.fresh()
    for lane, record in records:
        checker.check(lane, unpack(TINY, lane, pack(TINY, lane, **record)))
    checker.finish()
    assert checker.table == device.golden.table
    assert checker.counters == device.golden.counters


def test_records_made_standalone_pass_at_preset_small():
    config, records = preset("small"), []
    device = Standalone(config, pool_frames=60, on_record=lambda lane, record: records.append((lane, record)))
    chance = random.Random(5)
    for step in range(1, 40):
        for head in range(8):
            blocks = sorted(chance.sample(range(step // 4 + 1), min(step // 4 + 1, 6)))
            device.hint(head, [(block, chance.randrange(0x10000)) for block in blocks], step)
            device.write(head, step // 4)
            for block in blocks:
                device.read(head, block, chance.randrange(128))
    checker = Endpoint(config, pool_frames=60)
    for lane, record in records:
        checker.check(lane, unpack(config, lane, pack(config, lane, **record)))
    checker.finish()
    assert checker.victims == device.endpoint.victims > 20
    assert checker.bypasses == device.endpoint.bypasses > 20


CHECKPOINT_EVERY = 100


class Evidence:
    """Records of a busy device, and golden endpoints that have seen the first 0, 100, 200 ... of them."""

    def __init__(self, seed):
        device = ConcurrentDevice(TINY, seed, pool_frames=9, failures=0.1)
        self.records = device.run(4000)
        self._checkpoints = []
        checker = device.fresh()
        for index, (lane, record) in enumerate(self.records):
            if index % CHECKPOINT_EVERY == 0:
                self._checkpoints.append(copy.deepcopy(checker))
            checker.check(lane, record)
        checker.finish()

    def at(self, index):
        """A golden endpoint that has seen the records before `index`."""
        checker = copy.deepcopy(self._checkpoints[index // CHECKPOINT_EVERY])
        for lane, record in self.records[index - index % CHECKPOINT_EVERY : index]:
            checker.check(lane, record)
        return checker

    def reported(self, index, replacement):
        """The mismatch when the records from `index` on are `replacement`, or None."""
        checker = self.at(index)
        try:
            for lane, record in replacement:
                checker.check(lane, record)
            checker.finish()
        except Mismatch as mismatch:
            return mismatch
        return None

    def of_kind(self, kind, wanted=lambda record: True):
        """Places of the records of a slot or note kind."""
        lane = Lane.SLOT if isinstance(kind, SlotKind) else Lane.ENGINE
        return [
            index
            for index, (of, record) in enumerate(self.records)
            if of == lane and record["kind"] == kind and wanted(record)
        ]


@pytest.fixture(scope="module")
def evidence():
    return Evidence(seed=11)


ENGINE_SLOTS = tuple(kind for kind in SlotKind if kind >= SlotKind.REPLAY_READ and kind not in (
    SlotKind.ANSWER, SlotKind.PIN, SlotKind.UNPIN
))  # fmt: skip
REPLAYS = (SlotKind.REPLAY_READ, SlotKind.REPLAY_WRITE, SlotKind.BYPASS_READ)
DEMANDS = (SlotKind.READ, SlotKind.WRITE)
ENTRY_SLOTS = (*DEMANDS, SlotKind.HINT, *ENGINE_SLOTS)
ALL_SLOTS = (*ENTRY_SLOTS, SlotKind.ANSWER)
PAGES = (EngineKind.PAGE_READ, EngineKind.PAGE_WRITE, EngineKind.PAGE_READ_DONE, EngineKind.PAGE_WRITE_DONE)
MISS_NOTES = (EngineKind.MISS_OPEN, EngineKind.MISS_CLOSE)
ALL_NOTES = (EngineKind.STEP, EngineKind.VICTIM, EngineKind.BYPASS, *MISS_NOTES, *PAGES)
#: field -> kinds in whose records it follows from what came before, or is promised to what comes after. The rest is
#: known to the host alone: tag and line of a request that hits, which absent block is read, what a hint names.
DERIVED = {
    Lane.SLOT: {
        "sequence": ALL_SLOTS,
        "kind": ENTRY_SLOTS,
        "outcome": ENTRY_SLOTS,
        "touch": ALL_SLOTS,
        "rwd": ENTRY_SLOTS,
        "tag": (*ENGINE_SLOTS, SlotKind.HINT),
        "head": ENGINE_SLOTS,
        "block": ENGINE_SLOTS,
        "line": (*ENGINE_SLOTS, SlotKind.HINT, SlotKind.ANSWER),
        "value": (*ENGINE_SLOTS, *DEMANDS),
        "step": ALL_SLOTS,
        "ema": ALL_SLOTS,
        "frame": ALL_SLOTS,
        "state_before": ALL_SLOTS,
        "flags_before": ALL_SLOTS,
        "state_after": ALL_SLOTS,
        "flags_after": ALL_SLOTS,
    },
    Lane.ENGINE: {
        "sequence": ALL_NOTES,
        "kind": ALL_NOTES,
        "head": ALL_NOTES,
        "block": ALL_NOTES,
        "frame": ALL_NOTES,
        "key": ALL_NOTES,
        "aux": ALL_NOTES,
    },
}


@pytest.mark.parametrize(
    ("lane", "field"), [(lane, field) for lane, fields in DERIVED.items() for field in fields], ids=str
)
def test_a_changed_bit_of_a_record_is_reported(evidence, lane, field):
    chance = random.Random(f"{lane} {field}")
    bits = dict(record_fields(TINY, lane))[field]
    for kind in DERIVED[lane][field]:
        places = evidence.of_kind(kind)
        assert places, kind
        for index in chance.sample(places, min(3, len(places))):
            record = unpack(TINY, lane, pack(TINY, lane, **evidence.records[index][1]))
            # The lowest bit of a completion's aux says whether flash failed: an input.
            low = 1 if field == "aux" and kind in (EngineKind.PAGE_READ_DONE, EngineKind.PAGE_WRITE_DONE) else 0
            record[field] ^= 1 << chance.randrange(low, bits - (field == "key"))
            changed = [(lane, record), *evidence.records[index + 1 :]]
            assert evidence.reported(index, changed) is not None, (kind, index, evidence.records[index][1], record)


def test_a_missed_request_must_be_replayed_with_its_own_tag_and_line(evidence):
    for field in ("tag", "line"):
        for kind in DEMANDS:
            index = evidence.of_kind(kind, lambda record: record["outcome"] == Outcome.MISS)[-3]
            lane, record = evidence.records[index]
            changed = [(lane, record | {field: record[field] ^ 1}), *evidence.records[index + 1 :]]
            assert evidence.reported(index, changed).field == field


def test_the_answer_of_a_hint_must_name_the_step(evidence):
    index = evidence.of_kind(SlotKind.ANSWER, lambda record: record["outcome"] == Outcome.HINT_DONE)[9]
    lane, record = evidence.records[index]
    mismatch = evidence.reported(index, [(lane, record | {"value": record["value"] + 1})])
    assert (mismatch.field, mismatch.expected, mismatch.seen) == ("value", record["value"], record["value"] + 1)


def renumbered(records, first):
    return [(lane, record | {"sequence": first + place}) for place, (lane, record) in enumerate(records)]


@pytest.mark.parametrize("kind", [*ENGINE_SLOTS, *ALL_NOTES], ids=lambda kind: kind.name)
def test_a_record_that_is_missing_is_reported_without_its_number(evidence, kind):
    """The later records are numbered as if there had been none: only what is owed shows it."""
    chance = random.Random(str(kind))
    places = evidence.of_kind(kind)
    assert places
    for index in chance.sample(places, min(4, len(places))):
        rest = renumbered(evidence.records[index + 1 :], index)
        assert evidence.reported(index, rest) is not None, (kind, index)


def test_a_missed_request_that_is_missing_is_reported(evidence):
    for kind in DEMANDS:
        for index in evidence.of_kind(kind, lambda record: record["outcome"] == Outcome.MISS)[-4:]:
            assert evidence.reported(index, renumbered(evidence.records[index + 1 :], index)) is not None


def test_a_gap_in_the_numbers_is_reported(evidence):
    mismatch = evidence.reported(50, evidence.records[51:])
    assert (mismatch.field, mismatch.expected, mismatch.seen) == ("sequence", 50, 51)


def test_another_victim_is_reported_at_once(evidence):
    """Every warm block that is not the lowest, with its own key and frame, so that nothing but the choice is wrong."""
    swaps = 0
    for index in evidence.of_kind(EngineKind.VICTIM)[::5]:
        lane, record = evidence.records[index]
        checker = evidence.at(index)
        barred = {*checker.misses.open, *checker.migration.demotions, (record["head"], record["block"])}
        others = [
            (where, entry)
            for where, entry in checker.table.items()
            if entry.state == State.WARM and where not in barred
        ]
        for (head, block), entry in others:
            chosen = {"head": head, "block": block, "frame": entry.frame, "key": checker.key_of(entry)}
            mismatch = evidence.reported(index, [(lane, record | chosen)])
            assert mismatch.field in ("head", "block")
            assert (mismatch.sequence, mismatch.kind) == (index, "VICTIM")
            swaps += 1
    assert swaps > 20


def test_a_mismatch_says_where_and_what(evidence):
    index = evidence.of_kind(SlotKind.READ, lambda record: record["outcome"] == Outcome.HIT)[2]
    lane, record = evidence.records[index]
    mismatch = evidence.reported(index, [(lane, record | {"ema": record["ema"] + 1})])
    assert (mismatch.step, mismatch.head, mismatch.block) == (record["step"], record["head"], record["block"])
    assert (mismatch.field, mismatch.expected, mismatch.seen) == ("ema", record["ema"], record["ema"] + 1)
    assert str(mismatch).startswith(f"step {record['step']}, head {record['head']}, block {record['block']}, READ")
