"""What becomes of each prefetch, from the records: from the source that asks for it to the access that uses it."""

from collections import Counter, deque
from dataclasses import dataclass, field

from kv_endpoint.golden.events.port import EngineKind, PrefetchDrop, PrefetchSource
from kv_endpoint.golden.pipeline.metadata import FLAGS, Outcome, SlotKind

__all__ = ["Fate", "Prefetches"]

_PREFETCHED = 1 << FLAGS.index("prefetched")
#: dropped instead of queued; the other drops end one that was queued
_NOT_QUEUED = (PrefetchDrop.DUPLICATE, PrefetchDrop.FULL)
#: aux of its MISS_OPEN
_FOR_PREFETCH = 2
#: slots that every prefetch may come to
_STEPS = (SlotKind.PREFETCH, SlotKind.PROMOTE)
_ACCESSES = (SlotKind.READ, SlotKind.WRITE)
_REPLAYS = (SlotKind.REPLAY_READ, SlotKind.REPLAY_WRITE)


@dataclass
class Fate:
    """Prefetches of one source, counted.

    `candidates` = `queued` + `dropped` as duplicate or full;
    `queued` = `dropped` for another reason + `overtaken` + `demanded` + `issued` + `waiting`;
    `issued` = `useful` + `late` + `met` + `unused` + `unread`.
    """

    queued: int = 0
    #: by `PrefetchDrop`
    dropped: Counter = field(default_factory=Counter)
    #: the block was no longer cold when its turn came
    overtaken: int = 0
    #: a request asked for the block before it had a frame, so that the miss became one of demand
    demanded: int = 0
    #: the block got a frame ahead of any demand
    issued: int = 0
    #: an access then found it there
    useful: int = 0
    #: an access had to wait for its page
    late: int = 0
    #: its first access had missed before it was asked for
    met: int = 0
    #: it left unread
    unused: int = 0
    #: neither used nor gone so far
    unread: int = 0
    #: in the queue, or at the start of its miss, so far
    waiting: int = 0

    @property
    def candidates(self):
        return self.queued + sum(self.dropped[drop] for drop in _NOT_QUEUED)

    def as_dict(self):
        """As `results.json` has it."""
        return {
            "candidates": self.candidates, "queued": self.queued,
            "dropped": {drop.name.lower(): self.dropped[drop] for drop in PrefetchDrop},
            "overtaken": self.overtaken, "demanded": self.demanded, "issued": self.issued, "useful": self.useful,
            "late": self.late, "met": self.met, "unused": self.unused, "unread": self.unread, "waiting": self.waiting,
        }  # fmt: skip


class Prefetches:
    """Follows each prefetch. `fates` has a `Fate` for each `PrefetchSource`; of blocks in the heads `apart` it is in
    `fates_apart`.

    A record names the source only when the prefetch is queued or dropped. The queues are followed, one a source, oldest
    first, the lowest source first, so that what comes after is counted for the right one.
    """

    def __init__(self, apart=()):
        self._apart = apart
        self.fates = {source: Fate() for source in PrefetchSource}
        self.fates_apart = {source: Fate() for source in PrefetchSource}
        self._queues = {source: deque() for source in PrefetchSource}
        #: (head, block) -> source: a miss is open for it, and it holds a frame that nobody has used
        self._begun = {}
        self._unread = {}

    def note(self, fields):
        """Count a record of lane `engine`."""
        kind, where = fields["kind"], (fields["head"], fields["block"])
        if kind == EngineKind.PREFETCH_QUEUED:
            source = PrefetchSource(fields["aux"])
            fate = self._fate(source, where)
            fate.queued += 1
            fate.waiting += 1
            self._queues[source].append(where)
        elif kind == EngineKind.PREFETCH_DROPPED:
            source, drop = PrefetchSource(fields["aux"] & 0xFF), PrefetchDrop(fields["aux"] >> 8)
            fate = self._fate(source, where)
            fate.dropped[drop] += 1
            if drop == PrefetchDrop.MISSED:
                self._next(where)
                fate.waiting -= 1
            elif drop not in _NOT_QUEUED:
                self._end(where)
        elif kind == EngineKind.MISS_OPEN and fields["aux"] == _FOR_PREFETCH:
            self._begun[where] = self._next(where)
        elif kind == EngineKind.MISS_CLOSE and where in self._begun:
            self._end(where).demanded += 1

    def slot(self, fields):
        """Count a record of lane `slot`."""
        kind, outcome = fields["kind"], fields["outcome"]
        before, after = fields["flags_before"] & _PREFETCHED, fields["flags_after"] & _PREFETCHED
        if not before and kind not in _STEPS:
            return
        where = fields["head"], fields["block"]
        if kind == SlotKind.PREFETCH and outcome == Outcome.IGNORED:
            self._end(where).overtaken += 1
        elif kind == SlotKind.PROMOTE and where in self._begun:
            source = self._begun[where]
            fate = self._end(where)
            if after:
                fate.issued += 1
                fate.unread += 1
                self._unread[where] = source
            else:
                fate.demanded += 1
        elif before and not after:
            fate = self._fate(self._unread.pop(where), where)
            fate.unread -= 1
            fate.useful += kind in _ACCESSES and outcome == Outcome.HIT
            fate.late += kind in _ACCESSES and outcome == Outcome.MISS
            fate.met += kind in _REPLAYS
            fate.unused += kind == SlotKind.EVICT

    def _fate(self, source, where):
        """The fate that a prefetch of a block counts in."""
        return (self.fates_apart if where[0] in self._apart else self.fates)[source]

    def _next(self, where):
        """Take the first of the queues; returns its source."""
        source = next(source for source in PrefetchSource if self._queues[source])
        first = self._queues[source].popleft()
        if first != where:
            raise ValueError(f"head, block {where} must be the first prefetch in the queues, {first}")
        return source

    def _end(self, where):
        """The open prefetch of a block waits no more; returns the fate to count it in."""
        fate = self._fate(self._begun.pop(where), where)
        fate.waiting -= 1
        return fate
