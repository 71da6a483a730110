"""The sidecar rows of a frame, 64 bytes each: what the frame's data lines mean. `Config.sidecar_row` numbers them.

Mode exact, one row: bit n is `written` of line n (it was ever written), bit 128 + n is `poisoned` of line n, the rest
is 0. Mode mxint8, two rows, the first for lines 0 to 63: byte n is the scale of line n of that half
(`golden.data.mxint8`), of which three values need no data: never written or zero, poisoned, not finite.
"""

from kv_endpoint.golden.common.config import LINE_BYTES, LINES_PER_BLOCK
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.data.mxint8 import POISONED

__all__ = ["ALL_LINES", "CLEAR", "POISON", "pack", "unpack", "scale", "with_scale"]

#: every line of a frame, as a mask
ALL_LINES = (1 << LINES_PER_BLOCK) - 1


def pack(written, poisoned):
    """The row of mode exact of two masks of lines. Raises ValueError for a mask of lines that a frame does not have."""
    for name, lines in (("written", written), ("poisoned", poisoned)):
        if not 0 <= lines <= ALL_LINES:
            raise ValueError(f"{name} must be a mask of {LINES_PER_BLOCK} lines, not {lines:#x}")
    return written | poisoned << LINES_PER_BLOCK


def unpack(row):
    """(written, poisoned) of a row of mode exact."""
    return row & ALL_LINES, row >> LINES_PER_BLOCK & ALL_LINES


def scale(row, line):
    """The scale of line `line` of the frame, from its row of mode mxint8."""
    return row >> _scale_position(line) & 0xFF


def with_scale(row, line, value):
    """The row of mode mxint8 with another scale for line `line` of the frame."""
    position = _scale_position(line)
    return row & ~(0xFF << position) | value << position


def _scale_position(line):
    return line % LINE_BYTES * 8


#: either row of a frame of a new block, in both modes: nothing written
CLEAR = 0
#: either row of a frame whose page, or one of whose rows, could not be read: shows nothing of what lies in it, and says
#: so
POISON = {
    Mode.EXACT: pack(0, ALL_LINES),
    Mode.MXINT8: int.from_bytes(bytes([POISONED]) * LINE_BYTES, "little"),
}
