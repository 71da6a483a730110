"""What an operation beside the slots makes of a row of the snoop filter: `answer`, `recall` and `scrub` of
`golden.snoop_filter.SnoopFilter`.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.coherency import LineState, SnoopKind
from hw import layouts
from hw.filter_row import (
    block_of,
    chosen,
    covering,
    covers_layout,
    first,
    first_holder,
    lines_that,
    row_layout,
    sector_in,
    select,
)
from hw.snoop_table import launched_layout, place_layout

__all__ = ["FilterOperation"]


class FilterOperation(wiring.Component):
    """Snoop and new row of one operation. Combinational; it always takes effect.

    Members
    -------
    valid, op, number : In
        The operation, and the number of its set.
    row, match : In
        That set, and which way has the sector of the operation (one-hot, 0 if none).
    place : In
        A free place of the snoop table.
    launched, full, covers : Out
        What happens: a snoop begins; it would, had it a place; a sector goes out of use.
    after : Out(row)
        The row from now on.
    """

    def __init__(self, *, config):
        self._config = config
        row = row_layout(config)
        super().__init__(
            {
                "valid": In(1),
                "op": In(layouts.filter_op(config)),
                "number": In(config.filter_set_bits),
                "row": In(row),
                "match": In(config.filter_ways),
                "place": In(place_layout(config)),
                "launched": Out(launched_layout(config)),
                "full": Out(1),
                "covers": Out(covers_layout(config)),
                "after": Out(row),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, row, op = self._config, self.row, self.op
        answers, recalls, scrubs = (
            self.valid & (op.kind == kind)
            for kind in (layouts.FilterOp.ANSWER, layouts.FilterOp.RECALL, layouts.FilterOp.SCRUB)
        )
        mine = chosen(row, self.match)

        # The way that is asked back, from the first host that has lines of the kind wanted
        def wanted(states):
            every = lines_that(states)
            return Mux(scrubs & ~op.everything, lines_that(states, lambda state: state == LineState.STALE), every)

        candidates = [
            ~way.asked & Cat(wanted(states) for states in way.states).any() & (scrubs | self.match[number])
            for number, way in enumerate(row.ways)
        ]
        taken = Signal(config.filter_ways)
        m.d.comb += taken.eq(Cat(first(candidates)))
        hosts, masks = zip(*(first_holder([wanted(states) for states in way.states]) for way in row.ways), strict=True)
        wants, launches, snoop = Signal(), Signal(), self.launched.snoop
        m.d.comb += [
            wants.eq((scrubs | recalls) & taken.any()),
            launches.eq(wants & self.place.free),
            self.full.eq(wants & ~self.place.free),
            self.launched.valid.eq(launches),
            snoop.kind.eq(SnoopKind.INV),
            snoop.host.eq(select(taken, hosts)),
            snoop.sector.eq(sector_in(config, self.number, select(taken, [way.tag for way in row.ways]))),
            snoop.lines.eq(select(taken, [covering(mask) for mask in masks])),
        ]

        # What the answer leaves of its way. Nobody gains by an answer what he did not hold.
        left = Signal(mine.shape())
        m.d.comb += [left.eq(mine), left.busy.eq(mine.busy & ~op.snoop.lines)]
        for host, states in enumerate(mine.states):
            for line, held in enumerate(states):
                said = op.states.word_select(line, 2)
                lowers = (said == LineState.I) | ((said == LineState.S) & (held != LineState.I))
                with m.If(op.snoop.lines[line] & (op.snoop.host == host) & lowers):
                    m.d.comb += left.states[host][line].eq(said)
        m.d.comb += [left.asked.eq(left.busy.any()), left.used.eq(Cat(left.busy, left.states).any())]

        m.d.comb += [
            self.covers.valid.eq(answers & self.match.any() & ~left.used),
            self.covers.index.eq(block_of(op.snoop.sector)),
            self.after.eq(row),
        ]
        for number, (way, new) in enumerate(zip(row.ways, self.after.ways, strict=True)):
            with m.If(answers & self.match[number]):
                m.d.comb += [
                    new.used.eq(left.used),
                    new.asked.eq(left.asked),
                    new.busy.eq(left.busy),
                    new.states.eq(left.states),
                ]
            with m.If(launches & taken[number]):
                m.d.comb += [new.asked.eq(1), new.busy.eq(snoop.lines)]
            m.d.comb += new.place.eq(Mux(way.asked, way.place, self.place.tag))
        return m
