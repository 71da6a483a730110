"""The sidecar line of a frame in exact mode: per line, whether it was ever written and whether it is poisoned.

64 bytes: bit n is `written` of line n, bit 128 + n is `poisoned` of line n, the rest is 0.
"""

from golden.config import LINES_PER_BLOCK

__all__ = ["ALL_LINES", "CLEAR", "POISON", "pack", "unpack"]

#: every line of a frame, as a mask
ALL_LINES = (1 << LINES_PER_BLOCK) - 1


def pack(written, poisoned):
    """The sidecar line of two masks of lines. Raises ValueError for a mask of lines that a frame does not have."""
    for name, lines in (("written", written), ("poisoned", poisoned)):
        if not 0 <= lines <= ALL_LINES:
            raise ValueError(f"{name} must be a mask of {LINES_PER_BLOCK} lines, not {lines:#x}")
    return written | poisoned << LINES_PER_BLOCK


def unpack(row):
    """(written, poisoned) of a sidecar line."""
    return row & ALL_LINES, row >> LINES_PER_BLOCK & ALL_LINES


#: a frame of a new block
CLEAR = pack(0, 0)
#: a frame whose page, or whose sidecar line, could not be read: shows nothing of what lies in it, and says so
POISON = pack(0, ALL_LINES)
