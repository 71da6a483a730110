"""Blocks that keep an order, beside naive queues: whatever is asked of them."""

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import preset
from kv_endpoint.hw.lib.elastic import Elastic
from kv_endpoint.hw.prefetch.queue import PrefetchQueue
from kv_endpoint.hw.victims.rank import is_before
from kv_endpoint.hw.victims.sorter import Sorter
from tests.formal.follow import Follow
from tests.formal.free import drive
from tests.formal.stream_rules import watch

__all__ = ["ElasticBench", "PrefetchQueueBench", "SorterBench"]


class _Adder(wiring.Component):
    """A free-running pipeline: what comes plus 1, 3 clocks later."""

    latency = 3

    def __init__(self):
        super().__init__({"value": In(4), "sum": Out(4)})

    def elaborate(self, platform):
        m = Module()
        value = self.value + 1
        for clock in range(self.latency):
            later = Signal(4, name=f"sum{clock}")
            m.d.sync += later.eq(value)
            value = later
        m.d.comb += self.sum.eq(value)
        return m


class ElasticBench(Elaboratable):
    """Each item leaves once, in order, with its tag and its result; none waits inside when it could leave."""

    def elaborate(self, platform):
        m = Module()
        depth, pipeline = 3, _Adder()
        m.submodules.dut = dut = Elastic(pipeline=pipeline, inputs=("value",), outputs=("sum",), tag=2, depth=depth)
        drive(m, dut)
        watch(m, "rules_items", dut.items, assume=True)
        watch(m, "rules_results", dut.results, assume=False)
        m.submodules.follow = follow = Follow(most=depth)
        item, result, kept = dut.items.payload, dut.results.payload, Signal.like(dut.items.payload)
        m.d.comb += [
            follow.enters.eq(dut.items.valid & dut.items.ready),
            follow.leaves.eq(dut.results.valid & dut.results.ready),
        ]
        waited = Signal(4)
        with m.If(follow.picked):
            m.d.sync += [kept.eq(item), waited.eq(1)]
        with m.Elif(waited[:3] != pipeline.latency + 1):
            m.d.sync += waited.eq(waited + 1)
        with m.If(follow.here):
            m.d.comb += [Assert(result.tag == kept.tag), Assert(result.sum == (kept.value + 1)[:4])]
        # Those before it came earlier.
        m.d.comb += Assert(~(follow.inside & (waited == pipeline.latency + 1)) | dut.results.valid)
        return m


class PrefetchQueueBench(Elaboratable):
    """Oldest first, none lost; what is sought is found; if none is pushed that matches, none is there twice."""

    def elaborate(self, platform):
        m = Module()
        config = preset("tiny", heads=1, blocks_per_head=4, filter_sets=2, pin_cap=0, demotion_slots=1)
        m.submodules.dut = dut = PrefetchQueue(config=config)
        drive(m, dut)
        depth = len(dut.matches)
        m.submodules.follow = follow = Follow(most=depth)
        kept, count = Signal.like(dut.block), Signal(range(depth + 1))
        found = sum(dut.matches[place] for place in range(depth))
        m.d.comb += [
            Assume(~dut.push | ~(dut.full | dut.take)),
            Assume(~dut.take | dut.first_valid),
            Assume(~dut.push | ((dut.sought == dut.block.index) & (dut.matches == 0))),
            follow.enters.eq(dut.push),
            follow.leaves.eq(dut.take),
            Assert(dut.first_valid == (count != 0)),
            Assert(dut.full == (count == depth)),
            Assert(found <= 1),
            Assert(~(follow.inside & (dut.sought == kept.index)) | (found == 1)),
        ]
        m.d.sync += count.eq(count + dut.push - dut.take)
        with m.If(follow.picked):
            m.d.sync += kept.eq(dut.block)
        with m.If(follow.here):
            m.d.comb += Assert(dut.first == kept)
        return m


class SorterBench(Elaboratable):
    """Follows any rank: with n others before it, it is `first` after n shifts, if there are more cells than that.

    What the environment promises: ranks differ from the one that is followed; `shift` comes when all are settled.
    """

    def elaborate(self, platform):
        m = Module()
        config = preset("tiny", queue_depth=2, heads=1, blocks_per_head=2, filter_sets=2, pin_cap=0, demotion_slots=1)
        m.submodules.dut = dut = Sorter(config=config)
        drive(m, dut)
        rank, begun, there = Signal.like(dut.rank), Signal(), Signal()
        before, pushed, shifted = Signal(5), Signal(5), Signal(5)
        picks = Signal()
        m.d.comb += [
            picks.eq(AnySeq(1) & dut.push & ~there & begun),
            # The first clock clears, as the owner does.
            Assume(dut.clear == ~begun),
            Assume(~dut.push | ~dut.rank.none),
            Assume(~dut.shift | (dut.settled & ~dut.push)),
            Assume(~dut.push | (shifted == 0)),
            Assume(~(dut.push & there) | (dut.rank != rank)),
        ]
        m.d.sync += [begun.eq(1), shifted.eq(shifted + dut.shift)]
        # Those that came before it are counted when it comes, by a rank that is guessed.
        guess = Signal.like(dut.rank)
        guessed = Signal()
        m.d.sync += guessed.eq(1)
        with m.If(~guessed):
            m.d.sync += guess.eq(AnySeq(len(guess.as_value())))
        m.d.comb += Assume(~picks | (dut.rank == guess))
        with m.If(dut.push & begun):
            m.d.sync += pushed.eq(pushed + 1)
            with m.If(~picks):
                m.d.comb += Assume(dut.rank != guess)
            with m.If(is_before(dut.rank, guess)):
                m.d.sync += before.eq(before + 1)
        with m.If(picks):
            m.d.sync += [there.eq(1), rank.eq(dut.rank)]
        with m.If(begun & there & dut.settled & (before == shifted) & (before < config.queue_depth)):
            m.d.comb += Assert(dut.first == rank)
        with m.If(begun & dut.settled):
            m.d.comb += Assert(dut.overflowed == (pushed > config.queue_depth))
        return m
