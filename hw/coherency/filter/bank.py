"""Half of the snoop filter's rows."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.coherency.filter.row import row_layout
from kv_endpoint.hw.common import layouts

__all__ = ["FilterBank"]


class FilterBank(wiring.Component):
    """RAM of rows: one read and one written a clock. What is written in a clock is read in it.

    After reset the rows are cleared, one a clock; `write` has to be quiet meanwhile.

    Members
    -------
    number, row : In, Out
        A row of the bank, and one clock later what it holds.
    write : In
        With `valid` row `number` becomes `row`; without, `row` has to be 0.
    written : Out
        The `row` of the clock before.
    ready : Out(1)
        The rows are cleared.

    Attribute `memory` is the RAM, for those who simulate the block.
    """

    def __init__(self, *, config):
        number, row = config.filter_set_bits - 1, row_layout(config)
        self._rows = config.filter_sets // 2
        self.memory = Memory(shape=row, depth=self._rows, init=[])
        super().__init__(
            {
                "number": In(number),
                "row": Out(row),
                "write": In(layouts.layout((("valid", 1), ("number", number), ("row", row)))),
                "written": Out(row),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = self.memory
        write = memory.write_port()
        read = memory.read_port(transparent_for=(write,))

        clear_number = Signal(range(self._rows))
        with m.If(~self.ready):
            m.d.sync += [clear_number.eq(clear_number + 1), self.ready.eq(clear_number == self._rows - 1)]
        m.d.sync += self.written.eq(self.write.row)
        m.d.comb += [
            read.addr.eq(self.number),
            self.row.eq(read.data),
            write.en.eq(self.write.valid | ~self.ready),
            write.addr.eq(Mux(self.ready, self.write.number, clear_number)),
            write.data.eq(self.write.row),
        ]
        return m
