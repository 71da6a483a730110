"""Which blocks stay in their frames for held reads (`golden/coherency/kept_blocks.py`)."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.line_access import Retry
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.common import layouts

__all__ = ["KeptBlocks"]

_HELD = tuple(outcome for outcome in Outcome if outcome.held)


class KeptBlocks(wiring.Component):
    """A place each for the first blocks of which reads are held. One commit a clock, no latency.

    Members
    -------
    commit : In(commit)
    covers : Out(covers)
        In the clock of the commit: one read more, or less, for which the block is kept.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__({"commit": In(layouts.commit(config)), "covers": Out(layouts.covered_event(config))})

    def elaborate(self, platform):
        m = Module()
        config = self._config
        slot, index = self.commit.slot, Signal(config.index_bits)
        held, again, asks = Signal(), Signal(), Signal()
        m.d.comb += [
            index.eq(Cat(slot.block, slot.head)),
            held.eq(self.commit.outcome.matches(*_HELD)),
            again.eq(slot.retry != Retry.NO),
            asks.eq(self.commit.valid & slot.kind.matches(SlotKind.READ, SlotKind.REPLAY_READ)),
        ]

        place = data.StructLayout({"used": 1, "index": config.index_bits, "reads": range(config.read_slots + 1)})
        places = [Signal(place, name=f"place{number}") for number in range(config.kept_blocks)]
        found = Cat(each.used & (each.index == index) for each in places)
        free = ~Cat(each.used for each in places)
        enters, more, less = Signal(), Signal(), Signal()
        m.d.comb += [
            enters.eq(asks & held & ~found.any() & free.any()),
            more.eq(asks & held & ~again & found.any()),
            less.eq(asks & ~held & again & found.any()),
            self.covers.valid.eq(enters | more | less),
            self.covers.up.eq(~less),
            self.covers.index.eq(index),
        ]
        for number, each in enumerate(places):
            takes = enters & free[number] & ~free[:number].any()
            with m.If(takes):
                m.d.sync += [each.used.eq(1), each.index.eq(index), each.reads.eq(1)]
            with m.Elif(found[number]):
                m.d.sync += each.reads.eq(each.reads + more - less)
                with m.If(less & (each.reads == 1)):
                    m.d.sync += each.used.eq(0)
        return m
