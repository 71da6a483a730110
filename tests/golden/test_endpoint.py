"""The golden endpoint in lock-step: accepts what keeps the rules of hw/README.md, and reports what does not."""

import copy
import random

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.endpoint import Endpoint
from kv_endpoint.golden.events.port import (
    EngineKind,
    ErrorKind,
    Lane,
    PrefetchDrop,
    PrefetchSource,
    RefusalKind,
    pack,
    record_fields,
    unpack,
)
from kv_endpoint.golden.follow.follower import Follower
from kv_endpoint.golden.front.hints import SCORE_ONE
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind, State
from tests.support.concurrent_golden import ConcurrentDevice
from tests.support.golden_devices import LRU, TINY, Device, Scripted

# Migration ------------------------------------------------------------------------------------------------------------


def leaving():
    """Blocks 0 and 1 fill the pool; 0 has begun to leave for a write that waits for block 2, which is absent."""
    device = Device(policy=LRU, pool_frames=2)
    device.hint(0, [], 1)
    device.write_all((0, 0), (0, 1))
    script = Scripted(device)
    script.miss(SlotKind.WRITE, 2, tag=20)
    script.demote(0)
    return script


def test_an_access_cancels_a_demotion_and_the_eviction_is_ignored():
    script = leaving()
    assert script.checker.allocator.total_held == 1
    assert script.slot(SlotKind.READ, 0) == Outcome.HIT
    assert script.checker.entry(0, 0).state == State.WARM
    assert script.checker.allocator.total_held == 2
    # The block may not be chosen again before its demotion has ended: the next one has to leave.
    assert script.checker.decide((0, 2), write=True).victim.block == 1
    assert script.slot(SlotKind.EVICT, 0) == Outcome.IGNORED
    assert script.checker.decide((0, 2), write=True).victim.block == 0
    assert script.checker.counters[0].evictions == 0


def test_a_block_whose_page_could_not_be_written_stays_warm():
    script = leaving()
    script.page_write(0, failed=True)
    script.note(EngineKind.ERROR, key=ErrorKind.PAGE_WRITE)
    assert script.slot(SlotKind.RESTORE, 0) == Outcome.DONE
    assert script.checker.entry(0, 0).state == State.WARM
    assert script.checker.entry(0, 0).dirty


@pytest.mark.parametrize("success_between", [False, True])
def test_flash_counts_as_unwritable_after_so_many_failures_in_a_row(success_between):
    script, limit = leaving(), TINY.flash_failure_limit
    for failure in range(limit):
        assert not script.checker.migration.unwritable
        if success_between and failure == limit - 1:
            script.page_write(0)
            script.slot(SlotKind.READ, 0)
            script.slot(SlotKind.EVICT, 0)
        else:
            script.page_write(0, failed=True)
            script.slot(SlotKind.RESTORE, 0)
        if failure < limit - 1:
            script.demote(0)
    assert script.checker.migration.unwritable == (not success_between)
    if not success_between:
        script.slot(SlotKind.ANSWER, 2, rwd=True, tag=20, outcome=Outcome.UNWRITABLE)
        script.note(EngineKind.MISS_CLOSE, 2)
        for _ in range(limit):
            script.note(EngineKind.ERROR, key=ErrorKind.PAGE_WRITE)
        with pytest.raises(Mismatch, match="ERROR FLASH_UNWRITABLE"):
            script.checker.finish()
        script.note(EngineKind.ERROR, key=ErrorKind.FLASH_UNWRITABLE)
        script.checker.finish()


# What no device may do ------------------------------------------------------------------------------------------------


def missed():
    """Pool full; a read of block 9, which is cold, has missed in a new step. Block 0 has to leave for it."""
    script = Scripted(Device.full(LRU))
    script.step(2)
    script.miss(SlotKind.READ, 9, tag=90)
    return script


def promoting():
    """... and block 9 has a frame, into which its page is being read."""
    script = missed()
    script.victim(0, write=False)
    script.slot(SlotKind.DEMOTE, 0)
    script.slot(SlotKind.PROMOTE, 9, frame=script.checker.allocator.pool_of(0).next_frame)
    script.note(EngineKind.PAGE_READ, 9, frame=script.checker.entry(0, 9).frame, aux=1)
    return script


def filled():
    """... and the page has arrived, with nothing replayed so far."""
    script = promoting()
    script.note(EngineKind.PAGE_READ_DONE, 9, frame=script.checker.entry(0, 9).frame, aux=2)
    script.slot(SlotKind.FILL, 9)
    return script


def past_the_pool():
    """Block 9 is worth less than what is in the pool: reading it past the pool is about to be decided, in step 2."""
    script = Scripted(Device.full(Policy()))
    script.note(EngineKind.STEP, aux=2)
    for block in range(3):
        script.slot(SlotKind.HINT, block, rwd=True, value=SCORE_ONE)
    script.slot(SlotKind.ANSWER, rwd=True, value=2, outcome=Outcome.HINT_DONE)
    script.miss(SlotKind.READ, 9, tag=90)
    return script


def decide_bypass(script, number=0):
    """The decision for block 9, and its page arrives in bypass slot `number`."""
    frame, own_key = TINY.bypass_base + number, script.checker.key_of(script.checker.entry(0, 9))
    script.note(EngineKind.BYPASS, 9, frame=frame, key=own_key)
    script.note(EngineKind.PAGE_READ, 9, frame=frame, aux=1)
    script.note(EngineKind.PAGE_READ_DONE, 9, frame=frame, aux=2)


def bypassed():
    """... decided, and its page is in the bypass slot."""
    script = past_the_pool()
    decide_bypass(script)
    return script


def read_in_a_later_step():
    """... and a read of step 3, a touch, was served by the same miss; in step 3 there is another read of the block."""
    script = bypassed()
    script.step(3)
    script.slot(SlotKind.READ, 9, tag=91)
    for tag in (90, 91):
        script.slot(SlotKind.BYPASS_READ, 9, tag=tag, frame=TINY.bypass_base)
    script.note(EngineKind.MISS_CLOSE, 9)
    script.miss(SlotKind.READ, 9, tag=92)
    return script


def touched_after_the_decision():
    """A read of step 2 was decided on in step 3 only, and served; another read, the touch of step 3, waits."""
    script = past_the_pool()
    script.step(3)
    decide_bypass(script)
    bypass_read(script, 90)
    close(script)
    script.miss(SlotKind.READ, 9, tag=91)
    return script


def at_the_counters_end():
    script = missed()
    script.golden.now = script.checker.now = (1 << TINY.step_bits) - (1 << 16) - 1
    return script


def close(script, block=9):
    script.note(EngineKind.MISS_CLOSE, block)


def bypass_read(script, tag):
    script.slot(SlotKind.BYPASS_READ, 9, tag=tag, frame=TINY.bypass_base)


def demotions_in_every_slot():
    """Three misses wait and both demotion slots are in use."""
    script = missed()
    for block in range(TINY.demotion_slots):
        script.victim(block, write=False)
        script.slot(SlotKind.DEMOTE, block)
        script.slot(SlotKind.READ, block, tag=block)
    return script


def clean_and_leaving():
    """Block 9 was read back, so that flash has its page, and has begun to leave again."""
    device = Device.full(LRU)
    device.hint(0, [], 2)
    device.read(0, 9)
    device.hint(0, [], 3)
    device.read(0, 1)
    device.read(0, 2)
    script = Scripted(device)
    script.miss(SlotKind.WRITE, 12, tag=120)
    script.demote(9)
    return script


def header(outcome, value):
    return lambda script: script.slot(SlotKind.ANSWER, rwd=True, value=value, outcome=outcome)


ILLEGAL = {
    "closes before its page has arrived": (promoting, close, "PAGE_READ_DONE"),
    "closes with nothing served": (filled, close, "a replay"),
    "opens twice": (missed, lambda s: s.note(EngineKind.MISS_OPEN, 9), "no second miss"),
    "opens for nobody": (missed, lambda s: s.note(EngineKind.MISS_OPEN, 8), "waits for the block"),
    "opens for a write that does not wait": (
        missed, lambda s: (s.slot(SlotKind.READ, 0), s.note(EngineKind.MISS_OPEN, 9, aux=1)), "no second miss",
    ),
    "places a block before its victim has left": (
        missed, lambda s: s.slot(SlotKind.PROMOTE, 9, frame=s.checker.allocator.pool_of(0).next_frame), "VICTIM",
    ),
    "takes the frame of a block that is leaving": (
        leaving, lambda s: s.slot(SlotKind.ALLOCATE, 2, frame=0), "frame",
    ),
    "places a block twice": (promoting, lambda s: s.slot(SlotKind.PROMOTE, 9, frame=9), "PROMOTING"),
    "replays before there is a frame": (missed, lambda s: s.slot(SlotKind.REPLAY_READ, 9, tag=90), "has a frame"),
    "fills before the page has arrived": (promoting, lambda s: s.slot(SlotKind.FILL, 9), "PAGE_READ_DONE"),
    "reads a page twice": (promoting, lambda s: s.note(EngineKind.PAGE_READ, 9, frame=4, aux=2), "PAGE_READ_DONE"),
    "reads a page that nobody promotes": (missed, lambda s: s.note(EngineKind.PAGE_READ, 9, aux=1), "PROMOTE"),
    "uses the tag of a page write for a read": (
        past_the_pool,
        lambda s: (
            s.note(EngineKind.BYPASS, 9, frame=TINY.bypass_base, key=s.checker.key_of(s.checker.entry(0, 9))),
            s.note(EngineKind.PAGE_READ, 9, frame=TINY.bypass_base, aux=s.checker.page_write_tag),
        ),
        "the tag of a page read",
    ),
    "uses a page tag twice": (
        demotions_in_every_slot,
        lambda s: [
            s.note(EngineKind.PAGE_WRITE, block, frame=s.checker.entry(0, block).frame, aux=s.checker.page_write_tag)
            for block in range(2)
        ],
        "not in use",
    ),
    "does something else before the DEMOTE": (
        missed, lambda s: (s.victim(0, write=False), s.slot(SlotKind.READ, 1, tag=5)), "DEMOTE",
    ),
    "names another victim before the DEMOTE": (
        missed, lambda s: (s.victim(0, write=False), s.victim(0, write=False)), "DEMOTE",
    ),
    "demotes more than it has slots": (
        demotions_in_every_slot, lambda s: s.victim(2, write=False), "at most 2 demotions",
    ),
    "demotes without a victim": (missed, lambda s: s.slot(SlotKind.DEMOTE, 0), "VICTIM"),
    "evicts a block that flash does not have": (leaving, lambda s: s.slot(SlotKind.EVICT, 0), "a page write"),
    "evicts a block whose page write failed": (
        leaving, lambda s: (s.page_write(0, failed=True), s.slot(SlotKind.EVICT, 0)), "a page write",
    ),
    "restores a block whose page was written": (
        leaving, lambda s: (s.page_write(0), s.slot(SlotKind.RESTORE, 0)), "EVICT",
    ),
    "writes the page of a clean block": (clean_and_leaving, lambda s: s.page_write(9), "a clean block"),
    "writes a page twice": (leaving, lambda s: (s.page_write(0), s.page_write(0)), "one page write"),
    "ends a demotion before flash has": (
        leaving,
        lambda s: (
            s.slot(SlotKind.READ, 0),
            s.note(EngineKind.PAGE_WRITE, 0, aux=s.checker.page_write_tag),
            s.slot(SlotKind.EVICT, 0),
        ),
        "PAGE_WRITE_DONE",
    ),
    "reads past the pool what may stay": (
        missed, lambda s: s.note(EngineKind.BYPASS, 9, frame=TINY.bypass_base), "VICTIM",
    ),
    "evicts for what is read past the pool": (past_the_pool, lambda s: s.victim(0, write=False), "BYPASS"),
    "decides twice": (bypassed, lambda s: s.note(EngineKind.BYPASS, 9, frame=TINY.bypass_base + 1), "it is made"),
    "reads a bypass slot that another step decided": (read_in_a_later_step, lambda s: bypass_read(s, 92), "BYPASS"),
    "serves a touch from a remembered slot": (touched_after_the_decision, lambda s: bypass_read(s, 91), "BYPASS"),
    "reports an error that did not happen": (
        missed, lambda s: s.note(EngineKind.ERROR, key=ErrorKind.PAGE_READ), "no such error",
    ),
    "reports an end of the counter that is far away": (
        missed, lambda s: s.note(EngineKind.ERROR, key=ErrorKind.STEP_EXHAUSTED, aux=3), "counter's end",
    ),
    "leaps beyond the cap": (missed, lambda s: s.step(2 + 257), "STALE"),
    "steps back": (missed, lambda s: s.step(1), "STALE"),
    "takes a hint of another step": (missed, header(Outcome.HINT_DONE, 3), "value: expected 2"),
    "drops a hint of this step": (missed, header(Outcome.HINT_STALE, 2), "CURRENT"),
    "drops a hint at the counter's end without an error": (
        at_the_counters_end, lambda s: header(Outcome.HINT_EXHAUSTED, s.checker.now + 1 & 0xFFFF)(s), "after its ERROR",
    ),
    "takes a hint at the counter's end": (
        at_the_counters_end, lambda s: s.note(EngineKind.STEP, aux=s.checker.now + 1), "EXHAUSTED",
    ),
    "drops a hint at an end that is far away": (missed, header(Outcome.HINT_EXHAUSTED, 3), "HINT_EXHAUSTED"),
    "drops a hint after stepping for it": (
        missed,
        lambda s: (s.note(EngineKind.STEP, aux=3), header(Outcome.HINT_STALE, 2)(s)),
        "HINT_DONE",
    ),
    "answers a write as if flash were unwritable": (
        leaving, lambda s: s.slot(SlotKind.ANSWER, 2, rwd=True, tag=20, outcome=Outcome.UNWRITABLE), "UNWRITABLE",
    ),
    "refuses a pin that is allowed": (
        missed, lambda s: s.note(EngineKind.REFUSAL, 9, key=RefusalKind.PIN_CAP, aux=9), "no refusal",
    ),
    "refuses a pool size that is allowed": (
        missed, lambda s: s.note(EngineKind.REFUSAL, key=RefusalKind.POOL_SIZE, aux=TINY.pool_frames_max), "no refusal",
    ),
    "accepts a pool size that is not allowed": (
        missed, lambda s: s.note(EngineKind.POOL, aux=TINY.pool_frames_min - 1), "POOL_SIZE",
    ),
    "accepts quotas that are not allowed": (
        missed, lambda s: s.note(EngineKind.QUOTA, key=1, aux=0), "QUOTA_RANGE",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ILLEGAL)
def test_a_device_is_reported_that(case):
    prepare, act, expected = ILLEGAL[case]
    script = prepare()
    with pytest.raises(Mismatch, match=expected):
        act(script)


@pytest.mark.parametrize("prepare", [read_in_a_later_step, touched_after_the_decision])
def test_what_no_bypass_slot_remembers_is_decided_anew(prepare):
    script = prepare()
    decide_bypass(script, number=1)
    assert script.checker.bypasses == 2


def test_the_end_of_the_counter_is_an_error_and_drops_the_hint():
    script = at_the_counters_end()
    step16 = script.checker.now + 1 & 0xFFFF
    script.note(EngineKind.ERROR, key=ErrorKind.STEP_EXHAUSTED, aux=step16)
    with pytest.raises(Mismatch, match="after its ERROR"):
        header(Outcome.HINT_STALE, step16)(copy.deepcopy(script))
    header(Outcome.HINT_EXHAUSTED, step16)(script)


def test_a_miss_that_never_closes_is_owed():
    script = filled()
    script.slot(SlotKind.REPLAY_READ, 9, tag=90)
    script.slot(SlotKind.READ, 0)
    with pytest.raises(Mismatch, match="MISS_CLOSE"):
        copy.deepcopy(script.checker).finish()
    close(script)
    script.slot(SlotKind.EVICT, 0)
    script.checker.finish()


# Lock-step ------------------------------------------------------------------------------------------------------------

SEEDS = (1, 2, 3, 4)
PREFETCHING = Policy(prefetch_announced=True, prefetch_window=True, prefetch_streams=True)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("failures", "prefetches"), [(0.0, False), (0.3, False), (0.1, True)])
def test_records_of_a_busy_device_pass(seed, failures, prefetches):
    print(f"seed {seed}")
    policy = PREFETCHING if prefetches else Policy()
    device = ConcurrentDevice(TINY, seed, policy=policy, pool_frames=7 + seed, failures=failures, commands=True)
    records = device.run(3000)
    checker = device.fresh()
    for lane, record in records:
        checker.check(lane, unpack(TINY, lane, pack(TINY, lane, **record)))
    checker.finish()
    assert checker.table == device.golden.table
    assert checker.counters == device.golden.counters


def test_records_made_standalone_pass_at_preset_small():
    config, records = preset("small"), []
    device = Endpoint(config, pool_frames=60, on_record=lambda lane, record: records.append((lane, record)))
    chance = random.Random(5)
    for step in range(1, 40):
        for head in range(8):
            blocks = sorted(chance.sample(range(step // 4 + 1), min(step // 4 + 1, 6)))
            device.hint(head, [(block, chance.randrange(0x10000)) for block in blocks], step)
            device.write(head, step // 4)
            for block in blocks:
                device.read(head, block, chance.randrange(128))
    checker = Follower(config, pool_frames=60)
    for lane, record in records:
        checker.check(lane, unpack(config, lane, pack(config, lane, **record)))
    checker.finish()
    assert checker.victims == device.follower.victims > 20
    assert checker.bypasses == device.follower.bypasses > 20


CHECKPOINT_EVERY = 100


def is_owed(record):
    """Whether a PREFETCH_DROPPED must come. Of windows and streams a candidate may be passed over without a note."""
    source, drop = record["aux"] & 0xFF, record["aux"] >> 8
    return source == PrefetchSource.ANNOUNCED or drop not in (PrefetchDrop.DUPLICATE, PrefetchDrop.FULL)


class Evidence:
    """Records of a busy device, and golden endpoints that have seen the first 0, 100, 200 ... of them."""

    def __init__(self, seed):
        device = ConcurrentDevice(TINY, seed, policy=PREFETCHING, pool_frames=9, failures=0.1)
        device.stream(base=3 * TINY.blocks_per_head, length=8)
        self.records = device.run(5000)
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

    def owed_of_kind(self, kind):
        """Places of the records of a kind that must come, as what went before says."""
        return self.of_kind(kind, lambda record: kind is not EngineKind.PREFETCH_DROPPED or is_owed(record))

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
    SlotKind.ANSWER, SlotKind.PIN, SlotKind.UNPIN, SlotKind.RELEASE
))  # fmt: skip
REPLAYS = (SlotKind.REPLAY_READ, SlotKind.REPLAY_WRITE, SlotKind.BYPASS_READ)
DEMANDS = (SlotKind.READ, SlotKind.WRITE)
ENTRY_SLOTS = (*DEMANDS, SlotKind.HINT, *ENGINE_SLOTS)
ALL_SLOTS = (*ENTRY_SLOTS, SlotKind.ANSWER)
PAGES = (EngineKind.PAGE_READ, EngineKind.PAGE_WRITE, EngineKind.PAGE_READ_DONE, EngineKind.PAGE_WRITE_DONE)
MISS_NOTES = (EngineKind.MISS_OPEN, EngineKind.MISS_CLOSE)
PREFETCH_NOTES = (EngineKind.PREFETCH_QUEUED, EngineKind.PREFETCH_DROPPED)
ALL_NOTES = (EngineKind.STEP, EngineKind.VICTIM, EngineKind.BYPASS, *MISS_NOTES, *PAGES, *PREFETCH_NOTES)
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
        "grant": ALL_SLOTS,
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
        places = evidence.owed_of_kind(kind)
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
    places = evidence.owed_of_kind(kind)
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
