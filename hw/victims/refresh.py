"""Heads whose record in the victim queues has to be brought up to date for reasons other than a commit."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.lib.one_hot import bit_of
from kv_endpoint.hw.victims.queues import refresh_order

__all__ = ["Refresh"]


class Refresh(wiring.Component):
    """Collects what happens to heads, and has the victim queues told one head at a time.

    A head that is named several times before its turn is told once. One order a clock, the lowest head first; an order
    is offered 2 clocks after its cause. After reset every head is cleared.

    Members
    -------
    forget, expired : In(1)
        Nothing is known of any head; blocks of any head may have become eligible.
    ended_valid, ended_head, uncovered_valid, uncovered_head : In
        A block of this head may have become eligible.
    above_min : In(heads)
        As in the victim engine: a change is told.
    order : Out(stream of refresh_order)
    busy : Out(1)
        Something is still to be told.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "forget": In(1),
                "expired": In(1),
                "ended_valid": In(1),
                "ended_head": In(config.head_bits),
                "uncovered_valid": In(1),
                "uncovered_head": In(config.head_bits),
                "above_min": In(config.heads),
                "order": Out(stream.Signature(refresh_order(config))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        # Leaves of the tournament beyond the last head are cleared like heads.
        heads = 1 << config.head_bits
        clear = Signal(heads, init=-1)
        forget = Signal(heads)
        stale = Signal(heads)
        shared = Signal(heads)
        above_min = Signal(heads)
        waiting = Signal(heads)
        m.d.comb += [above_min.eq(self.above_min), waiting.eq(clear | forget | stale | (above_min ^ shared))]

        # A tree picks the lowest head that waits, and brings its bits along.
        choice = data.StructLayout({"any": 1, "order": refresh_order(config)})
        nodes = []
        for head in range(heads):
            node = Signal(choice, name=f"choice_{head}")
            m.d.comb += [
                node.any.eq(waiting[head]),
                node.order.head.eq(head),
                node.order.clear.eq(clear[head]),
                node.order.forget.eq(forget[head]),
                node.order.stale.eq(stale[head]),
                node.order.shared.eq(above_min[head]),
            ]
            nodes.append(node)
        while len(nodes) > 1:
            pairs = zip(nodes[::2], nodes[1::2], strict=True)
            nodes = [data.View(choice, Mux(low.any, low.as_value(), high.as_value())) for low, high in pairs]
        lowest = nodes[0]

        taken = Signal(heads)
        with m.If(~self.order.valid | self.order.ready):
            m.d.sync += [self.order.valid.eq(lowest.any), self.order.payload.eq(lowest.order)]
            m.d.comb += taken.eq(bit_of(lowest.any, lowest.order.head))

        ended = Signal(heads)
        m.d.comb += ended.eq(
            bit_of(self.ended_valid, self.ended_head) | bit_of(self.uncovered_valid, self.uncovered_head)
        )
        m.d.sync += [
            clear.eq(clear & ~taken),
            forget.eq(forget & ~taken | self.forget.replicate(heads)),
            stale.eq(stale & ~taken | ended | self.expired.replicate(heads)),
            shared.eq(shared & ~taken | above_min & taken),
        ]
        m.d.comb += self.busy.eq(self.order.valid | waiting.any())
        return m
