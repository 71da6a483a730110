"""What the frames hold: the data and the poison that a read of a line returns, after everything done before it.

`hw/data/datapath.py` computes the same through memory and sidecar cache, one operation a clock.
"""

from kv_endpoint.golden.common.config import LINE_BYTES
from kv_endpoint.golden.common.mode import FRAMES, Mode
from kv_endpoint.golden.data import mxint8, sidecar

__all__ = ["ALL_BYTES", "ALL_ONES", "Frames", "Mxint8Frames", "byte_mask"]

#: byte enables of a full write
ALL_BYTES = (1 << LINE_BYTES) - 1
#: data of MemData-NXM
ALL_ONES = (1 << 8 * LINE_BYTES) - 1


def byte_mask(be):
    """The bits of the bytes that `be` enables."""
    return sum(0xFF << 8 * byte for byte in range(LINE_BYTES) if be >> byte & 1)


class Frames:
    """Frames of mode exact.

    `background(frame, line)` is what memory holds before its first write: it shows only where a sidecar row says so.
    """

    def __init__(self, background=lambda frame, line: 0):
        self._background = background
        self._memory = {}
        self._rows = {}

    def clear(self, frame):
        """The frame has a new owner: no line written, none poisoned. Its memory stays as it is."""
        self._rows[frame] = sidecar.CLEAR

    def poison(self, frame):
        """The page meant for the frame, or its sidecar row, could not be read."""
        self._rows[frame] = sidecar.POISON[Mode.EXACT]

    def row(self, frame):
        """The sidecar row (`golden.data.sidecar`)."""
        return self._rows.get(frame, sidecar.CLEAR)

    def write(self, frame, line, data, be=ALL_BYTES, poison=False, failed=False):
        """Write the enabled bytes.

        The first write of a line writes all of it, zeros where not enabled. A full write sets the line's poison to its
        own, a partial one adds its own. `failed`: memory reported an error, so the line is poisoned, nobody knows what
        memory holds now, and a line never written before counts as not written still.
        """
        written, poisoned = sidecar.unpack(self.row(frame))
        here, mask = 1 << line, byte_mask(be)
        old = self._stored(frame, line) if written & here else 0
        if failed or (old is None and be != ALL_BYTES):
            self._memory[frame, line] = None
        else:
            self._memory[frame, line] = data & mask | (old & ~mask if old else 0)
        if be == ALL_BYTES:
            poisoned &= ~here
        if poison or failed:
            poisoned |= here
        if not failed:
            written |= here
        self._rows[frame] = sidecar.pack(written, poisoned)

    def read(self, frame, line):
        """(data, poison) of a line; data None if a failed write left it unknown."""
        written, poisoned = sidecar.unpack(self.row(frame))
        data = self._stored(frame, line) if written >> line & 1 else 0
        return data, bool(poisoned >> line & 1)

    def asks_memory(self, frame, line):
        """Whether a read of the line needs what memory holds."""
        written, _ = sidecar.unpack(self.row(frame))
        return bool(written >> line & 1)

    def _stored(self, frame, line):
        if (frame, line) not in self._memory:
            return self._background(frame, line)
        return self._memory[frame, line]


class Mxint8Frames:
    """Frames of mode mxint8: what is read is what `golden.data.mxint8` makes of what was written."""

    def __init__(self):
        self._rows = {}
        self._elements = {}

    def clear(self, frame):
        """The frame has a new owner: no line written, none poisoned."""
        self.set_rows(frame, [sidecar.CLEAR] * FRAMES[Mode.MXINT8].sidecar_rows)

    def poison(self, frame):
        """The page meant for the frame, or one of its sidecar rows, could not be read."""
        self.set_rows(frame, [sidecar.POISON[Mode.MXINT8]] * FRAMES[Mode.MXINT8].sidecar_rows)

    def rows(self, frame):
        """The sidecar rows (`golden.data.sidecar`)."""
        return tuple(self._rows[frame])

    def set_rows(self, frame, rows):
        """The sidecar rows as they came with a page."""
        self._rows[frame] = list(rows)

    def elements(self, frame, line):
        """The half of a DDR5 line that holds a line, as the last write left it; 0 if there was none."""
        return self._elements.get((frame, line), 0)

    def write(self, frame, line, data, be=ALL_BYTES, poison=False, failed=False, unreadable=False):
        """Write the enabled bytes: compress the line as it reads with them in it.

        A full write decides alone; a partial one leaves a poisoned line poisoned. `failed`: memory reported an error
        for the write; `unreadable`: for the read that a partial write of a line with elements needs. Both poison it.
        """
        if be != ALL_BYTES:
            old, poisoned = self.read(frame, line)
            poison |= poisoned | (unreadable and self.asks_memory(frame, line))
            mask = byte_mask(be)
            data = data & mask | old & ~mask
        scale, self._elements[frame, line] = mxint8.compress(data)
        rows, half = self._rows[frame], line // LINE_BYTES
        rows[half] = sidecar.with_scale(rows[half], line, mxint8.POISONED if poison or failed else scale)

    def read(self, frame, line):
        """(data, poison) of a line."""
        scale = self._scale(frame, line)
        if scale == mxint8.POISONED:
            return 0, True
        return mxint8.decompress(scale, self.elements(frame, line)), False

    def asks_memory(self, frame, line):
        """Whether a read of the line needs its elements."""
        return self._scale(frame, line) not in (mxint8.ZERO, mxint8.POISONED, mxint8.NOT_FINITE)

    def _scale(self, frame, line):
        return sidecar.scale(self._rows[frame][line // LINE_BYTES], line)
