"""Misses in progress: which requests wait for which block, and what each miss still owes."""

from dataclasses import dataclass

from golden.metadata import SlotKind
from golden.mismatch import Mismatch

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

    @property
    def write(self):
        return self.kind == SlotKind.WRITE


@dataclass(slots=True)
class Miss:
    """An open miss: what it has obtained so far. `write`: a write opened it."""

    write: bool
    #: the block's frame, once PROMOTE or ALLOCATE has committed
    frame: int | None = None
    #: the bypass slot that the block is read through, and whether that was decided for this miss
    bypass: object = None
    decided: bool = False
    #: tag of the page read in progress
    page_tag: int | None = None
    #: the page has arrived in `frame`
    page_read: bool = False
    #: requests replayed or answered
    served: int = 0


class Misses:
    """Waiting requests by (head, block), and the misses opened for them.

    A request waits from its slot's commit; its block's miss may be open already. A miss closes when the miss engine has
    served all it knows of: a request that committed just before waits for the next miss of the block.
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
        slots -= self._config.miss_slots_for_writes
        if not write and sum(not miss.write for miss in self.open.values()) >= slots:
            raise Mismatch("kind", f"at most {slots} misses opened by reads", "MISS_OPEN")
        self.open[where] = Miss(write)

    def closed(self, where):
        """MISS_CLOSE."""
        miss = self.of(where)
        if miss.page_tag is not None:
            raise Mismatch("kind", "PAGE_READ_DONE before the miss closes", "MISS_CLOSE")
        if not miss.served:
            raise Mismatch("kind", "a replay before the miss closes", "MISS_CLOSE")
        if miss.bypass is not None:
            miss.bypass.busy = False
        del self.open[where]

    def of(self, where):
        """The open miss of a block."""
        if where not in self.open:
            raise Mismatch("block", "a block with an open miss", where[1])
        return self.open[where]

    def waits(self, where, write):
        """Whether a write, or a read, waits for the block."""
        return any(request.write == write for request in self.waiting.get(where, ()))

    def served(self, where, kind, tag, line):
        """A request of `kind` (READ or WRITE) was replayed or answered; `line` None if the record does not say."""
        requests = self.waiting.get(where, ())
        found = [request for request in requests if request.kind == kind and request.tag == tag]
        if not found:
            tags = sorted(request.tag for request in requests if request.kind == kind)
            raise Mismatch("tag", f"a waiting {kind.name}: one of {tags}", tag)
        request = next((request for request in found if line in (None, request.line)), None)
        if request is None:
            raise Mismatch("line", found[0].line, line)
        requests.remove(request)
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
