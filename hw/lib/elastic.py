"""A free-running pipeline as a stream: what goes in waits for nobody inside, what comes out waits for its taker."""

from amaranth.hdl import Module, Shape, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

__all__ = ["Elastic"]


class Elastic(wiring.Component):
    """Passes items through `pipeline`, in order, each with a tag that goes around it.

    An item enters only if there is a place for its result, so nothing is lost when the results are not taken. Latency:
    that of the pipeline and 1 clock; one item a clock, if `depth` is at least 2 more than the latency of the pipeline.

    Parameters
    ----------
    pipeline : Component
        Takes inputs at every clock and shows their result `pipeline.latency` clocks later (`hw.data.mxint8.codec`).
    inputs, outputs : names of its ports; `items.payload` and `results.payload` have them as fields, and `tag`.
    tag : Shape
    depth : items inside at once.

    Members: `items` (In, stream), `results` (Out, stream).
    """

    def __init__(self, *, pipeline, inputs, outputs, tag, depth):
        if not isinstance(depth, int) or depth < 1:
            raise ValueError(f"depth must be a positive integer, not {depth!r}")
        self._pipeline, self._inputs, self._outputs = pipeline, inputs, outputs
        self._tag, self._depth = tag, depth
        super().__init__(
            {
                "items": In(stream.Signature(self._layout(inputs))),
                "results": Out(stream.Signature(self._layout(outputs))),
            }
        )

    def _layout(self, names):
        return data.StructLayout({"tag": self._tag} | {name: getattr(self._pipeline, name).shape() for name in names})

    def elaborate(self, platform):
        m = Module()
        m.submodules.pipeline = pipeline = self._pipeline
        result = data.StructLayout({name: getattr(pipeline, name).shape() for name in self._outputs})
        tag = self.items.payload.tag
        # A tag leaves with its result, so a place in the one FIFO is a place in the other.
        m.submodules.tags = tags = SyncFIFO(width=Shape.cast(self._tag).width, depth=self._depth)
        m.submodules.kept = kept = SyncFIFO(width=result.size, depth=self._depth)
        shown, oldest = Signal(result), Signal(result)

        do_enter = Signal()
        inside = Signal(pipeline.latency)
        m.d.comb += [
            self.items.ready.eq(tags.w_rdy),
            do_enter.eq(self.items.valid & self.items.ready),
            tags.w_en.eq(do_enter),
            tags.w_data.eq(tag),
            *(getattr(pipeline, name).eq(self.items.payload[name]) for name in self._inputs),
            *(shown[name].eq(getattr(pipeline, name)) for name in self._outputs),
            kept.w_en.eq(inside[-1]),
            kept.w_data.eq(shown),
            oldest.eq(kept.r_data),
            self.results.valid.eq(kept.r_rdy),
            kept.r_en.eq(self.results.ready),
            tags.r_en.eq(self.results.ready & kept.r_rdy),
            self.results.payload.tag.eq(tags.r_data),
            *(self.results.payload[name].eq(oldest[name]) for name in self._outputs),
        ]
        m.d.sync += inside.eq(inside << 1 | do_enter)
        return m
