"""The stream descriptors: which block each asks for next."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.lib.delay_line import registered
from kv_endpoint.hw.lib.round_robin import next_in_turn

__all__ = ["DescriptorCourses"]

POSITION_BITS = 32


class DescriptorCourses(wiring.Component):
    """Offers the next blocks of the enabled streams, in turns; `golden.prefetch.descriptors` says which.

    A stream starts when it becomes enabled, and may go `ahead` blocks beyond the touches of its blocks. One block at a
    time: the next is offered 2 clocks after the last has `ended`. A block that is offered stays so when its stream is
    switched off. A touch counts 3 clocks after its commit; streams change only while the pipeline is held.

    Members
    -------
    touch : In(1), index : In(index)
        A block was touched.
    streams : In(array of stream_layout)
        `base`, `length` and `stride` change only while the stream is not enabled, and stand for a clock before it is.
    on : In(1)
        Candidates may be offered.
    candidates : Out(stream of prefetch_request)
        `source` is not set.
    ended : In(1)
        The candidate taken last was noted or passed over.
    positions : Out(array of 32)
        Blocks noted or passed over since each stream was enabled.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "touch": In(1),
                "index": In(config.index_bits),
                "streams": In(data.ArrayLayout(layouts.stream_layout(config), config.streams)),
                "on": In(1),
                "candidates": Out(stream.Signature(layouts.prefetch_request(config))),
                "ended": In(1),
                "positions": Out(data.ArrayLayout(POSITION_BITS, config.streams)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        count = config.streams
        choices = max(2, 1 << (count - 1).bit_length())
        may_ask = Signal(choices)
        last = Signal(range(choices))
        chosen = next_in_turn(m, "next_stream", may_ask, last)

        #: the candidate of stream `last` is under way, has been taken, is of before the stream was switched off
        is_busy = Signal()
        is_taken = Signal()
        is_former = Signal()
        do_choose = Signal()
        m.d.comb += [
            self.candidates.valid.eq(is_busy & ~is_taken),
            do_choose.eq(~is_busy & may_ask.any()),
        ]
        with m.If(do_choose):
            m.d.sync += [is_busy.eq(1), is_former.eq(0), last.eq(chosen)]
        with m.If(self.candidates.valid & self.candidates.ready):
            m.d.sync += is_taken.eq(1)
        with m.If(self.ended):
            m.d.sync += [is_busy.eq(0), is_taken.eq(0)]

        touch = registered(m, self.touch, "touch")
        index = registered(m, self.index, "index")
        candidate = self.candidates.payload
        for number in range(count):
            descriptor = self.streams[number]
            position = Signal(config.index_bits + 1, name=f"position{number}")
            following = Signal(config.index_bits, name=f"following{number}")
            touched = self._touches(m, number, touch, index)
            has_more = Signal(name=f"has_more{number}")
            owns = is_busy & (last == number)

            # While a candidate is under way the position is still that of it.
            within = (position < descriptor.length) & (position < touched + descriptor.ahead)
            m.d.sync += has_more.eq(within & ~is_busy)
            m.d.comb += [
                may_ask[number].eq(has_more & descriptor.enabled & self.on),
                self.positions[number].eq(position),
            ]
            with m.If(do_choose & (chosen == number)):
                m.d.sync += [
                    candidate.block.eq(following),
                    candidate.head.eq(following >> config.block_bits),
                    candidate.mode.eq(descriptor.mode),
                ]
            with m.If(owns & self.ended & ~is_former):
                m.d.sync += [position.eq(position + 1), following.eq(following + descriptor.stride)]
            with m.If(~descriptor.enabled):
                m.d.sync += [position.eq(0), following.eq(descriptor.base)]
                with m.If(owns):
                    m.d.sync += is_former.eq(1)
        return m

    def _touches(self, m, number, touch, index):
        """Touches of the blocks of a stream since it was enabled; the counter stays at its end, behind any length."""
        config, descriptor = self._config, self.streams[number]
        # The stream's blocks lie less than `span` = length x stride behind its base, by whole strides.
        span = Signal(config.index_bits + 2, name=f"span{number}")
        within_stride = Signal(config.index_bits + 1, name=f"within_stride{number}")
        spans = [
            Mux(descriptor.stride[shift], descriptor.length << shift, 0) for shift in range(len(descriptor.stride))
        ]
        m.d.sync += [span.eq(reduce(or_, spans)), within_stride.eq(descriptor.stride - 1)]

        behind = Signal(signed(config.index_bits + 1), name=f"behind{number}")
        is_touch = registered(m, touch, f"is_touch{number}")
        touched = Signal(config.index_bits + 1, name=f"touched{number}")
        m.d.sync += behind.eq(index - descriptor.base)
        is_member = (behind >= 0) & (behind < span) & ~(behind & within_stride).any()
        with m.If(is_touch & is_member & ~touched.all()):
            m.d.sync += touched.eq(touched + 1)
        with m.If(~descriptor.enabled):
            m.d.sync += touched.eq(0)
        return touched
