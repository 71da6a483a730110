"""What the host sends for a workload: hint lines, reads, writes, and what it waits for.

A step goes layer by layer. The host hints, in each of the layer's heads, the blocks that it will read; waits for the
hints' Cmp, and as long as it is told to besides; then reads them head by head, ascending, a token's K and V rows being
written, and their Cmp awaited, just before the newest block is read. The next layer needs this one's result, so it
begins when all reads have returned. A step of prefill reads all blocks of a head and then writes the chunk's tokens;
where streams are on, the host describes these reads first, of as many heads at once as there are descriptors.
Announced by `step`, the hints of all layers come first; with `none`, one header without blocks moves the step.
"""

import random

import numpy as np

from golden.address import encode, hint_address
from golden.config import HEAD_DIM, LINE_BYTES, LINES_PER_BLOCK
from golden.hints import ENTRIES_MAX, pack_hint, relative_mass
from sim.settings import PREFETCH
from tb.stimulus import fence_all, fence_writes, read, read_shared, register_write, wait, write

__all__ = ["FIRST_STEP", "STREAM_AHEAD", "lines_of_read", "lines_of_row", "streams", "traffic"]

#: header of the workload's first step: not 0, so that it differs from a step counter that no hint has loaded
FIRST_STEP = 1
#: blocks of a replay that may be fetched before they are read: a page takes longer than the reads of a block
STREAM_AHEAD = 8
LINE_VALUES = LINE_BYTES // 2
ROW_LINES = HEAD_DIM // LINE_VALUES
PLANE_LINES = LINES_PER_BLOCK // 2


def lines_of_read(count, step):
    """The lines that one read of a block fetches: spread evenly, and moved by a line each step so that all are read."""
    gap = LINES_PER_BLOCK // count
    return [i * LINES_PER_BLOCK // count + step % gap for i in range(count)]


def lines_of_row(token, plane):
    """Lines of a block that hold row `token` (0 .. 15) of plane 0 (K) or 1 (V)."""
    first = plane * PLANE_LINES + token * ROW_LINES
    return range(first, first + ROW_LINES)


def streams(config, replays):
    """Register writes that make as many of the replays streams as there are descriptors, and switch the others off."""
    for number in range(config.streams):
        yield register_write(f"STREAM[{number}].CTRL", ENABLED=0)
    for number, replay in enumerate(replays[: config.streams]):
        stream = f"STREAM[{number}]"
        yield register_write(f"{stream}.BASE", INDEX=replay.head * config.blocks_per_head)
        yield register_write(f"{stream}.LENGTH", COUNT=replay.blocks)
        yield register_write(f"{stream}.AHEAD", BLOCKS=STREAM_AHEAD)
        yield register_write(f"{stream}.CTRL", ENABLED=1)


class _Host:
    """The host of a run: turns hints and accesses into operations on the addresses of a region."""

    def __init__(self, workload, settings, config, region):
        self._workload = workload
        self._settings = settings
        self._config = config
        self._region = region
        self._random = np.random.default_rng(settings.seed)
        self._caches = random.Random(f"{settings.seed}/cacheable")

    def hint(self, head, header, entries=()):
        """Hint lines for blocks [(block, score)] of one head, 15 a line; one line without blocks if there are none."""
        address = hint_address(self._config, self._region, head)
        for first in range(0, max(1, len(entries)), ENTRIES_MAX):
            yield write(address, pack_hint(header, entries[first : first + ENTRIES_MAX]))

    def hints(self, header, hints):
        by_head = {}
        for hint in hints:
            score = relative_mass(hint.mass, hint.existing, self._settings.gain)
            by_head.setdefault(hint.head, []).append((hint.block, score))
        for head, entries in by_head.items():
            yield from self.hint(head, header, entries)

    def read(self, step, access):
        for line in lines_of_read(self._settings.lines_per_read, step):
            caches = self._caches.random() < self._settings.cacheable
            yield (read_shared if caches else read)(encode(self._config, self._region, access.head, access.block, line))

    def append(self, access):
        """A token's K and V rows: the trace's values, then padding from the seed to `HEAD_DIM` values."""
        rows = self._random.standard_normal((2, HEAD_DIM), np.float32).astype(np.float16)
        own = self._workload.rows(access)
        rows[:, : own.shape[1]] = own
        for plane, row in enumerate(rows):
            payload = row.tobytes()
            for i, line in enumerate(lines_of_row(access.token, plane)):
                data = int.from_bytes(payload[i * LINE_BYTES : (i + 1) * LINE_BYTES], "little")
                yield write(encode(self._config, self._region, access.head, access.block, line), data)


def _announced(step, announce):
    """[(hints, accesses, replays)] of a step: what is hinted at once, what is read after it, and what of it replays."""
    if announce == "layer":
        return [(layer.hints, layer.accesses, layer.replays) for layer in step.layers]
    first = [hint for layer in step.layers for hint in layer.hints] if announce == "step" else ()
    return [(() if i else first, layer.accesses, layer.replays) for i, layer in enumerate(step.layers)]


def traffic(workload, settings, steps, *, config, region, leap_cap):
    """The operations of the run's first `steps` steps, in order (`tb.stimulus.Operation`)."""
    host = _Host(workload, settings, config, region)
    now = None
    for step in workload.walk(settings.coverage, steps):
        header = FIRST_STEP + step.number
        groups = _announced(step, settings.announce)
        # A step that begins without a hint, or lies beyond one leap, needs lines that only move the counter.
        while now is not None and header - now > leap_cap:
            now += leap_cap
            yield from host.hint(0, now)
        if not groups[0][0]:
            yield from host.hint(0, header)
            yield fence_writes()
        now = header
        for hints, accesses, replays in groups:
            if hints:
                yield from host.hints(header, hints)
                yield fence_writes()
                if settings.announce_lead:
                    yield wait(settings.announce_lead)
            replays = list(replays) if "streams" in PREFETCH[settings.prefetch] else []
            written = set()
            for access in accesses:
                if replays and access.head == replays[0].head:
                    yield from streams(config, replays)
                    del replays[: config.streams]
                if access.token is not None:
                    yield from host.append(access)
                    written.add((access.head, access.block))
                    continue
                if (access.head, access.block) in written:
                    yield fence_writes()
                    written.clear()
                yield from host.read(step.number, access)
            yield fence_all()
