"""The golden prefetch unit refuses notes that cannot be, and says what comes next when nothing takes time."""

from dataclasses import replace

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.events.port import PrefetchDrop, PrefetchSource
from kv_endpoint.golden.pipeline.metadata import Entry, Slot, SlotKind, State, commit
from kv_endpoint.golden.prefetch.stream_descriptor import StreamDescriptor
from kv_endpoint.golden.prefetch.unit import Prefetcher

CONFIG = preset("tiny")
DEPTH = CONFIG.prefetch_queue_depth
ANNOUNCED, WINDOW, STREAM = PrefetchSource
DUPLICATE, FULL, MISSED, *_ = PrefetchDrop
POLICY = Policy(prefetch_announced=True, prefetch_window=True, prefetch_streams=True)
COLD = Entry(state=State.COLD)
NOW = 7


def prefetcher(*streams, policy=POLICY):
    unit = Prefetcher(CONFIG)
    unit.set_registers((*streams, *(CONFIG.streams - len(streams)) * [StreamDescriptor()]), policy)
    return unit


def observe(unit, kind, where, before=COLD, policy=POLICY, decode=True, value=0):
    slot = Slot(kind, head=where[0], block=where[1], value=value)
    unit.observe(slot, before, commit(before, slot, NOW, policy), now=NOW, policy=policy, decode=decode)


def owed(unit):
    return [(head, block) for head, block, _ in unit.owed()]


def refuses(field, method, *arguments):
    with pytest.raises(Mismatch) as caught:
        method(*arguments)
    assert caught.value.field == field


def fill(unit, source):
    """Fill the queue of a source with blocks of head 3."""
    for block in range(DEPTH):
        if source == ANNOUNCED:
            observe(unit, SlotKind.HINT, (3, block))
        else:
            observe(unit, SlotKind.READ, (3, block + 1))
        unit.queued((3, block), source)


@pytest.mark.parametrize("state", list(State))
def test_a_hint_that_finds_its_block_cold_is_owed_a_note(state):
    unit = prefetcher()
    observe(unit, SlotKind.HINT, (1, 5), Entry(state=state))
    assert owed(unit) == ([(1, 5)] if state == State.COLD else [])


@pytest.mark.parametrize(
    ("before", "policy"),
    [
        (replace(COLD, announced=True, step=NOW), POLICY),
        (COLD, replace(POLICY, prefetch_announced=False)),
    ],
    ids=["a second hint", "switched off"],
)
def test_no_note_is_owed_for(before, policy):
    unit = prefetcher()
    observe(unit, SlotKind.HINT, (1, 5), before, policy)
    assert owed(unit) == []
    refuses("aux", unit.queued, (1, 5), ANNOUNCED)


def test_announced_blocks_are_noted_in_commit_order():
    unit = prefetcher()
    observe(unit, SlotKind.HINT, (1, 5))
    observe(unit, SlotKind.HINT, (1, 2))
    observe(unit, SlotKind.HINT, (2, 2))
    refuses("block", unit.queued, (1, 2), ANNOUNCED)
    unit.queued((1, 5), ANNOUNCED)
    unit.queued((1, 2), ANNOUNCED)
    refuses("head", unit.queued, (1, 2 + 1), ANNOUNCED)
    unit.queued((2, 2), ANNOUNCED)
    assert owed(unit) == []
    refuses("aux", unit.queued, (2, 3), ANNOUNCED)


def test_a_block_that_waits_in_any_queue_is_a_duplicate_and_no_other_is():
    unit = prefetcher(StreamDescriptor(base=16, length=8, enabled=True))
    observe(unit, SlotKind.HINT, (1, 1))
    observe(unit, SlotKind.HINT, (1, 1))
    observe(unit, SlotKind.READ, (1, 0))
    refuses("kind", unit.dropped, (1, 1), ANNOUNCED, DUPLICATE)
    unit.queued((1, 1), ANNOUNCED)
    for source in PrefetchSource:
        refuses("kind", unit.queued, (1, 1), source)
        unit.dropped((1, 1), source, DUPLICATE)
    assert unit.first() == ((1, 1), ANNOUNCED)
    unit.take((1, 1))
    assert unit.first() is None


@pytest.mark.parametrize("source", [ANNOUNCED, WINDOW])
def test_full_is_said_only_when_the_queue_of_the_source_is(source):
    unit = prefetcher()
    other = WINDOW if source == ANNOUNCED else ANNOUNCED
    fill(unit, source)
    observe(unit, SlotKind.READ, (1, 4))
    observe(unit, SlotKind.HINT, (1, 5))
    refuses("kind", unit.queued, (1, 5), source)
    refuses("kind", unit.dropped, (1, 5), other, FULL)
    unit.dropped((1, 5), source, FULL)
    unit.queued((1, 5), other)


def test_a_window_note_needs_a_touch_that_asked_for_it():
    unit = prefetcher()
    observe(unit, SlotKind.READ, (1, 0))
    for where in ((1, 0), (1, 2), (0, 1), (0, CONFIG.blocks_per_head - 1)):
        refuses("block", unit.queued, where, WINDOW)
    unit.queued((1, 1), WINDOW)
    unit.take((1, 1))
    # One touch asks for it once.
    refuses("block", unit.queued, (1, 1), WINDOW)


@pytest.mark.parametrize(
    ("before", "policy", "decode"),
    [
        (COLD, POLICY, False),
        (COLD, replace(POLICY, prefetch_window=False), True),
        (replace(COLD, touched=True, step=NOW), POLICY, True),
    ],
    ids=["in prefill", "switched off", "no touch"],
)
def test_an_access_does_not_ask(before, policy, decode):
    unit = prefetcher()
    observe(unit, SlotKind.READ, (1, 5), before, policy, decode)
    refuses("block", unit.queued, (1, 6), WINDOW)
    assert unit.candidate(lambda where: COLD) is None


def test_a_stream_asks_for_its_blocks_in_order_and_not_too_far_ahead():
    unit = prefetcher(StreamDescriptor(base=16, length=8, stride=2, ahead=3, enabled=True))
    for where in ((1, 1), (0, 14), (1, 6), (2, 0)):
        refuses("block", unit.queued, where, STREAM)
    unit.queued((1, 2), STREAM)
    # It was passed over.
    refuses("block", unit.queued, (1, 0), STREAM)
    unit.queued((1, 4), STREAM)
    refuses("block", unit.queued, (1, 6), STREAM)
    # Only touches of its blocks move it on, in any order.
    observe(unit, SlotKind.READ, (1, 7))
    refuses("block", unit.queued, (1, 6), STREAM)
    observe(unit, SlotKind.READ, (1, 14))
    unit.queued((1, 6), STREAM)
    assert unit.positions() == (4, 0)


def test_a_stream_waits_for_room():
    unit = prefetcher(StreamDescriptor(length=16, ahead=16, enabled=True))
    for block in range(DEPTH):
        unit.queued((0, block), STREAM)
    refuses("aux", unit.dropped, (0, DEPTH), STREAM, FULL)
    assert unit.candidate(lambda where: COLD) is None
    unit.take((0, 0))
    assert unit.candidate(lambda where: COLD) == ((0, DEPTH), STREAM)


@pytest.mark.parametrize("by", ["its CTRL", "PREFETCH"])
def test_of_a_stream_that_is_switched_off_one_block_may_still_come(by):
    stream = StreamDescriptor(length=8, ahead=8, enabled=True)
    unit = prefetcher(stream)
    unit.queued((0, 0), STREAM)
    off = replace(stream, enabled=by == "PREFETCH")
    unit.set_registers((off, StreamDescriptor()), replace(POLICY, prefetch_streams=by != "PREFETCH"))
    unit.queued((0, 1), STREAM)
    refuses("block", unit.queued, (0, 2), STREAM)
    unit.set_registers((stream, StreamDescriptor()), POLICY)
    assert unit.positions() == (0 if by == "its CTRL" else 2, 0)


def test_a_stream_that_is_enabled_again_starts_again():
    stream = StreamDescriptor(length=8, ahead=2, enabled=True)
    unit = prefetcher(stream)
    unit.queued((0, 0), STREAM)
    unit.queued((0, 1), STREAM)
    unit.take((0, 0))
    unit.set_registers((replace(stream, enabled=False), StreamDescriptor()), POLICY)
    unit.set_registers((stream, StreamDescriptor()), POLICY)
    unit.queued((0, 0), STREAM)
    unit.dropped((0, 1), STREAM, DUPLICATE)
    refuses("block", unit.queued, (0, 2), STREAM)


def test_the_oldest_of_the_first_source_is_taken():
    unit = prefetcher(StreamDescriptor(length=2, enabled=True))
    unit.queued((0, 0), STREAM)
    observe(unit, SlotKind.READ, (1, 1))
    unit.queued((1, 2), WINDOW)
    unit.queued((1, 0), WINDOW)
    observe(unit, SlotKind.HINT, (2, 9))
    unit.queued((2, 9), ANNOUNCED)
    refuses("block", unit.take, (2, 8))
    refuses("head", unit.take, (1, 2))
    order = []
    while unit.first() is not None:
        order.append(unit.first())
        unit.take(unit.first()[0])
    assert order == [((2, 9), ANNOUNCED), ((1, 2), WINDOW), ((1, 0), WINDOW), ((0, 0), STREAM)]
    refuses("kind", unit.take, (0, 0))


def test_candidates_without_hardware_come_by_source_nearest_first_and_cold():
    streams = (
        StreamDescriptor(base=0, length=3, enabled=True),
        StreamDescriptor(base=48, length=2, stride=8, enabled=True),
    )
    unit = prefetcher(*streams)
    warm = {(1, 6), (0, 1)}
    observe(unit, SlotKind.READ, (1, 5))
    observe(unit, SlotKind.READ, (2, 0))
    observe(unit, SlotKind.HINT, (2, 9))
    order = []
    while (found := unit.candidate(lambda where: Entry(state=State.WARM) if where in warm else COLD)) is not None:
        where, source = found
        assert unit.drop_reason(where, source) is None
        unit.queued(where, source)
        order.append((source, where))
    assert order == [
        (ANNOUNCED, (2, 9)), (WINDOW, (1, 4)), (WINDOW, (2, 1)),
        (STREAM, (3, 0)), (STREAM, (0, 0)), (STREAM, (3, 8)), (STREAM, (0, 2)),
    ]  # fmt: skip


def test_a_window_is_learned_from_the_commits_of_its_head():
    unit = prefetcher()
    for _ in range(8):
        observe(unit, SlotKind.PROMOTE, (1, 5), value=1)
    assert [unit.window(head) for head in range(CONFIG.heads)] == [1, 0, 1, 1]
