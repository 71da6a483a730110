"""Half of the snoop filter's rows: their RAM, the way that is meant, and what commits just ahead."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.filter_row import row_layout, tag_bits

__all__ = ["FilterBank", "bank_key"]


def bank_key(config):
    """Where a sector is sought: the row of the bank, and the sector's tag."""
    return layouts.layout((("number", config.filter_set_bits - 1), ("tag", tag_bits(config))))


class FilterBank(wiring.Component):
    """One row a clock: asked for in clock 0, given out in clock 2, written back in clock 3.

    What is committed in clock 1, 2 or 3 of a question of the same row is in what the question is given. After reset the
    rows are cleared, one a clock, and `commit` is ignored meanwhile.

    Members
    -------
    key : In(bank_key)
        Clock 0.
    row, match : Out
        Clock 2, combinational from `commit`: the row, and which way has the tag (one-hot, 0 if none).
    commit : In(valid, number, row)
        Clock 3: the row from now on.
    ready : Out(1)
        The rows are cleared.

    Attribute `memory` is the RAM, for those who simulate the block.
    """

    def __init__(self, *, config):
        self._config = config
        row = row_layout(config)
        self.memory = Memory(shape=row, depth=config.filter_sets // 2, init=[])
        super().__init__(
            {
                "key": In(bank_key(config)),
                "row": Out(row),
                "match": Out(config.filter_ways),
                "commit": In(layouts.layout((("valid", 1), ("number", config.filter_set_bits - 1), ("row", row)))),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, commit = self._config, self.commit
        rows = config.filter_sets // 2
        m.submodules.memory = memory = self.memory
        write = memory.write_port()
        read = memory.read_port(transparent_for=(write,))

        clear_number = Signal(range(rows))
        with m.If(~self.ready):
            m.d.sync += [clear_number.eq(clear_number + 1), self.ready.eq(clear_number == rows - 1)]
        m.d.comb += [
            write.en.eq(commit.valid | ~self.ready),
            write.addr.eq(Mux(self.ready, commit.number, clear_number)),
            write.data.eq(Mux(self.ready, commit.row, 0)),
            read.addr.eq(self.key.number),
        ]

        keys = [self.key, *(Signal(bank_key(config), name=f"key{clock}") for clock in (1, 2))]
        row = Signal(row_layout(config))
        m.d.sync += [
            keys[1].eq(keys[0]),
            keys[2].eq(keys[1]),
            row.eq(Mux(commit.valid & (commit.number == keys[1].number), commit.row, read.data)),
        ]

        # Both rows are searched before it is known which one counts.
        newer = Signal()

        def search(row):
            return Cat(way.used & (way.tag == keys[2].tag) for way in row.ways)

        m.d.comb += [
            newer.eq(commit.valid & (commit.number == keys[2].number)),
            self.row.eq(Mux(newer, commit.row, row)),
            self.match.eq(Mux(newer, search(commit.row), search(row))),
        ]
        return m
