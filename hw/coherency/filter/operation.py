"""What an operation beside the slots makes of a row of the snoop filter: `answer`, `recall` and `scrub` of
`golden.coherency.filter.SnoopFilter`.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import LineState, SnoopKind
from kv_endpoint.hw.coherency.filter.row import (
    block_of,
    covering,
    first,
    first_holder,
    lines_that,
    row_layout,
    sector_in,
    select,
)
from kv_endpoint.hw.common import layouts

__all__ = ["FilterOperation", "decode_op", "order_layout"]


def order_layout(config):
    """An operation, decoded.

    One of `answers`, `recalls`, `scrubs` is set, or none. Of an answer: the lines that are `answered`, and by host and
    line which of them the host has no longer (`gone`) or has no more than a copy of (`shared`). `everything`: every
    line is wanted back, not only the stale ones.
    """
    lines = data.ArrayLayout(SECTOR_LINES, config.hosts)
    return layouts.layout(
        (
            ("answers", 1), ("recalls", 1), ("scrubs", 1), ("sector", config.sector_bits), ("answered", SECTOR_LINES),
            ("gone", lines), ("shared", lines), ("everything", 1),
        )
    )  # fmt: skip


def decode_op(m, config, valid, op):
    """The order of an operation, combinational."""
    order, answered = Signal(order_layout(config)), op.snoop.lines
    said = [op.states.word_select(line, 2) for line in range(SECTOR_LINES)]
    m.d.comb += [
        order.answers.eq(valid & (op.kind == layouts.FilterOp.ANSWER)),
        order.recalls.eq(valid & (op.kind == layouts.FilterOp.RECALL)),
        order.scrubs.eq(valid & (op.kind == layouts.FilterOp.SCRUB)),
        order.sector.eq(op.snoop.sector),
        order.answered.eq(Mux(order.answers, answered, 0)),
        order.everything.eq(op.everything | order.recalls),
    ]
    for host, (gone, shared) in enumerate(zip(order.gone, order.shared, strict=True)):
        with m.If(op.snoop.host == host):
            m.d.comb += [
                gone.eq(order.answered & Cat(state == LineState.I for state in said)),
                shared.eq(order.answered & Cat(state == LineState.S for state in said)),
            ]
    return order


class FilterOperation(wiring.Component):
    """Snoop and new row of one operation, in two clocks: nobody else changes its row meanwhile.

    Members
    -------
    order, number, row, match : In
        First clock: the operation, the number of its set, that set, and which way has its sector (one-hot, 0 if none).
    place : In
        Second clock: a free place of the snoop table.
    launched, full, busy, covers : Out
        Second clock: a snoop begins; it would, had it a place; SCRUB has passed over lines that it is for, since
        their sector has a snoop, but not of them; a sector goes out of use.
    after : Out(row)
        Second clock: the row from now on.
    """

    def __init__(self, *, config):
        self._config = config
        row = row_layout(config)
        super().__init__(
            {
                "order": In(order_layout(config)),
                "number": In(config.filter_set_bits),
                "row": In(row),
                "match": In(config.filter_ways),
                "place": In(layouts.snoop_place(config)),
                "launched": Out(layouts.launched_snoop(config)),
                "full": Out(1),
                "busy": Out(1),
                "covers": Out(layouts.covered_event(config)),
                "after": Out(row),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, row, order, place, snoop = self._config, self.row, self.order, self.place, self.launched.snoop

        # The way that is asked back, from the first host that has lines of the kind wanted
        def is_wanted(state):
            return (state == LineState.STALE) | (order.everything & (state != LineState.I))

        wanted = [[lines_that(host, is_wanted) for host in way.states] for way in row.ways]
        candidates = [
            # A way in use without a snoop has lines.
            ~way.asked & Mux(order.scrubs, Cat(masks).any(), order.recalls & self.match[number])
            for number, (way, masks) in enumerate(zip(row.ways, wanted, strict=True))
        ]
        victims, asked_back = Signal(config.filter_ways), Signal(config.filter_ways)
        hosts, masks = zip(*(first_holder(each) for each in wanted), strict=True)
        # Of a way that is being asked: lines that its snoop is not of, or of two hosts may not be of.
        passed_over = [
            way.asked & Cat(mask & ~way.busy if config.hosts == 1 else mask for mask in masks).any()
            for way, masks in zip(row.ways, wanted, strict=True)
        ]
        m.d.comb += victims.eq(Cat(first(candidates)))
        m.d.sync += [
            asked_back.eq(victims),
            self.busy.eq(order.scrubs & Cat(passed_over).any()),
            snoop.kind.eq(SnoopKind.INV),
            snoop.host.eq(select(victims, hosts)),
            snoop.sector.eq(sector_in(config, self.number, select(victims, [way.tag for way in row.ways]))),
            snoop.lines.eq(select(victims, [covering(mask) for mask in masks])),
        ]

        # What an answer leaves of its way. Nobody gains by an answer what he did not hold.
        left, leaves = Signal(row_layout(config)), Signal(config.filter_ways)
        m.d.comb += left.eq(row)
        for number, (way, new) in enumerate(zip(row.ways, left.ways, strict=True)):
            kept = Cat(lines_that(host) & ~gone for host, gone in zip(way.states, order.gone, strict=True))
            busy = way.busy & ~order.answered
            answers = order.answers & self.match[number]
            m.d.comb += [leaves[number].eq(answers & ~Cat(kept, busy).any()), new.used.eq(way.used & ~leaves[number])]
            with m.If(answers):
                m.d.comb += [new.asked.eq(busy.any()), new.busy.eq(busy)]
                for host, states in enumerate(new.states):
                    for line, state in enumerate(states):
                        held = way.states[host][line]
                        with m.If(order.gone[host][line]):
                            m.d.comb += state.eq(LineState.I)
                        with m.Elif(order.shared[host][line] & (held != LineState.I)):
                            m.d.comb += state.eq(LineState.S)
        stays = Signal.like(left)
        m.d.sync += [
            stays.eq(left),
            self.covers.valid.eq(leaves.any()),
            self.covers.index.eq(block_of(order.sector)),
        ]

        # The place
        m.d.comb += [
            self.launched.valid.eq(asked_back.any() & place.free),
            self.full.eq(asked_back.any() & ~place.free),
            self.after.eq(stays),
        ]
        for number, (way, new) in enumerate(zip(stays.ways, self.after.ways, strict=True)):
            with m.If(asked_back[number] & place.free):
                m.d.comb += [new.asked.eq(1), new.busy.eq(snoop.lines)]
            m.d.comb += new.place.eq(Mux(way.asked, way.place, place.tag))
        return m
