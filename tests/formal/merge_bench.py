"""Partial writes of a line: every pattern of byte enables, all data."""

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Elaboratable, Module, Mux, Signal

from kv_endpoint.golden.common.config import LINE_BYTES
from kv_endpoint.golden.data.datapath import byte_mask
from kv_endpoint.golden.data.mxint8 import NOT_FINITE, POISONED, ZERO, decompress
from kv_endpoint.hw.common.layouts import LINE_BITS, layout
from kv_endpoint.hw.data.line_memory import strobed
from kv_endpoint.hw.data.mxint8.lines import merged_line
from kv_endpoint.hw.front.request_slots import write_data

__all__ = ["MergeBench"]


class MergeBench(Elaboratable):
    """`strobed` in front of a memory with byte strobes, and `merged_line`, beside what `golden.data.datapath` does.

    Golden: `data & mask | old & ~mask`, where the mask has the bits of each byte that is enabled, and `old` is what the
    line reads as: in mode exact zeros until it was written, in mode mxint8 what scale and elements say.
    """

    def elaborate(self, platform):
        m = Module()
        shape = layout((*write_data().members.items(), ("written", 1), ("scale", 8)))
        write = shape(AnyConst(shape.size))
        stored, mask, exact, scaled = (Signal(LINE_BITS) for _ in range(4))
        m.d.comb += stored.eq(AnyConst(LINE_BITS))
        for byte in range(LINE_BYTES):
            with m.If(write.be[byte]):
                m.d.comb += mask[8 * byte : 8 * byte + 8].eq(byte_mask(1 << byte) >> 8 * byte)

        line, strobes = strobed(write)
        in_memory = Signal(LINE_BITS)
        m.d.comb += [
            in_memory.eq(stored),
            exact.eq(write.data & mask | Mux(write.written, stored, 0) & ~mask),
            Assert(in_memory == exact),
        ]
        for byte in range(LINE_BYTES):
            with m.If(strobes[byte]):
                m.d.comb += in_memory.word_select(byte, 8).eq(line.word_select(byte, 8))

        # `stored` as what the line's elements read as, where they count
        reads_as = Signal(LINE_BITS)
        m.d.comb += [
            reads_as.eq(stored),
            scaled.eq(write.data & mask | reads_as & ~mask),
            Assert(merged_line(write, stored) == scaled),
        ]
        with m.Switch(write.scale):
            for scale in (ZERO, NOT_FINITE):
                with m.Case(scale):
                    m.d.comb += reads_as.eq(decompress(scale, 0))
            # A poisoned line reads as zeros.
            with m.Case(POISONED):
                m.d.comb += reads_as.eq(0)
        return m
