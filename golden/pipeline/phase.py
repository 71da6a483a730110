"""Prefill or decode: what the host does with each region, from its reads and writes alone.

The accesses of a region are counted in windows of 2^`phase_window`. At the end of each the detector says what it sees:

- **Burst test** (`phase_burst`). A token of decode is 8 lines of a block; a chunk of prefill fills blocks of 128 lines.
  So `phase_burst_lines` lines written to one block in one step show prefill, and a step in which the region was written
  and no block got as many shows decode. The newest of these signs is what is sensed, through any number of windows of
  reads alone: chunked prefill reads the whole prefix again between its bursts.
- **Ratio rule**, without the test, and with it until the first sign. A region in prefill is in decode once a window has
  reads >= `phase_ratio` x writes; one in decode is in prefill once 2 x reads < `phase_ratio` x writes. The factor of
  two is the hysteresis: a window cuts through bursts of writes, so that a steady stream has windows on both sides of
  one threshold.

A sensed phase other than the noted one is owed a PHASE note, which cannot be taken back; the phase changes at the
note. What windows say while the note waits decides whether another one is owed after it.

The lines of a block are counted while it is among the `BURST_BLOCKS` newest blocks of the step, so writes may go in
turns to as many blocks; spread line by line over more, they are no burst. A line that is written again counts again.
A step that has both bursts and single tokens (prefill and decode in one batch) shows prefill.
"""

from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.events.port import EngineKind, Phase

__all__ = ["BURST_BLOCKS", "COUNT_MAX", "Phases", "RegionPhase"]

#: blocks of a region whose written lines are counted at once: a host may write the KV heads of a layer, 8 in models of
#: the present size, in turns
BURST_BLOCKS = 8
#: where the count of a block's lines stops
COUNT_MAX = 255


class RegionPhase:
    """The detector of one region, as after reset.

    Attributes
    ----------
    phase : Phase
        As noted last.
    sensed : Phase
        Of the last window.
    owed : bool
        A PHASE note with the other phase has to come.
    """

    def __init__(self):
        self.phase = self.sensed = Phase.DECODE
        self.owed = False
        #: the newest sign of the burst test
        self._sign = None
        #: of this step: (head, block) -> lines written, oldest first; whether any was written, whether one was a burst
        self._step = 0
        self._lines = {}
        self._written = self._burst = False
        #: of this window; `weight` is the sum of the ratio over its writes
        self._accesses = self._reads = self._weight = 0

    def access(self, where, write, now, policy, count=1):
        """A READ or WRITE slot of block `where` commits at step `now`, or `count` of them in a row."""
        if now != self._step:
            self._end_step(now)
        size = 1 << policy.phase_window
        while count:
            # The window may have become smaller meanwhile: it has at least one access more.
            taken = max(1, min(count, size - self._accesses))
            count -= taken
            self._accesses += taken
            if write:
                self._write(where, taken, policy.phase_burst_lines)
                self._weight += taken * policy.phase_ratio
            else:
                self._reads += taken
            if self._accesses >= size:
                self._end_window(policy)

    def noted(self):
        """The owed note has come."""
        self.phase = Phase(1 - self.phase)
        self.owed = self.sensed != self.phase

    def _end_step(self, now):
        if self._written and not self._burst:
            self._sign = Phase.DECODE
        self._step = now
        self._lines.clear()
        self._written = self._burst = False

    def _write(self, where, count, burst_lines):
        self._written = True
        lines = self._lines
        if where not in lines and len(lines) == BURST_BLOCKS:
            del lines[next(iter(lines))]
        lines[where] = min(COUNT_MAX, lines.get(where, 0) + count)
        if lines[where] >= burst_lines:
            self._burst = True
            self._sign = Phase.PREFILL

    def _end_window(self, policy):
        if policy.phase_burst and self._sign is not None:
            self.sensed = self._sign
        elif self.sensed == Phase.PREFILL:
            if self._reads >= self._weight:
                self.sensed = Phase.DECODE
        elif 2 * self._reads < self._weight:
            self.sensed = Phase.PREFILL
        self._accesses = self._reads = self._weight = 0
        self.owed = self.owed or self.sensed != self.phase


class Phases:
    """The detectors of all regions. A region keeps its detector's state when it is moved or switched off."""

    def __init__(self, config):
        self.detectors = tuple(RegionPhase() for _ in range(config.regions))

    def access(self, where, write, now, policy, regions):
        """A READ or WRITE slot of block `where` (head, block) commits."""
        detector = self._of(where[0], regions)
        if detector is not None:
            detector.access(where, write, now, policy)

    def in_decode(self, head, regions):
        """Whether the head's region is in decode."""
        detector = self._of(head, regions)
        return detector is not None and detector.phase == Phase.DECODE

    def note(self, record):
        """PHASE. Raises Mismatch if it is not owed."""
        number, phase = record["key"], record["aux"]
        if not 0 <= number < len(self.detectors):
            raise Mismatch("key", f"a region, 0 to {len(self.detectors) - 1}", number)
        detector = self.detectors[number]
        if not detector.owed:
            raise Mismatch("kind", f"no change of phase {detector.phase.name}", EngineKind.PHASE.name)
        if phase != 1 - detector.phase:
            raise Mismatch("aux", 1 - detector.phase, phase)
        detector.noted()

    def owed(self):
        """(region, phase) of every change that has not been noted."""
        return [(number, Phase(1 - detector.phase)) for number, detector in enumerate(self.detectors) if detector.owed]

    def _of(self, head, regions):
        for region, detector in zip(regions, self.detectors, strict=True):
            if region.enabled and region.first_head <= head < region.first_head + region.heads:
                return detector
        return None
