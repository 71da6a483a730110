"""Stream descriptors: blocks that the host will read in a known order, and that are fetched ahead of it."""

from dataclasses import dataclass

__all__ = ["StreamDescriptor"]


@dataclass(frozen=True)
class StreamDescriptor:
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

    def lies_in(self, config, region):
        """Whether all blocks, one at least, are of heads of an enabled region, at a distance that is a power of two."""
        stride = self.stride
        if not region.enabled or not self.length or not stride or stride & stride - 1:
            return False
        heads = range(region.first_head, region.first_head + region.heads)
        # A stride that no two blocks can have may be that of a single block; hardware has no room for it.
        return stride <= 1 << config.index_bits and all(
            index // config.blocks_per_head in heads for index in (self.base, self.last)
        )

    def meets(self, other):
        """Whether two streams share a block."""
        few, many = sorted((self, other), key=lambda stream: stream.length)
        return any(index in many for index in range(few.base, few.last + 1, few.stride))
