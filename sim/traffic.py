"""What the host sends for a workload: hint lines, reads, writes, and what it waits for.

A step goes layer by layer. The host hints, in each of the layer's heads, the blocks that it will read; waits for the
hints' Cmp; then reads them head by head, ascending, a token's K and V rows being written, and their Cmp awaited, just
before the newest block is read. The next layer needs this one's result, so it begins when all reads have returned.
Announced by `step`, the hints of all layers come first; with `none`, one header without blocks moves the step.
"""

from collections import namedtuple
from enum import IntEnum

import numpy as np

from golden.config import HEAD_DIM, LINE_BYTES, LINES_PER_BLOCK
from golden.hints import ENTRIES_MAX, pack_hint, relative_mass

__all__ = ["FIRST_STEP", "Kind", "Operation", "lines_of_read", "lines_of_row", "traffic"]

#: header of the workload's first step: not 0, so that it differs from a step counter that no hint has loaded
FIRST_STEP = 1
LINE_VALUES = LINE_BYTES // 2
ROW_LINES = HEAD_DIM // LINE_VALUES
PLANE_LINES = LINES_PER_BLOCK // 2


class Kind(IntEnum):
    """What the host does next."""

    #: a hint line of `head`; `data` is the line
    HINT = 0
    #: a MemWr of `data` to a line
    WRITE = 1
    #: a MemRd of a line; `data` is what it must return
    READ = 2
    #: wait until every hint and write is completed, or until every read has returned
    FENCE_WRITES = 3
    FENCE_READS = 4


Operation = namedtuple("Operation", "kind step head block line data", defaults=(0, 0, 0, 0))
Operation.__doc__ = "One thing that the host does; `step` counts the workload's steps from 0, `data` is 512 bits."


def lines_of_read(count, step):
    """The lines that one read of a block fetches: spread evenly, and moved by a line each step so that all are read."""
    gap = LINES_PER_BLOCK // count
    return [i * LINES_PER_BLOCK // count + step % gap for i in range(count)]


def lines_of_row(token, plane):
    """Lines of a block that hold row `token` (0 .. 15) of plane 0 (K) or 1 (V)."""
    first = plane * PLANE_LINES + token * ROW_LINES
    return range(first, first + ROW_LINES)


def _hint_lines(step, header, hints, gain):
    """Hint lines for consecutive hints of one head each, 15 blocks a line."""
    by_head = {}
    for hint in hints:
        score = relative_mass(hint.mass, hint.existing, gain)
        by_head.setdefault(hint.head, []).append((hint.block, score))
    for head, entries in by_head.items():
        for first in range(0, len(entries), ENTRIES_MAX):
            line = pack_hint(header, entries[first : first + ENTRIES_MAX])
            yield Operation(Kind.HINT, step, head, data=line)


def _headers(now, header, step, leap_cap):
    """Hint lines without blocks that bring the step counter from `now` to `header`."""
    while now is not None and header - now > leap_cap:
        now += leap_cap
        yield Operation(Kind.HINT, step, data=pack_hint(now, []))
    yield Operation(Kind.HINT, step, data=pack_hint(header, []))


class _Memory:
    """What every line must hold, and the payload that makes it so."""

    def __init__(self, workload, seed):
        self._workload = workload
        self._random = np.random.default_rng(seed)
        self._lines = {}

    def write(self, step, access):
        """[(line, data)] of a token's K and V rows: the trace's values, then padding to `HEAD_DIM` values."""
        rows = self._random.standard_normal((2, HEAD_DIM), np.float32).astype(np.float16)
        own = self._workload.rows(step, access)
        rows[:, : own.shape[1]] = own
        written = []
        for plane, row in enumerate(rows):
            payload = row.tobytes()
            for i, line in enumerate(lines_of_row(access.token, plane)):
                data = int.from_bytes(payload[i * LINE_BYTES : (i + 1) * LINE_BYTES], "little")
                self._lines[access.head, access.block, line] = data
                written.append((line, data))
        return written

    def read(self, access, line):
        """The line's data; a line never written holds zeros."""
        return self._lines.get((access.head, access.block, line), 0)


def traffic(workload, settings, steps, leap_cap):
    """Every operation of the run's first `steps` steps, in order."""
    memory = _Memory(workload, settings.seed)
    now = None
    for step in workload.walk(settings.coverage, steps):
        header = FIRST_STEP + step.number
        layers = [(layer.hints, layer.accesses) for layer in step.layers]
        if settings.announce == "step":
            hints = [hint for hints, _ in layers for hint in hints]
            layers = [(hints if i == 0 else (), accesses) for i, (_, accesses) in enumerate(layers)]
        elif settings.announce == "none":
            layers = [((), accesses) for _, accesses in layers]
        far = now is not None and header - now > leap_cap
        if far or not layers[0][0]:
            yield from _headers(now, header, step.number, leap_cap)
            yield Operation(Kind.FENCE_WRITES, step.number)
        now = header
        for hints, accesses in layers:
            if hints:
                yield from _hint_lines(step.number, header, hints, settings.gain)
                yield Operation(Kind.FENCE_WRITES, step.number)
            for access in accesses:
                where = step.number, access.head, access.block
                if access.token is None:
                    for line in lines_of_read(settings.lines_per_read, step.number):
                        yield Operation(Kind.READ, *where, line, memory.read(access, line))
                else:
                    for line, data in memory.write(step.number, access):
                        yield Operation(Kind.WRITE, *where, line, data)
                    yield Operation(Kind.FENCE_WRITES, step.number)
            yield Operation(Kind.FENCE_READS, step.number)
