"""Prefetches: which blocks the three sources ask for, which of them wait, and in which order they are taken.

What is asked for is noted (PREFETCH_QUEUED, PREFETCH_DROPPED), and the state changes with the note. So the queues are
followed exactly. Of the candidates, ANNOUNCED ones are owed one by one; WINDOW and STREAM ones may be passed over,
since the RTL looks for cold blocks only, in a table read some clocks earlier, and forgets the oldest of many touches.
"""

from collections import Counter, deque

from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.events.port import EngineKind, PrefetchDrop, PrefetchSource
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind, State
from kv_endpoint.golden.prefetch.descriptors import DescriptorCourses
from kv_endpoint.golden.prefetch.window import HeadWindow, neighbours

__all__ = ["TOUCH_DEPTH", "Prefetcher"]

#: touches whose neighbours are still to be looked at; one more, and the oldest is forgotten
TOUCH_DEPTH = 8


class Prefetcher:
    """The prefetch unit: follows commits and notes, and says what may be noted.

    `where` is (head, block), `source` a `golden.events.port.PrefetchSource`. A `Mismatch` raised here has no place yet.

    Parameters
    ----------
    config : Config
    """

    def __init__(self, config):
        self._config = config
        self._queues = {source: deque() for source in PrefetchSource}
        self._announced = deque()
        self._windows = [HeadWindow() for _ in range(config.heads)]
        #: how often the touches so far have asked for a block, less its WINDOW notes
        self._asked = Counter()
        self._touches = deque(maxlen=TOUCH_DEPTH)
        self._streams = DescriptorCourses(config)

    # What makes candidates --------------------------------------------------------------------------------------------

    def set_registers(self, streams, policy):
        """The stream and policy registers as they are now: at first, and after each CSR_WRITE.

        A stream starts at its first block when it becomes enabled.
        """
        self._streams.set_registers(streams, policy.prefetch_streams)

    def observe(self, slot, before, result, *, now, policy, decode):
        """A slot has committed.

        `before` is the entry before it, `result` its `golden.pipeline.metadata.Commit`; `decode`: its region is in
        that phase.
        """
        kind = slot.kind
        if kind == SlotKind.ANSWER:
            return
        where, window = (slot.head, slot.block), self._windows[slot.head]
        window.learn(slot, before, result.outcome, now)
        if kind == SlotKind.HINT:
            if result.outcome == Outcome.DONE and before.state == State.COLD and policy.prefetch_announced:
                self._announced.append(where)
        elif result.touch:
            self._streams.touched(self._index(where))
            if policy.prefetch_window and decode:
                near = [(slot.head, block) for block in self._neighbours(slot.block, window.touch())]
                if near:
                    self._touches.append(deque(near))
                    self._asked.update(near)

    def window(self, head):
        """Blocks on each side of a touched one that the head asks for."""
        return self._windows[head].window

    def positions(self):
        """For each stream, the blocks that it has asked for or passed over since it was enabled."""
        return self._streams.positions()

    def owed(self):
        """(head, block, what) of everything that has to come yet."""
        for where in self._announced:
            yield *where, EngineKind.PREFETCH_QUEUED.name

    # The queues -------------------------------------------------------------------------------------------------------

    def drop_reason(self, where, source):
        """Why a candidate cannot wait now (`PrefetchDrop`), or None: it can."""
        if any(where in queue for queue in self._queues.values()):
            return PrefetchDrop.DUPLICATE
        if len(self._queues[source]) >= self._config.prefetch_queue_depth:
            return PrefetchDrop.FULL
        return None

    def queued(self, where, source):
        """PREFETCH_QUEUED."""
        self._noted(where, source, None)
        self._queues[source].append(where)

    def dropped(self, where, source, reason):
        """PREFETCH_DROPPED with DUPLICATE or FULL (`PrefetchDrop`), which tell of a candidate."""
        self._noted(where, source, reason)

    def first(self):
        """(where, source) of the prefetch whose turn it is, or None."""
        for source, queue in self._queues.items():
            if queue:
                return queue[0], source
        return None

    def take(self, where):
        """The prefetch whose turn it is leaves its queue: a miss is opened for it, or it is dropped."""
        first = self.first()
        if first is None:
            raise Mismatch("kind", "no prefetch while none waits", "that of a prefetch")
        expected, source = first
        for name, value, seen in zip(("head", "block"), expected, where, strict=True):
            if value != seen:
                raise Mismatch(name, value, seen)
        self._queues[source].popleft()

    # Without hardware -------------------------------------------------------------------------------------------------

    def candidate(self, entry):
        """(where, source) of what is noted next when nothing takes time, or None; `drop_reason` says how it is noted.

        `entry(where)` is the metadata entry of a block. The caller notes each candidate before it asks for the next.
        """
        if self._announced:
            return self._announced[0], PrefetchSource.ANNOUNCED
        while self._touches:
            near = self._touches[0]
            while near:
                where = near.popleft()
                if entry(where).state == State.COLD:
                    return where, PrefetchSource.WINDOW
            self._touches.popleft()
        if len(self._queues[PrefetchSource.STREAM]) >= self._config.prefetch_queue_depth:
            return None
        index = self._streams.candidate(lambda index: entry(self._where(index)).state)
        return None if index is None else (self._where(index), PrefetchSource.STREAM)

    # ------------------------------------------------------------------------------------------------------------------

    def _index(self, where):
        return where[0] * self._config.blocks_per_head + where[1]

    def _where(self, index):
        return divmod(index, self._config.blocks_per_head)

    def _neighbours(self, block, window):
        return neighbours(block, window, self._config.blocks_per_head)

    def _noted(self, where, source, reason):
        """A candidate was noted, with `reason` if it was dropped."""
        drop = self.drop_reason(where, source)
        if drop != reason:
            raise Mismatch("kind", _name(drop), _name(reason))
        if source == PrefetchSource.ANNOUNCED:
            if not self._announced:
                raise Mismatch("aux", "no more announced blocks than hints have found cold", source.name)
            for name, expected, seen in zip(("head", "block"), self._announced[0], where, strict=True):
                if expected != seen:
                    raise Mismatch(name, expected, seen)
            self._announced.popleft()
        elif source == PrefetchSource.WINDOW:
            if not self._asked[where]:
                raise Mismatch("block", "a block that a touch near it has asked for", where[1])
            self._asked[where] -= 1
        else:
            if reason == PrefetchDrop.FULL:
                raise Mismatch("aux", "no stream candidate before there is room", reason.name)
            if not self._streams.asked(self._index(where)):
                raise Mismatch("block", "a block of a stream, not far ahead of its touches", where[1])


def _name(drop):
    if drop is None:
        return EngineKind.PREFETCH_QUEUED.name
    return f"{EngineKind.PREFETCH_DROPPED.name} {drop.name}"
