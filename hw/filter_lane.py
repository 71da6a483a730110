"""The way of a question or an operation through the snoop filter, and the row that it finds at its end."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.filter_row import row_layout, tag_bits

__all__ = ["LANES", "FilterLane", "lane_key"]

#: the slots' questions, and the operations beside them
LANES = 2


def lane_key(config):
    """What is sought: a set, and a sector's tag."""
    return layouts.layout((("valid", 1), ("number", config.filter_set_bits), ("tag", tag_bits(config))))


class FilterLane(wiring.Component):
    """Follows one question or operation a clock from clock 0 to its commit in clock 3, and forwards to it.

    The RAM gives the row as it was in clock 0. What either lane commits in clock 1 or 2 to the same set takes its
    place; whether that is so is known a clock before, so that a row that has just been decided on passes one selection.
    Both lanes never have the same set in the same clock.

    Members
    -------
    key : In(lane_key)
        Clock 0.
    rows : In
        Clock 1: the row of each bank.
    ahead : In
        The keys of both lanes that are in clock 2, so commit in the next clock.
    after : In
        The rows that both lanes commit in this clock.
    key2, key3 : Out
        The key in clock 2, and in clock 3.
    row, match : Out
        Clock 3: the set, and which way has the tag (one-hot, 0 if none).
    busy : Out(1)
        There is something in clock 1, 2 or 3.
    """

    def __init__(self, *, config):
        self._config = config
        row, key = row_layout(config), lane_key(config)
        super().__init__(
            {
                "key": In(key),
                "rows": In(data.ArrayLayout(row, 2)),
                "ahead": In(data.ArrayLayout(key, LANES)),
                "after": In(data.ArrayLayout(row, LANES)),
                "key2": Out(key),
                "key3": Out(key),
                "row": Out(row),
                "match": Out(config.filter_ways),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        key1, row2 = Signal(lane_key(self._config)), Signal(row_layout(self._config))
        m.d.sync += [key1.eq(self.key), self.key2.eq(key1), self.key3.eq(self.key2)]
        m.d.comb += self.busy.eq(key1.valid | self.key2.valid | self.key3.valid)

        def will_commit(key, name):
            """For each lane, whether in the next clock it commits to the set of `key`."""
            same = Signal(LANES, name=name)
            m.d.sync += same.eq(Cat(ahead.valid & (ahead.number == key.number) for ahead in self.ahead))
            return same

        def newest(same, after, stored):
            """The one of `after` that `same` marks, else `stored`."""
            kept = Mux(same.any(), 0, stored)
            return reduce(or_, (Mux(bit, each, 0) for bit, each in zip(same, after, strict=True)), kept)

        def search(row):
            return Cat(way.used & (way.tag == self.key2.tag) for way in row.ways)

        same1, same2 = will_commit(self.key, "same1"), will_commit(key1, "same2")
        after = [Value.cast(row) for row in self.after]
        stored = Value.cast(Mux(key1.number[0], self.rows[1], self.rows[0]))
        m.d.sync += [
            row2.eq(newest(same1, after, stored)),
            self.row.eq(newest(same2, after, Value.cast(row2))),
            # All are searched before it is known which one counts.
            self.match.eq(newest(same2, [search(row) for row in self.after], search(row2))),
        ]
        return m
