"""The contents of the rows in the sidecar cache, and what an update makes of a row in either mode."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import LINE_BYTES, LINES_PER_BLOCK
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.layouts import LINE_BITS
from kv_endpoint.hw.common.numbering import place, row_number
from kv_endpoint.hw.lib.one_hot import bit_of

__all__ = ["SidecarRows", "cached_row", "sidecar_update"]


def sidecar_update(config):
    """What a line means from now on: `written` and `poisoned` of mode exact, or `scale` of mode mxint8."""
    return layouts.layout((("valid", 1), ("place", place(config)), ("written", 1), ("poisoned", 1), ("scale", 8)))


def cached_row(config):
    """A row and the set of the cache that it goes to."""
    return layouts.layout((("set", (config.sidecar_cache_rows - 1).bit_length()), ("row", LINE_BITS)))


class SidecarRows(wiring.Component):
    """A memory of `config.sidecar_cache_rows` rows in which the meaning of single lines can be changed.

    Members
    -------
    read_enable, read_set : In
        Shows a row as `row` from the next clock on, until the next read.
    update : In(sidecar_update)
        One a clock, never refused; shows to reads 2 clocks later.
    updated : Out(sets)
        The set in which an update is being written.
    fill : In(stream of cached_row)
        Replaces a row, when no update is being written; shows to reads 1 clock later.
    copy_enable, copy_set : In
        Shows a row as `copy` in the next clock; not in a clock with an update.
    """

    def __init__(self, *, config):
        self._config = config
        set_bits = (config.sidecar_cache_rows - 1).bit_length()
        self._set_bits = set_bits
        super().__init__({
            "read_enable": In(1),
            "read_set": In(set_bits),
            "row": Out(LINE_BITS),
            "update": In(sidecar_update(config)),
            "updated": Out(config.sidecar_cache_rows),
            "fill": In(stream.Signature(cached_row(config))),
            "copy_enable": In(1),
            "copy_set": In(set_bits),
            "copy": Out(LINE_BITS),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        # An update reads and writes the whole row; it shares its read port with the copies.
        m.submodules.rows = rows = Memory(shape=LINE_BITS, depth=self._config.sidecar_cache_rows, init=[])
        write, read = rows.write_port(), rows.read_port(domain="sync")
        modify = rows.read_port(domain="sync", transparent_for=(write,))

        update, set_ = Signal.like(self.update), Signal(self._set_bits)
        new_set = row_number(self.update.place)[: self._set_bits]
        m.d.sync += [update.eq(self.update), set_.eq(new_set)]
        m.d.comb += [
            read.en.eq(self.read_enable),
            read.addr.eq(self.read_set),
            self.row.eq(read.data),
            modify.en.eq(self.update.valid | self.copy_enable),
            modify.addr.eq(Mux(self.update.valid, new_set, self.copy_set)),
            self.copy.eq(modify.data),
            self.updated.eq(bit_of(update.valid, set_)),
            self.fill.ready.eq(~update.valid),
            write.en.eq(update.valid | self.fill.valid),
        ]

        mask, meaning = Signal(LINE_BITS), Signal(LINE_BITS)
        with m.If(update.place.mode):
            byte = Const(1) << update.place.line[: (LINE_BYTES - 1).bit_length()]
            m.d.comb += [
                mask.eq(Cat(byte[n].replicate(8) for n in range(LINE_BYTES))),
                meaning.eq(update.scale.replicate(LINE_BYTES)),
            ]
        with m.Else():
            bit = Const(1) << update.place.line
            m.d.comb += [
                mask.eq(bit.replicate(2)),
                meaning.eq(Cat(update[name].replicate(LINES_PER_BLOCK) for name in ("written", "poisoned"))),
            ]
        with m.If(update.valid):
            m.d.comb += [write.addr.eq(set_), write.data.eq(modify.data & ~mask | meaning & mask)]
        with m.Else():
            m.d.comb += [write.addr.eq(self.fill.payload.set), write.data.eq(self.fill.payload.row)]
        return m
