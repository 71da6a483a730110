"""Misses in progress: which requests wait for which block, and what each miss still owes."""

from dataclasses import dataclass

from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.events.port import PrefetchSource
from kv_endpoint.golden.pipeline.metadata import SlotKind

__all__ = ["Request", "Miss", "Misses"]

#: what the replay of a waiting request looks like
REPLAY_OF = {SlotKind.READ: SlotKind.REPLAY_READ, SlotKind.WRITE: SlotKind.REPLAY_WRITE}


@dataclass(frozen=True, slots=True)
class Request:
    """A READ or WRITE slot that found no frame; `step` and `touch` as of its commit."""

    kind: SlotKind
    tag: int
    line: int
    step: int
    touch: bool
    access: Access = Access.PLAIN
    host: int = 0

    @property
    def write(self):
        return self.kind == SlotKind.WRITE

    @property
    def caches(self):
        """A read after which the host may hold the line."""
        return self.access.caches

    @property
    def wants_data(self):
        return self.access != Access.OWN


@dataclass(slots=True)
class Miss:
    """An open miss: what it has obtained so far.

    `write`: a write opened it; `prefetch`: a prefetch of this source did.
    """

    write: bool
    prefetch: PrefetchSource | None = None
    #: of a prefetch: its PREFETCH slot comes next; it comes to nothing, and MISS_CLOSE comes next
    unchecked: bool = False
    given_up: bool = False
    #: the block's frame, once PROMOTE or ALLOCATE has committed
    frame: int | None = None
    #: the bypass slot that the block is read through, and whether that was decided for this miss
    bypass: object = None
    decided: bool = False
    #: tag of the page read in progress
    page_tag: int | None = None
    #: the page has arrived in `frame`, and FILL has committed since
    page_read: bool = False
    filled: bool = False
    #: requests replayed or answered
    served: int = 0


class Misses:
    """Waiting requests by (head, block), and the misses opened for them.

    A request waits from its slot's commit; its block's miss may be open already. A miss closes when the miss engine has
    served all it knows of: a request that committed just before waits for the next miss of the block.

    A prefetch opens a miss that nobody waits for. As soon as a request does, it is a miss of demand like any other.
    """

    def __init__(self, config):
        self._config = config
        self.waiting = {}
        self.open = {}

    def missed(self, where, request):
        self.waiting.setdefault(where, []).append(request)

    def opened(self, where, write):
        """MISS_OPEN."""
        if where in self.open:
            raise Mismatch("kind", "no second miss of an open one", "MISS_OPEN")
        if not self.waits(where, write):
            raise Mismatch("aux", "a request of this kind that waits for the block", int(write))
        slots = self._config.miss_slots
        if len(self.open) >= slots:
            raise Mismatch("kind", f"at most {slots} open misses", "MISS_OPEN")
        if not write and self._not_by_writes >= self._slots_for_reads:
            raise Mismatch("kind", f"at most {self._slots_for_reads} misses opened by reads", "MISS_OPEN")
        self.open[where] = Miss(write)

    def opened_by_prefetch(self, where, source):
        """MISS_OPEN of a prefetch, which leaves a miss slot to reads."""
        if where in self.open:
            raise Mismatch("kind", "PREFETCH_DROPPED MISSED", "MISS_OPEN")
        slots = self._config.prefetch_slots
        if sum(miss.prefetch is not None for miss in self.open.values()) >= slots:
            raise Mismatch("kind", f"at most {slots} misses opened by prefetches", "MISS_OPEN")
        slots = self._slots_for_reads - 1
        if self._not_by_writes >= slots:
            raise Mismatch("kind", f"a prefetch only while fewer than {slots} misses are not of writes", "MISS_OPEN")
        self.open[where] = Miss(write=False, prefetch=source, unchecked=True)

    def checked(self, where, cold):
        """PREFETCH: the block of a prefetch is cold, or there is nothing to fetch."""
        miss = self.open.get(where)
        if miss is None or not miss.unchecked:
            raise Mismatch("kind", "MISS_OPEN of a prefetch", "PREFETCH")
        miss.unchecked, miss.given_up = False, not cold

    def closed(self, where):
        """MISS_CLOSE."""
        miss = self.open.get(where)
        if miss is None or not miss.given_up:
            miss = self.of(where)
        if miss.page_tag is not None:
            raise Mismatch("kind", "PAGE_READ_DONE before the miss closes", "MISS_CLOSE")
        ended = miss.given_up or (miss.prefetch is not None and miss.filled)
        if not miss.served and not ended:
            raise Mismatch("kind", "a replay before the miss closes", "MISS_CLOSE")
        if miss.bypass is not None:
            miss.bypass.busy = False
        del self.open[where]

    def of(self, where):
        """The open miss of a block, which has more to come than its PREFETCH or its end."""
        if where not in self.open:
            raise Mismatch("block", "a block with an open miss", where[1])
        miss = self.open[where]
        if miss.unchecked or miss.given_up:
            next_kind = "PREFETCH" if miss.unchecked else "MISS_CLOSE"
            raise Mismatch("kind", f"{next_kind} of this block's miss", "something else of it")
        return miss

    @property
    def may_be_granted(self):
        """Waiting reads that will ask the snoop filter."""
        requests = (request for waiting in self.waiting.values() for request in waiting)
        return sum(bool(request.access) and not request.write for request in requests)

    @property
    def _slots_for_reads(self):
        return self._config.miss_slots - self._config.miss_slots_for_writes

    @property
    def _not_by_writes(self):
        """Open misses that no write has opened."""
        return sum(not miss.write for miss in self.open.values())

    def waits(self, where, write, caches=None):
        """Whether a write, or a read, waits for the block; `caches`: only one that may be cached, or may not."""
        return any(
            request.write == write and caches in (None, request.caches) for request in self.waiting.get(where, ())
        )

    def served(self, where, kind, **told):
        """A request of `kind` (READ or WRITE) was replayed or answered; `told`: what the record says of it, its tag
        first (fields of `Request`).
        """
        requests = self.waiting.get(where, ())
        found = [request for request in requests if request.kind == kind and request.tag == told["tag"]]
        if not found:
            tags = sorted(request.tag for request in requests if request.kind == kind)
            raise Mismatch("tag", f"a waiting {kind.name}: one of {tags}", told["tag"])
        for name, seen in told.items():
            same = [request for request in found if getattr(request, name) == seen]
            if not same:
                raise Mismatch(name, getattr(found[0], name), seen)
            found = same
        requests.remove(found[0])
        if not requests:
            del self.waiting[where]
        if where in self.open:
            self.open[where].served += 1

    def owed(self):
        """(head, block, what) of everything that has to come yet."""
        for where, requests in self.waiting.items():
            for request in requests:
                yield *where, f"{REPLAY_OF[request.kind].name} of tag {request.tag}"
        for where in self.open:
            yield *where, "MISS_CLOSE"
