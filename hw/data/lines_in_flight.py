"""Which memory lines have work in flight, so that same-line work keeps its order and sidecar rows in use stay cached.

AXI orders nothing between reads and writes, nor between two IDs. So the datapath keeps each read or write from the time
it asks for its sidecar row until its response is queued, under its slot number, and compares.
"""

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.numbering import place, row_number
from kv_endpoint.hw.front.request_slots import numbered
from kv_endpoint.hw.lib.one_hot import bit_of

__all__ = ["LinesInFlight", "entering"]


def entering(config):
    """Operation `id` on a line, in a clock with `valid`."""
    return layouts.layout((("valid", 1), ("id", layouts.id_bits(config)), ("place", place(config))))


class LinesInFlight(wiring.Component):
    """A table of `count` operations by slot number; each enters, is issued, and leaves. One of each a clock.

    Two questions. *Does an issued operation share the line of the operation about to be issued?* `candidate` is that
    operation's line, taken over in a clock with `load`; from the next clock on `conflict` tells, until the next `load`.
    An operation issued in the very clock of the load counts. *Is a sidecar set in use?* `in_use` says in the same clock
    whether an operation in the table, or with `until_issued` one not yet issued, has a sidecar row of set `set`, which
    is the low bits of its number.
    """

    def __init__(self, *, config, count, until_issued):
        if not 1 <= count <= 1 << layouts.id_bits(config):
            raise ValueError(f"count must be 1 to {1 << layouts.id_bits(config)}, not {count!r}")
        self._count = count
        self._until_issued = until_issued
        self._set_bits = (config.sidecar_cache_rows - 1).bit_length()
        self._place = place(config)
        super().__init__({
            "enter": In(entering(config)),
            "issue": In(numbered(config, "valid")),
            "leave": In(numbered(config, "valid")),
            "load": In(1),
            "candidate": In(self._place),
            "conflict": Out(1),
            "set": In(self._set_bits),
            "in_use": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        entered, issued, matching = (Signal(self._count) for _ in range(3))
        now_issued, leaving, same_line, same_set = (Signal(self._count) for _ in range(4))
        places = [Signal(self._place, name=f"place_{number}") for number in range(self._count)]
        sets = [Signal(self._set_bits, name=f"set_{number}") for number in range(self._count)]
        m.d.comb += [
            now_issued.eq(issued | bit_of(self.issue.valid, self.issue.id)),
            leaving.eq(bit_of(self.leave.valid, self.leave.id)),
            same_line.eq(Cat(place.as_value() == self.candidate.as_value() for place in places)),
            same_set.eq(Cat(set_ == self.set for set_ in sets)),
            self.conflict.eq(matching.any()),
            self.in_use.eq((same_set & entered & (~issued if self._until_issued else ~0)).any()),
        ]
        m.d.sync += [
            entered.eq((entered | bit_of(self.enter.valid, self.enter.id)) & ~leaving),
            issued.eq(now_issued & ~leaving),
            matching.eq(matching & ~leaving),
        ]
        with m.If(self.load):
            m.d.sync += matching.eq(now_issued & same_line & ~leaving)
        for number, (place_, set_) in enumerate(zip(places, sets, strict=True)):
            with m.If(self.enter.valid & (self.enter.id == number)):
                m.d.sync += [place_.eq(self.enter.place), set_.eq(row_number(self.enter.place))]
        return m
