"""The lines of mode mxint8: what the datapath reads and writes as 64 bytes lies in memory as 32 with a scale."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import LINE_BYTES
from kv_endpoint.golden.data.mxint8 import NAN, NOT_FINITE, POISONED, VALUES, ZERO
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.numbering import place
from kv_endpoint.hw.data.mxint8.codec import Compressor, Decompressor
from kv_endpoint.hw.data.mxint8.line_layouts import (
    SCALE_BITS,
    confirmed_write,
    half_written,
    line_answer,
    line_to_read,
    line_to_write,
    named_place,
    number_bits,
)
from kv_endpoint.hw.data.mxint8.read_combiner import ReadCombiner
from kv_endpoint.hw.data.mxint8.write_combiner import WriteCombiner
from kv_endpoint.hw.front.request_slots import write_data
from kv_endpoint.hw.lib.elastic import Elastic

__all__ = [
    "Mxint8Lines", "NAN_LINE", "byte_mask", "is_number", "line_read_back", "merged_line", "scaled_read", "scaled_write",
]  # fmt: skip

#: what a line with scale `NOT_FINITE` reads as
NAN_LINE = sum(NAN << layouts.LINE_BITS // VALUES * i for i in range(VALUES))
#: lines in the compressor and in the decompressor, and finished there
WRITES_INSIDE = 16
READS_INSIDE = 8


def is_number(scale):
    """Whether a line with this scale has elements that must be asked for."""
    return (scale != ZERO) & (scale != POISONED) & (scale != NOT_FINITE)


def byte_mask(be):
    """The bits of the bytes that `be` enables."""
    return Cat(be[byte].replicate(8) for byte in range(LINE_BYTES))


def merged_line(write, old):
    """All 64 bytes that a `write` leaves: those it does not enable are what the line read as before.

    That is `old`, if the line's `scale` is that of a number; else the scale says it.
    """
    enabled = byte_mask(write.be)
    before = Mux(is_number(write.scale), old, Mux(write.scale == NOT_FINITE, NAN_LINE, 0))
    return write.data & enabled | before & ~enabled


def scaled_read(config):
    """A line to read for read slot `id`; its scale is that of a number."""
    return layouts.layout((("id", layouts.id_bits(config)), ("place", place(config)), ("scale", SCALE_BITS)))


def scaled_write(config):
    """A line to write for write slot `id`; `scale` is what it has been until now."""
    return layouts.layout((*scaled_read(config).members.items(), *write_data().members.items()))


def line_read_back(config):
    """What a line read as; `joined`: the access was another's."""
    return layouts.layout((("id", layouts.id_bits(config)), ("failed", 1), ("joined", 1), ("data", layouts.LINE_BITS)))


class Mxint8Lines(wiring.Component):
    """Compresses what is written and decompresses what is read, and combines the accesses of both.

    A partial write of a line that holds numbers reads it first, under a number of its own, and takes `writes` only
    when it has it: one at a time. A poisoned line stays poisoned, and so does one that could not be read.

    Latency in clocks: none from `reads` to `memory_reads`, 6 from `returned` to `lines`; 11 from `writes` to
    `memory_writes` for the write that makes a DDR5 line whole, 1 from `confirmed` to `ended`. One line a clock each
    way; 16 writes may wait for memory inside.

    Members
    -------
    reads : In(stream of scaled_read)
    writes : In(stream of scaled_write)
    memory_reads : Out(stream of line_to_read)
    memory_writes : Out(stream of line_to_write)
    returned : In(stream of line_answer)
    confirmed : In(stream of confirmed_write)
    lines : Out(stream of line_read_back)
    ended : Out(stream of half_written)
        The scale is that of a failed write too: the taker poisons the line.
    written, urgent, flush : as `ReadCombiner` and `WriteCombiner`
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__({
            "reads": In(stream.Signature(scaled_read(config))),
            "writes": In(stream.Signature(scaled_write(config))),
            "memory_reads": Out(stream.Signature(line_to_read(config))),
            "memory_writes": Out(stream.Signature(line_to_write(config))),
            "returned": In(stream.Signature(line_answer(config))),
            "confirmed": In(stream.Signature(confirmed_write(config))),
            "lines": Out(stream.Signature(line_read_back(config))),
            "ended": Out(stream.Signature(half_written(config))),
            "written": In(named_place(config)),
            "urgent": In(named_place(config)),
            "flush": In(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.read_combiner = read_combiner = ReadCombiner(config=config)
        m.submodules.write_combiner = write_combiner = WriteCombiner(config=config)
        outside = wiring.flipped(self)
        wiring.connect(m, read_combiner.memory, outside.memory_reads)
        wiring.connect(m, outside.returned, read_combiner.returned)
        wiring.connect(m, write_combiner.memory, outside.memory_writes)
        wiring.connect(m, outside.confirmed, write_combiner.confirmed)
        wiring.connect(m, write_combiner.ended, outside.ended)
        m.d.comb += [
            read_combiner.written.eq(self.written),
            write_combiner.urgent.eq(self.urgent),
            write_combiner.flush.eq(self.flush),
        ]

        # Reads: of the datapath, or of a line that a write is part of.
        read, write = self.reads.payload, self.writes.payload
        partial, merges, asked, merge_ready, do_write = (Signal() for _ in range(5))
        m.d.comb += [
            partial.eq(~write.be.all()),
            merges.eq(self.writes.valid & partial & is_number(write.scale)),
            read_combiner.reads.valid.eq(self.reads.valid | merges & ~asked),
            self.reads.ready.eq(read_combiner.reads.ready & ~merges),
        ]
        wanted = read_combiner.reads.payload
        with m.If(merges):
            m.d.comb += [
                wanted.number.eq(1 << layouts.id_bits(config)),
                wanted.place.eq(write.place),
                wanted.scale.eq(write.scale),
            ]
        with m.Else():
            m.d.comb += [wanted.number.eq(read.id), wanted.place.eq(read.place), wanted.scale.eq(read.scale)]

        # What was read.
        read_tag = data.StructLayout({"number": number_bits(config), "failed": 1, "joined": 1})
        m.submodules.decompress = decompress = Elastic(
            pipeline=Decompressor(), inputs=("scale", "elements"), outputs=("line",), tag=read_tag, depth=READS_INSIDE
        )
        halves = read_combiner.halves
        line, back = decompress.results.payload, self.lines.payload
        for_merge = Signal()
        m.d.comb += [
            decompress.items.valid.eq(halves.valid),
            halves.ready.eq(decompress.items.ready),
            *(decompress.items.payload.tag[name].eq(halves.payload[name]) for name in ("number", "failed", "joined")),
            *(decompress.items.payload[name].eq(halves.payload[name]) for name in ("scale", "elements")),
            for_merge.eq(line.tag.number[-1]),
            self.lines.valid.eq(decompress.results.valid & ~for_merge),
            decompress.results.ready.eq(self.lines.ready | for_merge),
            back.id.eq(line.tag.number),
            back.data.eq(line.line),
            *(back[name].eq(line.tag[name]) for name in ("failed", "joined")),
        ]
        old = Signal(layouts.LINE_BITS)
        old_failed, old_joined = Signal(), Signal()
        with m.If(merges & read_combiner.reads.ready):
            m.d.sync += asked.eq(1)
        with m.If(decompress.results.valid & for_merge):
            m.d.sync += [
                merge_ready.eq(1),
                old.eq(line.line),
                old_failed.eq(line.tag.failed),
                old_joined.eq(line.tag.joined),
            ]
        with m.If(do_write):
            m.d.sync += [asked.eq(0), merge_ready.eq(0)]

        # Writes: all 64 bytes known, then the way through the compressor.
        write_tag = data.StructLayout({
            "id": layouts.id_bits(config), "place": place(config), "poison": 1, "read_failed": 1,
        })  # fmt: skip
        m.submodules.compress = compress = Elastic(
            pipeline=Compressor(), inputs=("line",), outputs=("scale", "elements"), tag=write_tag, depth=WRITES_INSIDE
        )
        whole = Signal(compress.items.payload.shape())
        whole_valid = Signal()
        m.d.comb += [
            self.writes.ready.eq((~whole_valid | compress.items.ready) & (~merges | merge_ready)),
            do_write.eq(self.writes.valid & self.writes.ready),
            compress.items.valid.eq(whole_valid),
            compress.items.payload.eq(whole),
        ]
        with m.If(~whole_valid | compress.items.ready):
            m.d.sync += [
                whole_valid.eq(do_write),
                whole.line.eq(merged_line(write, old)),
                whole.tag.id.eq(write.id),
                whole.tag.place.eq(write.place),
                whole.tag.poison.eq(write.poison | partial & (write.scale == POISONED) | merges & old_failed),
                # An access that was another's is counted there.
                whole.tag.read_failed.eq(merges & old_failed & ~old_joined),
            ]
        compressed, half = compress.results.payload, write_combiner.halves.payload
        m.d.comb += [
            write_combiner.halves.valid.eq(compress.results.valid),
            compress.results.ready.eq(write_combiner.halves.ready),
            half.id.eq(compressed.tag.id),
            half.place.eq(compressed.tag.place),
            half.note.scale.eq(Mux(compressed.tag.poison, POISONED, compressed.scale)),
            half.note.read_failed.eq(compressed.tag.read_failed),
            half.elements.eq(compressed.elements),
        ]
        return m
