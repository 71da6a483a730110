"""The way of a slot's question through the snoop filter, and the row that it finds at its end."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.coherency.filter.row import row_layout, tag_bits
from kv_endpoint.hw.common import layouts

__all__ = ["FilterLookup", "lookup_key", "matches"]


def lookup_key(config):
    """What is sought: a set, and a sector's tag."""
    return layouts.layout((("valid", 1), ("number", config.filter_set_bits), ("tag", tag_bits(config))))


def matches(row, tag):
    """Which way of a row has `tag` (one-hot, 0 if none)."""
    return Cat(way.used & (way.tag == tag) for way in row.ways)


class FilterLookup(wiring.Component):
    """Follows one question a clock from clock 0 to its commit in clock 3, and forwards to it.

    The RAM gives the row as it was in clock 0. What a question or an operation commits to the same set in clock 1 or 2
    takes its place. Whether that is so is known a clock before, so that a row that is being decided on passes a single
    selection.

    Members
    -------
    key : In(lookup_key)
        Clock 0.
    rows, written : In
        Of each bank: the row, in clock 1; what was written in the clock before.
    op2, op3 : In
        The keys of the operations that commit in the next clock, and in this one.
    after, op_after : In
        The rows that the question in clock 3 and the operation in clock 3 leave.
    key1, key2, key3 : Out
        The questions on their way.
    row, match : Out
        Clock 3: the set, and which way has the tag.
    """

    def __init__(self, *, config):
        self._config = config
        row, key = row_layout(config), lookup_key(config)
        super().__init__(
            {
                "key": In(key),
                "rows": In(data.ArrayLayout(row, 2)),
                "written": In(data.ArrayLayout(row, 2)),
                "op2": In(key),
                "op3": In(key),
                "after": In(row),
                "op_after": In(row),
                "key1": Out(key),
                "key2": Out(key),
                "key3": Out(key),
                "row": Out(row),
                "match": Out(config.filter_ways),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [self.key1.eq(self.key), self.key2.eq(self.key1), self.key3.eq(self.key2)]

        def same_set(other):
            return other.valid & (other.number == self.key1.number)

        # Clock 1: the RAM's row, and who commits to it now and in the next clock
        stored, was_written, will_be = Signal(row_layout(self._config)), Signal(), Signal(2)
        m.d.sync += [
            Value.cast(stored).eq(Mux(self.key1.number[0], *(Value.cast(row) for row in reversed(self.rows)))),
            was_written.eq(same_set(self.key3) | same_set(self.op3)),
            will_be.eq(Cat(same_set(self.key2), same_set(self.op2))),
        ]

        # Clock 2: the newest row. All that it may be are searched before it is known which.
        older = Signal.like(stored)
        written = Mux(self.key2.number[0], *(Value.cast(row) for row in reversed(self.written)))
        m.d.comb += Value.cast(older).eq(Mux(was_written, written, stored))

        def newest(older, *after):
            kept = Mux(will_be.any(), 0, older)
            return reduce(or_, (Mux(bit, each, 0) for bit, each in zip(will_be, after, strict=True)), kept)

        rows = (older, self.after, self.op_after)
        m.d.sync += [
            Value.cast(self.row).eq(newest(*(Value.cast(row) for row in rows))),
            self.match.eq(newest(*(matches(row, self.key2.tag) for row in rows))),
        ]
        return m
