"""Per-head counters of what the metadata pipeline commits: demand touches, frames held, evictions, mean score."""

from dataclasses import dataclass

from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind, State

__all__ = ["COUNTER_BITS", "MEAN_SHIFT", "HeadCounters", "holds_frame", "track"]

#: every counter wraps at 2^32
COUNTER_BITS = 32
#: the score mean is an exponential mean over about 2^4 touches
MEAN_SHIFT = 4

_COUNTER_MASK = (1 << COUNTER_BITS) - 1


@dataclass(slots=True)
class HeadCounters:
    """Counters of one head; all zero after reset. `touches` = `hits` + `misses` + `first_writes`."""

    #: first demand accesses to a block in a step
    touches: int = 0
    #: touches that found the block in a frame, warm or demoting
    hits: int = 0
    #: touches that found it cold or promoting
    misses: int = 0
    #: touches that wrote an absent block
    first_writes: int = 0
    #: blocks warm or promoting; a demoting block no longer counts
    frames_held: int = 0
    #: blocks that left their frame (EVICT done)
    evictions: int = 0
    #: mean EMA of the touched blocks, UQ0.20 like the EMA itself
    score_mean: int = 0

    @property
    def hit_rate(self):
        """Demand hit rate, or None before the first hit or miss."""
        accesses = self.hits + self.misses
        return self.hits / accesses if accesses else None


def holds_frame(state):
    """Whether a block in `state` counts towards the frames that its head holds."""
    return state in (State.WARM, State.PROMOTING)


def track(counters, kind, outcome, touch, before, after, ema):
    """Account for one committed slot of the head.

    `before` and `after` are the block's states around the commit, `ema` its EMA after it (UQ0.20). At each touch the
    mean moves by `(ema - mean) >> MEAN_SHIFT`, an arithmetic shift, so it rounds towards minus infinity and stays in
    20 bits.
    """
    if touch:
        counters.touches = (counters.touches + 1) & _COUNTER_MASK
        if outcome == Outcome.HIT:
            counters.hits = (counters.hits + 1) & _COUNTER_MASK
        elif outcome == Outcome.MISS:
            counters.misses = (counters.misses + 1) & _COUNTER_MASK
        else:
            counters.first_writes = (counters.first_writes + 1) & _COUNTER_MASK
        counters.score_mean += (ema - counters.score_mean) >> MEAN_SHIFT
    if before != after:
        counters.frames_held += holds_frame(after) - holds_frame(before)
        if kind == SlotKind.EVICT:
            counters.evictions = (counters.evictions + 1) & _COUNTER_MASK
