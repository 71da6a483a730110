"""Prefetches of one source that wait for their turn."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PrefetchQueue", "waiting_block"]


def waiting_block(config):
    """A block that may wait, and the mode of its region."""
    return data.StructLayout({"index": config.index_bits, "mode": 1})


class PrefetchQueue(wiring.Component):
    """A queue that also says which of its entries are a given block. No latency; one push or take a clock, not both.

    The entries are shifted towards the front, so that the first needs no multiplexer.

    Members
    -------
    push : In(1), block : In(waiting_block)
        Only while not `full`.
    take : In(1)
        The first leaves; only while `first_valid`.
    first_valid : Out(1), first : Out(waiting_block)
    full : Out(1)
    sought : In(index)
    matches : Out(prefetch_queue_depth)
        Entries that are the block `sought`.
    """

    def __init__(self, *, config):
        self._config = config
        self._depth = config.prefetch_queue_depth
        super().__init__(
            {
                "push": In(1),
                "block": In(waiting_block(config)),
                "take": In(1),
                "first_valid": Out(1),
                "first": Out(waiting_block(config)),
                "full": Out(1),
                "sought": In(config.index_bits),
                "matches": Out(self._depth),
            }
        )

    def elaborate(self, platform):
        m = Module()
        blocks = [Signal(waiting_block(self._config), name=f"block{place}") for place in range(self._depth)]
        #: the places in use: the lowest ones
        used = Signal(self._depth)

        with m.If(self.push):
            m.d.sync += used.eq(Cat(1, used))
            for place, block in enumerate(blocks):
                is_next = ~used[place] & (used[place - 1] if place else 1)
                with m.If(is_next):
                    m.d.sync += block.eq(self.block)
        with m.If(self.take):
            m.d.sync += used.eq(used >> 1)
            m.d.sync += [block.eq(behind) for block, behind in zip(blocks, blocks[1:], strict=False)]

        m.d.comb += [
            self.first_valid.eq(used[0]),
            self.first.eq(blocks[0]),
            self.full.eq(used[-1]),
            *(self.matches[place].eq(used[place] & (block.index == self.sought)) for place, block in enumerate(blocks)),
        ]
        return m
