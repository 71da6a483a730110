"""Kept blocks: those that stay in their frames until held reads of them have come again."""

__all__ = ["KeptBlocks"]


class KeptBlocks:
    """The first blocks of which reads are held, as many as `Config.kept_blocks`.

    So few that the pool need not grow with the reads that there may be; so there is always somebody who finds his
    block in its frame, and whoever finds no place takes one as soon as he is held again.

    `blocks`: (head, block) -> reads that were held since it has its place, less those that came again.
    """

    def __init__(self, config):
        self._places = config.kept_blocks
        self.blocks = {}

    def held(self, where, again):
        """A read of the block is held; `again`: it was held before, and is counted if the block has a place."""
        if where in self.blocks:
            self.blocks[where] += not again
        elif len(self.blocks) < self._places:
            self.blocks[where] = 1

    def returns(self, where):
        """A read that was held comes again, and is not held."""
        if where in self.blocks:
            self.blocks[where] -= 1
            if not self.blocks[where]:
                del self.blocks[where]
