"""Following prefetches to their end from the records: each fate is counted once, and the sums close."""

import pytest

from kv_endpoint.golden.events.port import EngineKind, PrefetchDrop, PrefetchSource
from kv_endpoint.golden.pipeline.metadata import FLAGS, Outcome, SlotKind
from kv_endpoint.sim.results.prefetches import Fate, Prefetches

PREFETCHED = 1 << FLAGS.index("prefetched")
ANNOUNCED, WINDOW, STREAM = PrefetchSource


class Records:
    """Makes records of blocks of head 0 and has them counted."""

    def __init__(self):
        self.prefetches = Prefetches()

    def note(self, kind, block, aux=0):
        self.prefetches.note({"kind": kind, "head": 0, "block": block, "aux": aux})

    def slot(self, kind, block, outcome=Outcome.DONE, before=0, after=0):
        self.prefetches.slot(
            {"kind": kind, "head": 0, "block": block, "outcome": outcome, "flags_before": before, "flags_after": after}
        )

    def queued(self, block, source=ANNOUNCED):
        self.note(EngineKind.PREFETCH_QUEUED, block, source)

    def dropped(self, block, reason, source=ANNOUNCED):
        self.note(EngineKind.PREFETCH_DROPPED, block, source | reason << 8)

    def opened(self, block):
        self.note(EngineKind.MISS_OPEN, block, 2)

    def issued(self, block, source=ANNOUNCED):
        self.queued(block, source)
        self.opened(block)
        self.slot(SlotKind.PREFETCH, block)
        self.slot(SlotKind.PROMOTE, block, after=PREFETCHED)
        self.note(EngineKind.MISS_CLOSE, block)

    def counts(self, source=ANNOUNCED):
        counts = self.prefetches.fates[source].as_dict()
        counts |= counts.pop("dropped")
        return {name: count for name, count in counts.items() if count}


@pytest.fixture
def records():
    return Records()


@pytest.mark.parametrize(
    ("kind", "outcome", "fate"),
    [
        (SlotKind.READ, Outcome.HIT, "useful"),
        (SlotKind.WRITE, Outcome.HIT, "useful"),
        (SlotKind.READ, Outcome.MISS, "late"),
        (SlotKind.REPLAY_WRITE, Outcome.HIT, "met"),
        (SlotKind.EVICT, Outcome.DONE, "unused"),
    ],
)
def test_one_that_was_issued_ends_once(records, kind, outcome, fate):
    records.issued(3)
    assert records.counts() == {"candidates": 1, "queued": 1, "issued": 1, "unread": 1}
    records.slot(SlotKind.DEMOTE, 3, before=PREFETCHED, after=PREFETCHED)
    records.slot(kind, 3, outcome, before=PREFETCHED)
    records.slot(SlotKind.READ, 3, Outcome.HIT)
    assert records.counts() == {"candidates": 1, "queued": 1, "issued": 1, fate: 1}


def test_what_is_not_queued_was_a_candidate(records):
    records.dropped(1, PrefetchDrop.DUPLICATE)
    records.dropped(2, PrefetchDrop.FULL, WINDOW)
    assert records.counts() == {"candidates": 1, "duplicate": 1}
    assert records.counts(WINDOW) == {"candidates": 1, "full": 1}


def test_what_ends_before_it_has_a_frame(records):
    for block in range(5):
        records.queued(block)
    assert records.counts() == {"candidates": 5, "queued": 5, "waiting": 5}
    records.dropped(0, PrefetchDrop.MISSED)
    records.opened(1)
    records.slot(SlotKind.PREFETCH, 1, Outcome.IGNORED)
    records.note(EngineKind.MISS_CLOSE, 1)
    records.opened(2)
    records.slot(SlotKind.PREFETCH, 2)
    records.dropped(2, PrefetchDrop.NOT_WORTH)
    records.note(EngineKind.MISS_CLOSE, 2)
    for block in (3, 4):
        records.opened(block)
        records.slot(SlotKind.PREFETCH, block)
    # A read of both has come meanwhile: one gets a frame by demand, one is read past the pool.
    records.slot(SlotKind.PROMOTE, 3)
    records.note(EngineKind.MISS_CLOSE, 3)
    records.note(EngineKind.MISS_CLOSE, 4)
    assert records.counts() == {
        "candidates": 5, "queued": 5, "missed": 1, "overtaken": 1, "not_worth": 1, "demanded": 2,
    }  # fmt: skip


def test_the_lower_source_goes_first_and_gets_what_comes_of_it(records):
    records.queued(1, STREAM)
    records.queued(2, WINDOW)
    records.opened(2)
    records.slot(SlotKind.PROMOTE, 2, after=PREFETCHED)
    assert records.counts(WINDOW)["issued"] == 1
    assert records.counts(STREAM) == {"candidates": 1, "queued": 1, "waiting": 1}


def test_a_miss_of_demand_is_none_of_a_prefetch(records):
    records.note(EngineKind.MISS_OPEN, 1, 0)
    records.slot(SlotKind.PROMOTE, 1)
    records.note(EngineKind.MISS_CLOSE, 1)
    assert not any(records.counts(source) for source in PrefetchSource)


def sums_close(fate):
    """The three sums of `Fate`."""
    dropped = fate.dropped
    before = dropped[PrefetchDrop.DUPLICATE] + dropped[PrefetchDrop.FULL]
    ended = sum(dropped.values()) - before + fate.overtaken + fate.demanded
    return (
        fate.candidates == fate.queued + before
        and fate.queued == ended + fate.issued + fate.waiting
        and fate.issued == fate.useful + fate.late + fate.met + fate.unused + fate.unread
    )


def test_a_sum_that_does_not_close_is_seen():
    assert not sums_close(Fate(queued=1))
    assert not sums_close(Fate(queued=1, issued=1))
