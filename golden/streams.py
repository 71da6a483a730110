"""Stream descriptors: blocks that the host will read in a known order, and that are fetched ahead of it."""

from dataclasses import dataclass

__all__ = ["Stream"]


@dataclass(frozen=True)
class Stream:
    """Blocks `base`, `base + stride`, ..., `length` of them, as metadata indices {head, block}.

    `stride` is a power of two: 1 along a head (a prefix that is read again), `blocks_per_head` from head to head (layer
    after layer). `ahead`: blocks that may be fetched before they are read.
    """

    base: int = 0
    length: int = 0
    stride: int = 1
    ahead: int = 4
    enabled: bool = False

    @property
    def last(self):
        """Index of the last block."""
        return self.base + (self.length - 1) * self.stride

    def __contains__(self, index):
        return self.base <= index <= self.last and (index - self.base) % self.stride == 0
