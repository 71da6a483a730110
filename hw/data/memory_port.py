"""The way to DDR5: brings data lines of both modes and sidecar rows together on one AXI4 port."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import LINE_BYTES
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.numbering import place
from kv_endpoint.hw.data.mxint8.line_layouts import confirmed_write, ddr5_line, line_answer, line_to_read, line_to_write
from kv_endpoint.hw.data.sidecar.cache import sidecar_fetch, sidecar_write_back
from kv_endpoint.hw.lib.axi import AXI4, RESP_OKAY

__all__ = ["MemoryPort", "memory_axi", "line_read", "line_write", "line_returned", "line_confirmed"]

#: words that wait for memory in each of AR, AW and W
FIFO_DEPTH = 4

AXI_SIZE_LINE = (LINE_BYTES - 1).bit_length()
AXI_BURST_INCR = 1


def memory_axi(config):
    """The port; an ID is {mxint8, sidecar, number of the read or write slot, or of the sidecar fetch or write-back}.

    In mode mxint8 the second bit belongs to the reader's number (`hw.data.mxint8.line_layouts`).
    """
    return AXI4(
        address_bits=config.memory_address_bits, data_bits=layouts.LINE_BITS, id_bits=layouts.id_bits(config) + 2
    )


def line_read(config):
    """A data line of mode exact to read for read slot `id`."""
    return layouts.layout((("id", layouts.id_bits(config)), ("place", place(config))))


def line_write(config):
    """A data line of mode exact to write for write slot `id`; `strb` enables bytes."""
    return layouts.layout((*line_read(config).members.items(), ("data", layouts.LINE_BITS), ("strb", LINE_BYTES)))


def line_confirmed(config):
    """Memory has done, or failed to do, a write: of a data line of mode exact or, with `sidecar`, of a sidecar row."""
    return layouts.layout((("id", layouts.id_bits(config)), ("sidecar", 1), ("failed", 1)))


def line_returned(config):
    """Memory's answer to a read, likewise."""
    return layouts.layout((*line_confirmed(config).members.items(), ("data", layouts.LINE_BITS)))


class MemoryPort(wiring.Component):
    """Single-beat bursts of one line; one read and one write a clock; 1 clock from a request to its AXI channel.

    Where lines lie: `Config.data_line`, and sidecar row r at line `config.sidecar_base` + r. Sidecar rows go first:
    data operations wait for them, they for no data operation that is not under way. Lines of mode mxint8 go next: their
    writes have waited already, and operations for them.

    Members: `read`, `write` (mode exact), `half_read`, `half_write` (mode mxint8), `fetch`, `write_back`: streams of
    requests; `returned`, `confirmed`, `half_returned`, `half_confirmed`: streams of answers, valid and ready in the
    clock of the AXI transfer; `mem` (`memory_axi`).
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__({
            "read": In(stream.Signature(line_read(config))),
            "write": In(stream.Signature(line_write(config))),
            "half_read": In(stream.Signature(line_to_read(config))),
            "half_write": In(stream.Signature(line_to_write(config))),
            "fetch": In(stream.Signature(sidecar_fetch(config))),
            "write_back": In(stream.Signature(sidecar_write_back(config))),
            "returned": Out(stream.Signature(line_returned(config))),
            "confirmed": Out(stream.Signature(line_confirmed(config))),
            "half_returned": Out(stream.Signature(line_answer(config))),
            "half_confirmed": Out(stream.Signature(confirmed_write(config))),
            "mem": Out(memory_axi(config)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        mem = self.mem
        line_bits = self._config.memory_address_bits - AXI_SIZE_LINE
        address = data.StructLayout({"id": mem.arid.shape(), "line": line_bits})
        word = data.StructLayout({"data": layouts.LINE_BITS, "strb": LINE_BYTES})
        # Shallow, with asynchronous reads: they fit LUT RAM, where 512 bits would take 15 block RAMs.
        m.submodules.ar_fifo = ar_fifo = SyncFIFO(width=address.size, depth=FIFO_DEPTH)
        m.submodules.aw_fifo = aw_fifo = SyncFIFO(width=address.size, depth=FIFO_DEPTH)
        m.submodules.w_fifo = w_fifo = SyncFIFO(width=word.size, depth=FIFO_DEPTH)

        config = self._config
        ar, aw, w = Signal(address), Signal(address), Signal(word)
        write_room = Signal()
        m.d.comb += [
            write_room.eq(aw_fifo.w_rdy & w_fifo.w_rdy),
            ar_fifo.w_data.eq(ar),
            aw_fifo.w_data.eq(aw),
            w_fifo.w_data.eq(w),
            w_fifo.w_en.eq(aw_fifo.w_en),
        ]
        for fifo, room, out, sidecar_row, half, number, line in (
            (ar_fifo, ar_fifo.w_rdy, ar, self.fetch, self.half_read, self.half_read.payload.number, self.read),
            (aw_fifo, write_room, aw, self.write_back, self.half_write, self.half_write.payload.id, self.write),
        ):
            # One adder for all three.
            base, offset = Signal(line_bits), Signal(line_bits)
            with m.If(sidecar_row.valid):
                m.d.comb += [
                    out.id.eq(Cat(sidecar_row.payload.id, Const(1, 1))),
                    base.eq(config.sidecar_base),
                    offset.eq(sidecar_row.payload.row_number),
                ]
            with m.Elif(half.valid):
                m.d.comb += [
                    out.id.eq(number | 1 << len(out.id) - 1),
                    base.eq(config.mxint8_base),
                    offset.eq(ddr5_line(half.payload.place)),
                ]
            with m.Else():
                m.d.comb += [
                    out.id.eq(line.payload.id),
                    offset.eq(Cat(line.payload.place.line, line.payload.place.frame)),
                ]
            m.d.comb += [
                out.line.eq(base + offset),
                sidecar_row.ready.eq(room),
                half.ready.eq(room & ~sidecar_row.valid),
                line.ready.eq(room & ~sidecar_row.valid & ~half.valid),
                fifo.w_en.eq(room & (sidecar_row.valid | half.valid | line.valid)),
            ]
        with m.If(self.write_back.valid):
            m.d.comb += [w.data.eq(self.write_back.payload.row), w.strb.eq(~0)]
        with m.Elif(self.half_write.valid):
            m.d.comb += [w.data.eq(self.half_write.payload.data), w.strb.eq(self.half_write.payload.strb)]
        with m.Else():
            m.d.comb += [w.data.eq(self.write.payload.data), w.strb.eq(self.write.payload.strb)]

        for channel, fifo in (("ar", ar_fifo), ("aw", aw_fifo)):
            out = address(fifo.r_data)
            m.d.comb += [
                getattr(mem, f"{channel}valid").eq(fifo.r_rdy),
                fifo.r_en.eq(getattr(mem, f"{channel}ready")),
                getattr(mem, f"{channel}id").eq(out.id),
                getattr(mem, f"{channel}addr").eq(Cat(Const(0, AXI_SIZE_LINE), out.line)),
                getattr(mem, f"{channel}size").eq(AXI_SIZE_LINE),
                getattr(mem, f"{channel}burst").eq(AXI_BURST_INCR),
            ]
        out = word(w_fifo.r_data)
        m.d.comb += [
            mem.wvalid.eq(w_fifo.r_rdy),
            w_fifo.r_en.eq(mem.wready),
            mem.wdata.eq(out.data),
            mem.wstrb.eq(out.strb),
            mem.wlast.eq(1),
        ]

        for channel, answer, half, number in (
            ("r", self.returned, self.half_returned, self.half_returned.payload.number),
            ("b", self.confirmed, self.half_confirmed, self.half_confirmed.payload.id),
        ):
            valid, id_ = getattr(mem, f"{channel}valid"), getattr(mem, f"{channel}id")
            failed = getattr(mem, f"{channel}resp") != RESP_OKAY
            m.d.comb += [
                answer.valid.eq(valid & ~id_[-1]),
                half.valid.eq(valid & id_[-1]),
                getattr(mem, f"{channel}ready").eq(Mux(id_[-1], half.ready, answer.ready)),
                answer.payload.id.eq(id_),
                answer.payload.sidecar.eq(id_[-2]),
                answer.payload.failed.eq(failed),
                number.eq(id_),
                half.payload.failed.eq(failed),
            ]
        m.d.comb += [self.returned.payload.data.eq(mem.rdata), self.half_returned.payload.data.eq(mem.rdata)]
        return m
