"""Which candidates of windows and streams are cold."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.events.port import PrefetchSource
from kv_endpoint.golden.pipeline.metadata import State
from kv_endpoint.hw.common import layouts

__all__ = ["PrefetchLookup"]


class PrefetchLookup(wiring.Component):
    """Looks candidates up in the metadata table and passes on the cold ones.

    One at a time, windows and streams in turns: 3 clocks each while the table is free, and for a cold one those until
    it is taken.

    Members
    -------
    near : In(stream of prefetch_request), streams : In(stream of prefetch_request)
        Candidates of touches, of stream descriptors; `source` is not used.
    streams_open : In(1)
        Candidates of streams may be taken.
    table : Out(TableRead)
        The entry counts if `table_free` was high with `enable`.
    table_free : In(1)
    cold : Out(stream of prefetch_request)
        The entry was read at least 1 clock ago.
    stream_passed : Out(1)
        The stream candidate taken last is not cold.
    """

    def __init__(self, *, config):
        self._config = config
        request = layouts.prefetch_request(config)
        super().__init__(
            {
                "near": In(stream.Signature(request)),
                "streams": In(stream.Signature(request)),
                "streams_open": In(1),
                "table": Out(layouts.TableRead(config)),
                "table_free": In(1),
                "cold": Out(stream.Signature(request)),
                "stream_passed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        request = self.cold.payload
        is_stream = Signal()
        stream_valid = self.streams.valid & self.streams_open
        m.d.comb += self.table.index.eq(Cat(request.block, request.head))

        with m.FSM():
            with m.State("CHOOSE"):
                takes_stream = stream_valid & ~(self.near.valid & is_stream)
                m.d.comb += [
                    self.streams.ready.eq(takes_stream),
                    self.near.ready.eq(~takes_stream),
                ]
                with m.If(self.near.valid | stream_valid):
                    m.d.sync += [
                        is_stream.eq(takes_stream),
                        request.eq(Mux(takes_stream, self.streams.payload.as_value(), self.near.payload.as_value())),
                        request.source.eq(Mux(takes_stream, PrefetchSource.STREAM, PrefetchSource.WINDOW)),
                    ]
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.table.enable.eq(1)
                with m.If(self.table_free):
                    m.next = "CHECK"
            with m.State("CHECK"):
                with m.If(self.table.entry.state == State.COLD):
                    m.next = "OFFER"
                with m.Else():
                    m.d.comb += self.stream_passed.eq(is_stream)
                    m.next = "CHOOSE"
            with m.State("OFFER"):
                m.d.comb += self.cold.valid.eq(1)
                with m.If(self.cold.ready):
                    m.next = "CHOOSE"
        return m
