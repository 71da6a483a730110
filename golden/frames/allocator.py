"""Frames: who holds how many, which one is free, and what a missed block gets. Each mode has a pool of its own.

`Allocator.decide` is the flow "Obtaining a frame" of hw/README.md as a function of the current state; whoever wants a
frame asks again after every step of it.
"""

from collections import deque
from dataclasses import dataclass
from enum import IntEnum

from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import PrefetchDrop, RefusalKind
from kv_endpoint.golden.pipeline.metadata import SlotKind
from kv_endpoint.golden.pipeline.tracker import holds_frame
from kv_endpoint.golden.victims.search import Domain, Victim

__all__ = ["Action", "Decision", "Pool", "Allocator"]

#: frames of a head that pins must leave evictable
UNPINNED_FRAMES_MIN = 2


class Action(IntEnum):
    """What a missed block gets next."""

    #: `frame`, now
    FRAME = 0
    #: `victim` is demoted first
    VICTIM = 1
    #: a bypass slot, since its own key is below the key of `victim`
    BYPASS = 2
    #: nothing, until a demotion ends or the state changes otherwise
    WAIT = 3
    #: nothing ever: the request is answered UNWRITABLE, the prefetch is given up for the reason `drop`
    DROP = 4


@dataclass(frozen=True)
class Decision:
    action: Action
    frame: int | None = None
    victim: Victim | None = None
    drop: PrefetchDrop | None = None


class Pool:
    """Frames of one mode: the pool's own, spare and reserve frames, numbered from 0.

    `size` is the pool size register; `held` counts the blocks that are warm or promoting.
    """

    def __init__(self, config, size):
        self._more = config.spare_frames + config.reserve_frames
        self.size = size
        self.held = 0
        self._returned = deque()
        self._never_used = 0

    @property
    def full(self):
        return self.held >= self.size

    @property
    def free_frames(self):
        """Frames that nobody has; none after the pool became smaller than what is used."""
        given_out = self._never_used - len(self._returned)
        return max(0, self.size + self._more - given_out)

    @property
    def next_frame(self):
        """The free frame that is given out next: the longest-free returned one, else the lowest never used; or None."""
        if not self.free_frames:
            return None
        return self._returned[0] if self._returned else self._never_used

    def take(self, frame):
        """Give out `frame`, which must be the next one."""
        if frame != self.next_frame:
            raise Mismatch("frame", self.next_frame, frame)
        if self._returned:
            self._returned.popleft()
        else:
            self._never_used += 1

    def give_back(self, frame):
        self._returned.append(frame)


class Allocator:
    """Frames of the pools, quotas and pins. Reset: minimum 0 and maximum `pool_frames_max` for every head, no pins.

    Parameters
    ----------
    config : Config
    pool_frames : int, optional
        Size of each pool to begin with.
    modes : sequence of Mode, one a head, optional
        Which pool a head belongs to, now: `golden.registers.state.Registers` changes it.
    cached : sequence of bool, one a head, optional
        Whether hosts may cache its lines, likewise.
    """

    def __init__(self, config, pool_frames=None, modes=None, cached=None):
        self._config = config
        size = config.pool_frames_max if pool_frames is None else pool_frames
        self.pools = {mode: Pool(config, size) for mode in Mode}
        self.modes = [Mode.EXACT] * config.heads if modes is None else modes
        self.cached = [False] * config.heads if cached is None else cached
        self.held = [0] * config.heads
        self.minimum = [0] * config.heads
        self.maximum = [config.pool_frames_max] * config.heads
        self.pins = [0] * config.heads

    # Frames --------------------------------------------------------------------------------------------------------

    def pool_of(self, head):
        """The pool that a head's frames come from."""
        return self.pools[self.modes[head]]

    @property
    def total_held(self):
        """Frames held in both pools."""
        return sum(pool.held for pool in self.pools.values())

    def observe(self, head, kind, before, after):
        """Follow a committed slot: `before` and `after` are the entries around it."""
        if before.state != after.state:
            change = holds_frame(after.state) - holds_frame(before.state)
            pool = self.pool_of(head)
            self.held[head] += change
            pool.held += change
            if kind in (SlotKind.PROMOTE, SlotKind.ALLOCATE):
                pool.take(after.frame)
            elif kind == SlotKind.EVICT:
                pool.give_back(before.frame)
        self.pins[head] += after.pinned - before.pinned

    # What a missed block gets ----------------------------------------------------------------------------------------

    def domain(self, head):
        """Where a victim has to be sought before `head` may hold one frame more, or None if it may."""
        if self.held[head] >= self.maximum[head]:
            return Domain.OWN
        if self.pool_of(head).full:
            return Domain.SHARED
        return None

    def heads_of(self, domain, head):
        """The heads whose blocks may leave for a block of `head`."""
        if domain == Domain.OWN:
            return (head,)
        heads = [other for other, mode in enumerate(self.modes) if mode == self.modes[head]]
        if domain == Domain.SHARED:
            return [other for other in heads if self.held[other] > self.minimum[other] or other == head]
        return heads

    def decide(self, head, *, write, bypass_below, find, demoting, unwritable, caches=False):
        """What a missed block of `head` gets next.

        `write`: a write waits for it; `caches`: a read that is never served past the pool. `bypass_below`: a victim
        with a key above this number is spared by reading past the pool, or None. `find(domain)` is the victim of a
        domain or None; `demoting`: a demotion is in progress, and will free a frame. `unwritable`: nothing is demoted
        any more, since its page might be lost; what would need a victim is dropped, or read past the pool.
        """
        domain, pool = self.domain(head), self.pool_of(head)
        if domain is None:
            # A pool that is not full has a free frame, unless demotions in progress still have the spare ones.
            if pool.free_frames > (0 if write else self._config.reserve_frames):
                return Decision(Action.FRAME, frame=pool.next_frame)
            return Decision(Action.WAIT)
        victim = find(domain)
        if victim is None and write and pool.free_frames:
            return Decision(Action.FRAME, frame=pool.next_frame)
        if unwritable:
            return Decision(Action.DROP if write or caches else Action.BYPASS)
        if victim is None and write and not demoting:
            victim = find(Domain.ANY)
        if victim is None:
            return Decision(Action.WAIT)
        if not write and not caches and bypass_below is not None and bypass_below < victim.key:
            return Decision(Action.BYPASS, victim=victim)
        return Decision(Action.VICTIM, victim=victim)

    def decide_prefetch(self, head, *, own_key, find, may_demote):
        """What a block of `head` gets next that nobody waits for: FRAME, VICTIM or DROP.

        `own_key`: its key, or None if it was never scored; then nothing leaves for it. `may_demote`: a demotion slot is
        free, and flash can be written. It takes no reserve frame, so without another one it needs no victim either.
        """
        pool = self.pool_of(head)
        if pool.free_frames <= self._config.reserve_frames:
            return Decision(Action.DROP, drop=PrefetchDrop.NO_FRAME)
        domain = self.domain(head)
        if domain is None:
            return Decision(Action.FRAME, frame=pool.next_frame)
        victim = find(domain)
        if victim is None or victim.waived or not may_demote:
            return Decision(Action.DROP, drop=PrefetchDrop.NO_FRAME)
        if own_key is None or own_key < victim.key:
            return Decision(Action.DROP, drop=PrefetchDrop.NOT_WORTH)
        return Decision(Action.VICTIM, victim=victim)

    # Commands ---------------------------------------------------------------------------------------------------------

    def pin_refusal(self, head, block):
        """Why a pin of one more block is refused, or None."""
        if head >= self._config.heads or block >= self._config.blocks_per_head:
            return RefusalKind.PIN_RANGE
        if sum(self.pins) >= self._config.pin_cap:
            return RefusalKind.PIN_CAP
        if self.pins[head] >= self.maximum[head] - UNPINNED_FRAMES_MIN:
            return RefusalKind.PIN_QUOTA
        return None

    def quota_refusal(self, head, minimum, maximum):
        """Why quotas are refused, or None. A maximum must leave the pinned blocks of the head their room."""
        if head >= self._config.heads or not minimum <= maximum <= self._config.pool_frames_max:
            return RefusalKind.QUOTA_RANGE
        if maximum < UNPINNED_FRAMES_MIN + self.pins[head]:
            return RefusalKind.QUOTA_RANGE
        if self._minimums(self.modes[head]) - self.minimum[head] + minimum > self.pool_of(head).size:
            return RefusalKind.QUOTA_SUM
        return None

    def pool_refusal(self, frames, mode=Mode.EXACT):
        """Why a size of the pool of `mode` is refused, or None."""
        config = self._config
        if not config.pool_frames_min <= frames <= config.pool_frames_max or frames < self._minimums(mode):
            return RefusalKind.POOL_SIZE
        if frames < config.pool_frames_min_cached and self._has_cached(mode):
            return RefusalKind.POOL_CACHED
        return None

    def _has_cached(self, mode):
        """Whether a head of a pool has lines that hosts may cache."""
        return any(cached and of == mode for cached, of in zip(self.cached, self.modes, strict=True))

    def _minimums(self, mode):
        """Sum of the minimums of the heads of a pool."""
        return sum(minimum for minimum, of in zip(self.minimum, self.modes, strict=True) if of == mode)

    def set_quotas(self, head, minimum, maximum):
        self.minimum[head], self.maximum[head] = minimum, maximum
