"""A systolic insertion sorter: keeps the first few of a stream of ranks."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.victims.rank import beyond, is_before, rank_layout

__all__ = ["Sorter"]


class Sorter(wiring.Component):
    """Keeps the `config.queue_depth` first of the ranks it is given, in order.

    Takes a rank a clock. Each cell keeps the earlier of its own rank and the arriving one, and passes the other on a
    clock later; so every path is one comparison, and all are settled `queue_depth` clocks after the last rank.

    Members
    -------
    clear : In(1)
        Forget everything.
    push, rank : In
    settled : Out(1)
        No rank is on its way.
    overflowed : Out(1)
        More ranks than cells were given since `clear`.
    first, last : Out(rank)
        The first rank kept, and the one in the last cell; none if there is none.
    shift : In(1)
        When settled: drop the first rank.
    """

    def __init__(self, *, config):
        self._config = config
        rank = rank_layout(config)
        super().__init__(
            {
                "clear": In(1),
                "push": In(1),
                "rank": In(rank),
                "settled": Out(1),
                "overflowed": Out(1),
                "first": Out(rank),
                "last": Out(rank),
                "shift": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rank = rank_layout(self._config)
        nothing = beyond(self._config)
        cells = [Signal(rank, name=f"cell_{number}") for number in range(self._config.queue_depth)]
        passing = []

        arriving_valid, arriving = self.push, self.rank
        for number, cell in enumerate(cells):
            passed_valid = Signal(name=f"passed_valid_{number}")
            passed = Signal(rank, name=f"passed_{number}")
            m.d.sync += passed_valid.eq(0)
            with m.If(self.clear):
                m.d.sync += cell.eq(nothing)
            with m.Elif(self.shift):
                m.d.sync += cell.eq(cells[number + 1] if number + 1 < len(cells) else nothing)
            with m.Elif(arriving_valid):
                m.d.sync += passed.eq(arriving)
                with m.If(is_before(arriving, cell)):
                    m.d.sync += [cell.eq(arriving), passed.eq(cell), passed_valid.eq(~cell.none)]
                with m.Else():
                    m.d.sync += passed_valid.eq(1)
            passing.append(passed_valid)
            arriving_valid, arriving = passed_valid, passed

        with m.If(self.clear):
            m.d.sync += self.overflowed.eq(0)
        with m.Elif(arriving_valid):
            m.d.sync += self.overflowed.eq(1)
        m.d.comb += [
            self.settled.eq(~Cat(passing).any()),
            self.first.eq(cells[0]),
            self.last.eq(cells[-1]),
        ]
        return m
