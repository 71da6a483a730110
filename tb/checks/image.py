"""What memory must hold, as the host sees it: the end-to-end data check of both forms of simulation.

Each line is a register that reads and writes of other messages may overlap in time. A read may return any contents
that the line can have had between the read's issue and its response; a write takes effect at one moment between its
issue and its completion. Contents are a line's data, or poison. In mode mxint8 a line's data is what it reads as after
it was stored: each write, of a whole line or of some of its bytes, ends with compressing.
"""

from dataclasses import dataclass, field
from functools import lru_cache

from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.data.mxint8 import compress, decompress
from kv_endpoint.golden.host.operations import FULL
from kv_endpoint.tb.stimuli.stimulus import WRITES_MAX

__all__ = ["DataMismatch", "Image", "LineWrite", "POISON", "spread", "text_of"]

#: contents of a poisoned line
POISON = None


class DataMismatch(AssertionError):
    """A read returned what the line never held."""


def spread(be):
    """Bit mask of the byte enables."""
    mask = 0
    for byte in range(64):
        if be >> byte & 1:
            mask |= 0xFF << 8 * byte
    return mask


@lru_cache(maxsize=1 << 12)
def _stored(data, mode):
    """What a line reads as after `data` was stored in it."""
    return decompress(*compress(data)) if mode == Mode.MXINT8 else data


@dataclass(frozen=True)
class LineWrite:
    """A write of a line, or of the bytes `be` of it."""

    data: int
    be: int = FULL
    poison: bool = False
    mode: Mode = Mode.EXACT

    def applied(self, contents):
        """What the line holds afterwards."""
        if self.poison:
            return POISON
        if self.be == FULL:
            return _stored(self.data, self.mode)
        if contents is POISON:
            # Bytes that the write leaves are still unknown.
            return POISON
        mask = spread(self.be)
        return _stored(contents & ~mask | self.data & mask, self.mode)


@dataclass
class _Line:
    #: {(contents, tags of the open writes that are in it)}: everything the line may be now
    states: set
    writes: dict = field(default_factory=dict)
    #: tag of a read in progress -> contents it may return
    reads: dict = field(default_factory=dict)

    def grow(self):
        """Let every open write take effect in every state that it is not part of yet."""
        fresh = list(self.states)
        while fresh:
            contents, seen = fresh.pop()
            for tag, write in self.writes.items():
                if tag not in seen:
                    state = (write.applied(contents), seen | {tag})
                    if state not in self.states:
                        self.states.add(state)
                        fresh.append(state)
        for allowed in self.reads.values():
            allowed.update(contents for contents, _ in self.states)


class Image:
    """The memory that the host expects. Lines that were never written hold zero. `mode` is that of a line's region.

    `poison_allowed`: accept poison anywhere, for tests that inject errors the host cannot foresee.
    """

    def __init__(self, *, poison_allowed=False):
        #: lines with a message in flight or with more than one possible contents; all others by their contents
        self._lines = {}
        self._settled = {}
        self._poison_allowed = poison_allowed
        #: reads whose data was checked
        self.checked = 0

    def _line(self, address):
        if address not in self._lines:
            self._lines[address] = _Line({(self._settled.pop(address, 0), frozenset())})
        return self._lines[address]

    def _settle(self, address):
        line = self._lines[address]
        if not line.writes and not line.reads and len(line.states) == 1:
            del self._lines[address]
            ((self._settled[address], _),) = line.states

    def write_issued(self, tag, address, data, be=FULL, poison=False, mode=Mode.EXACT):
        """Raises ValueError when more than `WRITES_MAX` writes of one line are open."""
        line = self._line(address)
        if len(line.writes) >= WRITES_MAX:
            raise ValueError(f"line {address:#x}: at most {WRITES_MAX} writes of a line may be open")
        line.writes[tag] = LineWrite(data, be, poison, mode)
        line.grow()

    def write_done(self, tag, address):
        line = self._line(address)
        del line.writes[tag]
        line.states = {(contents, seen - {tag}) for contents, seen in line.states if tag in seen}
        self._settle(address)

    def read_issued(self, tag, address):
        line = self._line(address)
        line.reads[tag] = set()
        line.grow()

    def read_cancelled(self, tag, address):
        """The read got no data."""
        del self._line(address).reads[tag]
        self._settle(address)

    def read_done(self, tag, address, data, poison, mode=Mode.EXACT):
        """Raises `DataMismatch` for contents that the line cannot have had; in mode mxint8 poison comes with zeros."""
        allowed = self._line(address).reads.pop(tag)
        self._settle(address)
        self.checked += 1
        if poison and self._poison_allowed:
            return
        seen = POISON if poison else data
        if poison and mode == Mode.MXINT8 and data:
            raise DataMismatch(f"read tag {tag} of line {address:#x}: poison of mode mxint8 came with {data:#x}")
        if seen not in allowed:
            raise DataMismatch(
                f"read tag {tag} of line {address:#x}: seen {text_of(seen)}, "
                f"expected {' or '.join(sorted(map(text_of, allowed)))}"
            )


def text_of(contents):
    """The contents of a line in a message."""
    return "poison" if contents is POISON else f"{contents:#x}"
