"""The window of a head: how far from a touched block its neighbours are fetched ahead."""

from dataclasses import dataclass

from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind

__all__ = [
    "PROBE_TOUCHES", "ROUND", "ROUND_GOOD", "ROUND_POOR", "WINDOW_MAX", "WINDOW_START", "HeadWindow", "neighbours",
]  # fmt: skip

#: blocks on each side: after reset, and at most
WINDOW_START = 1
WINDOW_MAX = 4
#: so many prefetches are judged together: this many of them useful widen the window, fewer than that narrow it
ROUND = 8
ROUND_GOOD = 4
ROUND_POOR = 2
#: at window 0 one of so many touches asks all the same
PROBE_TOUCHES = 64

_ACCESSES = (SlotKind.HINT, SlotKind.READ, SlotKind.WRITE)


def neighbours(block, window, blocks_per_head):
    """Blocks within `window` of `block`, nearest first and the higher before the lower, those that the head has."""
    for distance in range(1, window + 1):
        for near in (block + distance, block - distance):
            if 0 <= near < blocks_per_head:
                yield near


@dataclass(slots=True)
class HeadWindow:
    """What one head has learned: `window`, and of the round under way how many were `issued` and found `useful`.

    An announced block (`announced`: in this step) would have been fetched without a window, so neither its PROMOTE nor
    its access counts. A hint that finds a prefetched block is what makes it announced, so it counts as its access.
    """

    window: int = WINDOW_START
    issued: int = 0
    useful: int = 0
    #: touches at window 0 since the last that asked
    quiet: int = 0

    def learn(self, slot, before, outcome, now):
        """A slot of this head commits with `outcome`; `before` is the entry before it."""
        if before.announced and before.step == now:
            return
        if slot.kind in _ACCESSES:
            self.useful += before.prefetched
        elif slot.kind == SlotKind.PROMOTE and outcome == Outcome.DONE and slot.value & 1:
            self._issue()

    def _issue(self):
        """A prefetch counts; the last of a round judges it."""
        self.issued += 1
        if self.issued < ROUND:
            return
        if self.useful >= ROUND_GOOD:
            self.window = min(self.window + 1, WINDOW_MAX)
        elif self.useful < ROUND_POOR:
            self.window = max(self.window - 1, 0)
        self.issued = self.useful = 0

    def touch(self):
        """A block was touched: how far from it to look."""
        if self.window:
            return self.window
        self.quiet = (self.quiet + 1) % PROBE_TOUCHES
        return 0 if self.quiet else 1
