"""Hint lines: the host announces which blocks of a head a step will read, with their attention mass.

Layout of the 64 bytes, from bit 0: header {step 16, count 4, flags 12 (zero)}, then up to 15 x {block 16, score 16}; a
score is UQ0.16.
"""

from enum import IntEnum

__all__ = ["ENTRIES_MAX", "SCORE_ONE", "HeaderCheck", "pack_hint", "unpack_hint", "check_header", "relative_mass"]

ENTRIES_MAX = 15
SCORE_ONE = 0xFFFF


class HeaderCheck(IntEnum):
    """What a hint's header does."""

    #: the header is of the current step
    CURRENT = 0
    #: the header advances the step counter, or loads it (first hint after reset)
    ADVANCE = 1
    #: neither the current step nor within the leap cap: the line is dropped
    STALE = 2
    #: flags are not zero, or an entry names a block that the head cannot have: the line is dropped
    MALFORMED = 3
    #: the counter is within 2^16 of its end: sticky error, the line is dropped
    EXHAUSTED = 4


def pack_hint(step, entries, flags=0):
    """The line as an integer. `entries` is up to 15 pairs (block, score UQ0.16); `step` may be wider than 16 bits."""
    if len(entries) > ENTRIES_MAX:
        raise ValueError(f"a hint line holds at most {ENTRIES_MAX} blocks, not {len(entries)}")
    line = step & 0xFFFF | len(entries) << 16 | flags << 20
    for position, (block, score) in enumerate(entries):
        line |= (block & 0xFFFF | (score & 0xFFFF) << 16) << (32 + 32 * position)
    return line


def unpack_hint(line):
    """(step16, flags, [(block, score), ...]) of a line."""
    count = line >> 16 & 0xF
    entries = [(line >> 32 + 32 * i & 0xFFFF, line >> 48 + 32 * i & 0xFFFF) for i in range(count)]
    return line & 0xFFFF, line >> 20 & 0xFFF, entries


def check_header(config, line, now, loaded, leap_cap):
    """(HeaderCheck, step after it).

    `now` is the full step counter, `loaded` whether any hint has loaded it since reset, `leap_cap` the largest advance.
    """
    step16, flags, entries = unpack_hint(line)
    if flags or any(block >= config.blocks_per_head for block, _ in entries):
        return HeaderCheck.MALFORMED, now
    if not loaded:
        return HeaderCheck.ADVANCE, step16
    leap = (step16 - now) & 0xFFFF
    if leap == 0:
        return HeaderCheck.CURRENT, now
    if leap > leap_cap:
        return HeaderCheck.STALE, now
    if now + leap >= (1 << config.step_bits) - (1 << 16):
        return HeaderCheck.EXHAUSTED, now
    return HeaderCheck.ADVANCE, now + leap


def relative_mass(mass, blocks, gain):
    """The score that the host library sends for an attention mass: `mass x blocks / gain`, saturated (UQ0.16)."""
    return min(SCORE_ONE, int(round(float(mass) * blocks / gain * 65536)))
