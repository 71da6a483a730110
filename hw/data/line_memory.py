"""Lines of both modes in memory: reads and writes of 64 bytes, whatever lies in DDR5 for them."""

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import LINE_BYTES
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.numbering import place
from kv_endpoint.hw.data.memory_port import MemoryPort, memory_axi
from kv_endpoint.hw.data.mxint8.line_layouts import SCALE_BITS, named_place
from kv_endpoint.hw.data.mxint8.lines import Mxint8Lines, byte_mask
from kv_endpoint.hw.data.sidecar.cache import sidecar_fetch, sidecar_write_back
from kv_endpoint.hw.front.request_slots import write_data
from kv_endpoint.hw.lib.arbiter import Arbiter

__all__ = ["LineMemory", "read_request", "read_end", "strobed", "write_request", "write_end"]


def read_request(config):
    """A line to read for read slot `id`; `scale` counts in mode mxint8."""
    return layouts.layout((("id", layouts.id_bits(config)), ("place", place(config)), ("scale", SCALE_BITS)))


def write_request(config):
    """A line to write for write slot `id`; `written` (mode exact) and `scale` (mode mxint8) are what it was before."""
    return layouts.layout((*read_request(config).members.items(), ("written", 1), *write_data().members.items()))


def strobed(write):
    """(data, strobes) of a `write` in mode exact, for memory that keeps the bytes without strobe.

    The first write of a line leaves nothing of what lay there.
    """
    first_write = ~write.written
    return (
        write.data & (byte_mask(write.be) | ~first_write.replicate(layouts.LINE_BITS)),
        write.be | first_write.replicate(LINE_BYTES),
    )


def write_end(config):
    """Write `id` has been done, or has `failed`.

    `sidecar`: it is of a sidecar row, and `id` the number of a write-back. `joined`: it was part of another's access,
    which ended before. Mode mxint8: `scale` is the line's new one, if it has not failed; `read_failed`: the read that
    came before a partial write had an access of its own, and failed.
    """
    return layouts.layout((
        ("id", layouts.id_bits(config)), ("sidecar", 1), ("failed", 1), ("joined", 1), ("scale", SCALE_BITS),
        ("read_failed", 1),
    ))  # fmt: skip


def read_end(config):
    """Read `id` has been done, or has `failed`; `sidecar`, `joined` as for writes."""
    return layouts.layout((
        ("id", layouts.id_bits(config)), ("sidecar", 1), ("failed", 1), ("joined", 1), ("data", layouts.LINE_BITS),
    ))  # fmt: skip


class LineMemory(wiring.Component):
    """Brings the modes together on one port: mode exact straight, mode mxint8 through `Mxint8Lines`.

    Mode exact: 1 clock from a request to its AXI channel, none back. Mode mxint8: as `Mxint8Lines` and 1 clock.

    Members
    -------
    reads : In(stream of read_request)
        In mode mxint8 of lines whose scale is that of a number.
    writes : In(stream of write_request)
    returned : Out(stream of read_end)
    confirmed : Out(stream of write_end)
    fetch, write_back : sidecar rows (`SidecarCache`); their ends are at `returned` and `confirmed`.
    written, urgent, flush : as `ReadCombiner` and `WriteCombiner`
    mem : Out(memory_axi)
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__({
            "reads": In(stream.Signature(read_request(config))),
            "writes": In(stream.Signature(write_request(config))),
            "returned": Out(stream.Signature(read_end(config))),
            "confirmed": Out(stream.Signature(write_end(config))),
            "fetch": In(stream.Signature(sidecar_fetch(config))),
            "write_back": In(stream.Signature(sidecar_write_back(config))),
            "written": In(named_place(config)),
            "urgent": In(named_place(config)),
            "flush": In(1),
            "mem": Out(memory_axi(config)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.port = port = MemoryPort(config=config)
        m.submodules.mxint8 = mxint8 = Mxint8Lines(config=config)
        outside = wiring.flipped(self)
        wiring.connect(m, outside.fetch, port.fetch)
        wiring.connect(m, outside.write_back, port.write_back)
        wiring.connect(m, port.mem, outside.mem)
        wiring.connect(m, mxint8.memory_reads, port.half_read)
        wiring.connect(m, mxint8.memory_writes, port.half_write)
        wiring.connect(m, port.half_returned, mxint8.returned)
        wiring.connect(m, port.half_confirmed, mxint8.confirmed)
        m.d.comb += [
            mxint8.written.eq(self.written),
            mxint8.urgent.eq(self.urgent),
            mxint8.flush.eq(self.flush),
        ]

        # Requests
        for requests, exact, scaled in (
            (self.reads, port.read, mxint8.reads),
            (self.writes, port.write, mxint8.writes),
        ):
            request = requests.payload
            m.d.comb += [
                exact.valid.eq(requests.valid & ~request.place.mode),
                exact.payload.id.eq(request.id),
                exact.payload.place.eq(request.place),
                scaled.valid.eq(requests.valid & request.place.mode),
                *(scaled.payload[name].eq(request[name]) for name in scaled.payload.shape().members),
                requests.ready.eq(Mux(request.place.mode, scaled.ready, exact.ready)),
            ]
        line, strobes = strobed(self.writes.payload)
        m.d.comb += [port.write.payload.data.eq(line), port.write.payload.strb.eq(strobes)]

        # Ends
        for name, ends, exact, scaled, shape in (
            ("returned_arbiter", self.returned, port.returned, mxint8.lines, read_end(config)),
            ("confirmed_arbiter", self.confirmed, port.confirmed, mxint8.ended, write_end(config)),
        ):
            m.submodules[name] = arbiter = Arbiter(shape, count=2)
            for source, sink in zip((exact, scaled), arbiter.sources, strict=True):
                m.d.comb += [
                    sink.valid.eq(source.valid),
                    source.ready.eq(sink.ready),
                    *(sink.payload[field].eq(source.payload[field]) for field in source.payload.shape().members),
                ]
            wiring.connect(m, arbiter.output, wiring.flipped(ends))
        return m
