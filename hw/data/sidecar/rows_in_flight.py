"""Which sidecar rows are on their way from memory, or to it, and under which number."""

from amaranth import Array, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.front.request_slots import numbered
from kv_endpoint.hw.lib.one_hot import bit_of

__all__ = ["RowsInFlight"]


class RowsInFlight(wiring.Component):
    """Up to `count` rows, a power of two, under numbers that are used in turn, so that an offered one never changes.

    Members
    -------
    start, row : In
        Row number `row` goes under `number`; only while `free`.
    number, free : Out
        The next number, and whether its last row has ended.
    end : In(numbered)
        The row of `end.id` has ended.
    ended_row : Out
        Row number of `end.id`, also without `end.valid`.
    under_way, rows : Out
        One bit and one row number a number.
    """

    def __init__(self, *, config, count):
        if not 1 <= count <= 1 << layouts.id_bits(config) or count & count - 1:
            raise ValueError(f"count must be a power of two up to {1 << layouts.id_bits(config)}, not {count!r}")
        self._count = count
        super().__init__({
            "start": In(1),
            "row": In(config.row_bits),
            "number": Out(range(count)),
            "free": Out(1),
            "end": In(numbered(config, "valid")),
            "ended_row": Out(config.row_bits),
            "under_way": Out(count),
            "rows": Out(data.ArrayLayout(config.row_bits, count)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        rows = Array(self.rows[number] for number in range(self._count))
        number = self.number
        m.d.comb += [
            self.free.eq(~self.under_way.bit_select(number, 1)),
            self.ended_row.eq(rows[self.end.id]),
        ]
        started, ended = Signal(self._count), Signal(self._count)
        m.d.comb += [started.eq(bit_of(self.start, number)), ended.eq(bit_of(self.end.valid, self.end.id))]
        m.d.sync += self.under_way.eq((self.under_way | started) & ~ended)
        with m.If(self.start):
            m.d.sync += [number.eq(number + 1), rows[number].eq(self.row)]
        return m
