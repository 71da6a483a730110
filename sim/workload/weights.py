"""Weights of a run: where they lie, which frames they have, and how far ahead a stream may fetch them."""

from dataclasses import dataclass

from kv_endpoint.golden.front.address import Region

__all__ = ["Weights"]

#: fewest frames of a head that does not keep all of its blocks: some are read, some fetched, one can leave
FRAMES_MIN = 4
#: blocks that a stream may fetch before they are read, where the frames allow it: a page takes as long as some reads
AHEAD_MAX = 8


@dataclass(frozen=True)
class Weights:
    """Blocks of weights, numbered in the order in which every step reads them: `blocks` a layer, layer after layer.

    They lie one after another in the heads of `region`, which hold nothing else. Each of these heads has so many frames
    to itself (`frames_of`), a `share` of a whole head's blocks.
    """

    region: Region
    layers: int
    blocks: int
    blocks_per_head: int
    share: float

    @property
    def total(self):
        return self.layers * self.blocks

    @property
    def heads(self):
        """Heads of the endpoint that hold weights."""
        return range(self.region.first_head, self.region.first_head + self.region.heads)

    @property
    def base(self):
        """Metadata index of block 0; the others follow it."""
        return self.region.first_head * self.blocks_per_head

    def place(self, number):
        """(head, block) of a block of weights."""
        return divmod(self.base + number, self.blocks_per_head)

    def of_part(self, part, parts):
        """The blocks that are read before part `part` of the `parts` that a step's layers come in.

        That is layer `part`, where all layers come. Else the layers that do not come go with those that do.
        """
        first, end = (edge * self.layers // parts for edge in (part, part + 1))
        return range(first * self.blocks, end * self.blocks)

    def blocks_of(self, head):
        """Blocks in a head: all that it has room for, but in the last one."""
        return min(self.blocks_per_head, self.total - (head - self.region.first_head) * self.blocks_per_head)

    def frames_of(self, head):
        """Frames that a head has to itself."""
        wanted = max(FRAMES_MIN, int(self.share * min(self.total, self.blocks_per_head)))
        return min(wanted, self.blocks_of(head))

    @property
    def frames(self):
        return sum(map(self.frames_of, self.heads))

    @property
    def ahead(self):
        """Blocks that a stream may fetch before they are read.

        Twice as many are announced and not yet read (`sim.host.weight_traffic`), and so protected: fewer than a head's
        frames, so that what has been read can leave for what comes.
        """
        tight = [self.frames_of(head) for head in self.heads if self.frames_of(head) < self.blocks_of(head)]
        return min(AHEAD_MAX, (min(tight) - 2) // 2) if tight else AHEAD_MAX

    def quotas(self):
        """{head: (minimum, maximum)}: its frames are its own, and it has no others."""
        return {head: (self.frames_of(head),) * 2 for head in self.heads}
