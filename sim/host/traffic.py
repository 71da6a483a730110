"""What the host sends for a workload: hint lines, reads, writes, and what it waits for.

A step goes layer by layer. The host hints, in each of the layer's heads, the blocks that it will read; waits for the
hints' Cmp, and as long as it is told to besides; then reads them head by head, ascending, a token's K and V rows being
written, and their Cmp awaited, just before the newest block is read. The next layer needs this one's result, so it
begins when all reads have returned. A step of prefill reads all blocks of a head and then writes the chunk's tokens.
Announced by `step`, the hints of all layers come first; with `none`, one header without blocks moves the step.

Where there are weights, a step of their own writes them first; then each layer reads its weights before it hints what
its heads will read. Where streams are on, the host describes what it knows to come (`sim.host.descriptors`).
"""

import random

import numpy as np

from kv_endpoint.golden.common.config import HEAD_DIM, LINE_BYTES, LINES_PER_BLOCK
from kv_endpoint.golden.front.address import encode
from kv_endpoint.golden.front.hints import relative_mass
from kv_endpoint.golden.host.operations import fence_all, fence_writes, read, read_shared, wait, write
from kv_endpoint.sim.host.descriptors import Descriptors
from kv_endpoint.sim.host.hint_lines import hint_lines
from kv_endpoint.sim.host.weight_traffic import WeightReads, load_weights
from kv_endpoint.sim.settings import PREFETCH

__all__ = ["FIRST_STEP", "first_step", "lines_of_read", "lines_of_row", "traffic"]

#: header of a run's first step: not 0, so that it differs from a step counter that no hint has loaded
FIRST_STEP = 1
LINE_VALUES = LINE_BYTES // 2
ROW_LINES = HEAD_DIM // LINE_VALUES
PLANE_LINES = LINES_PER_BLOCK // 2


def first_step(weights):
    """Header of the workload's first step: the one before it writes the weights."""
    return FIRST_STEP + (weights is not None)


def lines_of_read(count, step):
    """The lines that one read of a block fetches: spread evenly, and moved by a line each step so that all are read."""
    gap = LINES_PER_BLOCK // count
    return [i * LINES_PER_BLOCK // count + step % gap for i in range(count)]


def lines_of_row(token, plane):
    """Lines of a block that hold row `token` (0 .. 15) of plane 0 (K) or 1 (V)."""
    first = plane * PLANE_LINES + token * ROW_LINES
    return range(first, first + ROW_LINES)


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
        yield from hint_lines(self._config, self._region, head, header, entries)

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
    """[(hints, layer)] of a step: what is hinted at once, and the layer that is read after it."""
    if announce == "layer":
        return [(layer.hints, layer) for layer in step.layers]
    first = [hint for layer in step.layers for hint in layer.hints] if announce == "step" else ()
    return [(() if i else first, layer) for i, layer in enumerate(step.layers)]


def traffic(workload, settings, steps, *, config, region, leap_cap, weights=None):
    """The operations of the run's first `steps` steps, in order (`golden.host.operations.Operation`).

    `region` is that of the KV cache, `weights` a `sim.workload.weights.Weights`.
    """
    host = _Host(workload, settings, config, region)
    descriptors = None
    if "streams" in PREFETCH[settings.prefetch]:
        descriptors = Descriptors(config, workload.heads, by_layer=settings.by_layer, weights=weights)
    now = None
    if weights is not None:
        now = FIRST_STEP
        yield from load_weights(config, weights, now, settings.seed)
    for step in workload.walk(settings.coverage, steps):
        header = first_step(weights) + step.number
        groups = _announced(step, settings.announce)
        # A step that begins without a hint, or lies beyond one leap, needs lines that only move the counter.
        while now is not None and header - now > leap_cap:
            now += leap_cap
            yield from host.hint(0, now)
        if not groups[0][0]:
            yield from host.hint(0, header)
            yield fence_writes()
        now = header
        reads = None
        if weights is not None:
            reads = WeightReads(config, weights, header)
            yield from reads.announce(0)
        if descriptors is not None:
            yield from descriptors.step()
        for number, (hints, layer) in enumerate(groups):
            if reads is not None:
                yield from reads.read(weights.of_part(number, len(groups)))
            if hints:
                yield from host.hints(header, hints)
                yield fence_writes()
            if descriptors is not None:
                yield from descriptors.layer(layer)
            if hints and settings.announce_lead:
                yield wait(settings.announce_lead)
            written = set()
            for access in layer.accesses:
                if access.token is not None:
                    yield from host.append(access)
                    written.add((access.head, access.block))
                    continue
                if descriptors is not None:
                    yield from descriptors.read(access)
                if (access.head, access.block) in written:
                    yield fence_writes()
                    written.clear()
                yield from host.read(step.number, access)
            yield fence_all()
