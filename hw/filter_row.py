"""The row of one set of the snoop filter: what it holds, and what an access or an operation makes of it.

`golden/snoop_filter.py` says what each does; this file has no clocks. A way that is not in use has no lines and no
snoop: all of it is 0 but `tag` and `place`, which mean nothing then, nor does `place` without a snoop. So they need not
wait for any decision.
"""

from functools import reduce
from operator import or_, xor

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.coherency import Access, Grant, LineState, Retry, SnoopKind
from golden.config import SECTOR_LINES
from golden.metadata import Outcome
from hw import layouts
from hw.held_requests import waits_on_layout
from hw.snoop_table import launched_layout, place_layout

__all__ = [
    "RowAccess", "RowOperation", "covers_layout", "row_layout", "set_number", "tag_bits",
]  # fmt: skip

_LOCAL_BITS = 5


def set_number(config, sector):
    """Number of the set of a sector (`golden.snoop_filter.set_of`): its chunks, XORed."""
    bits = config.filter_set_bits
    return reduce(xor, (sector[start : start + bits] for start in range(0, len(sector), bits)))


def tag_bits(config):
    """Width of what a way keeps of its sector's number: what lies above the lowest chunk, which the set tells then."""
    return max(1, config.sector_bits - config.filter_set_bits)


def row_layout(config):
    """One set. Of each way: `used`, the sector's `tag`, whether a snoop of it is outstanding (`asked`), its lines
    (`busy`) and its `place` in the snoop table, and `states[host][line]`. `next`, `promised` are those of
    `golden.snoop_filter.Row`.
    """
    way = data.StructLayout(
        {
            "used": 1,
            "tag": tag_bits(config),
            "asked": 1,
            "busy": SECTOR_LINES,
            "place": layouts.snoop_tag_bits(config),
            "states": data.ArrayLayout(data.ArrayLayout(2, SECTOR_LINES), config.hosts),
        }
    )
    return data.StructLayout(
        {"ways": data.ArrayLayout(way, config.filter_ways), "next": range(config.filter_ways), "promised": 1}
    )


def covers_layout(config):
    """A sector of block `index` comes into use in this clock (`up`), or goes out of it."""
    return layouts.layout((("valid", 1), ("index", config.index_bits), ("up", 1)))


def _sector_of(config, number, tag):
    """The sector with `tag` in set `number`."""
    tag = tag[: config.sector_bits - config.filter_set_bits]
    return Cat(number ^ set_number(config, tag) if len(tag) else number, tag)


def _select(one_hot, values):
    """That of `values` which `one_hot` marks, 0 if there is none."""
    return reduce(or_, (Mux(bit, value, 0) for bit, value in zip(one_hot, values, strict=True)))


def _chosen(row, one_hot):
    """The way of a row that `one_hot` marks, all 0 if there is none."""
    return data.View(row.shape()["ways"].shape.elem_shape, _select(one_hot, [Value.cast(way) for way in row.ways]))


def _first(bits):
    """The lowest of `bits`, one-hot."""
    return [bits[0], *(bits[number] & ~Cat(bits[:number]).any() for number in range(1, len(bits)))]


def _owned(state):
    return (state == LineState.A) | (state == LineState.STALE)


def _lines(states, wanted):
    """The lines (a mask) of one host's states that are `wanted`."""
    return Cat(wanted(state) for state in states)


def _held_lines(states):
    return _lines(states, lambda state: state != LineState.I)


def _covering(lines):
    """`golden.coherency.covering`."""
    low, high = lines[:2].any(), lines[2:].any()
    block = Cat(low, low, high, high)
    return Mux((lines & lines - 1)[:SECTOR_LINES] == 0, lines, block)


def _first_holder(masks):
    """(host, lines) of the first host whose mask of lines is not 0."""
    if len(masks) == 1:
        return 0, masks[0]
    return ~masks[0].any(), Mux(masks[0].any(), masks[0], masks[1])


class RowAccess(wiring.Component):
    """What the access of a slot does. Combinational; `verdict` and `wants` do not depend on `take`.

    Members
    -------
    question, number : In
        What is asked, and the number of its set.
    row, match : In
        That set, and which way has the sector (one-hot, 0 if none).
    place, take : In
        A free place of the snoop table. Whether the access takes effect.
    verdict, waits_on : Out
        Of a question that is valid; `waits_on` if it is held.
    wants : Out(1)
        A snoop begins if there is a place and the access takes effect.
    launched, covers, stale : Out
        What happens: a snoop begins; a sector comes into use or goes out of it; a line becomes STALE.
    after : Out(row)
        The row from now on.
    """

    def __init__(self, *, config):
        self._config = config
        row = row_layout(config)
        super().__init__(
            {
                "question": In(layouts.filter_question(config)),
                "number": In(config.filter_set_bits),
                "row": In(row),
                "match": In(config.filter_ways),
                "place": In(place_layout(config)),
                "take": In(1),
                "verdict": Out(layouts.filter_verdict()),
                "waits_on": Out(waits_on_layout(config)),
                "wants": Out(1),
                "launched": Out(launched_layout(config)),
                "covers": Out(covers_layout(config)),
                "stale": Out(1),
                "after": Out(row),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, row, question, verdict = self._config, self.row, self.question, self.verdict
        access, line = question.access, question.line

        # The way of the sector, and the line in it
        mine = Signal(row_layout(config)["ways"].shape.elem_shape)
        m.d.comb += mine.eq(_chosen(row, self.match))
        found, own, other = self.match.any(), Signal(2), Signal(2)
        if config.hosts == 1:
            m.d.comb += own.eq(mine.states[0][line])
        else:
            m.d.comb += [own.eq(mine.states[question.host][line]), other.eq(mine.states[~question.host][line])]

        # The row as a whole
        used = [way.used for way in row.ways]
        busy = [way.asked for way in row.ways]
        first_free, first_busy = _first([~each for each in used]), _first(busy)
        full, any_busy, last_free = Signal(), Signal(), Signal()
        m.d.comb += [
            full.eq(Cat(used).all()),
            any_busy.eq(Cat(busy).any()),
            last_free.eq(
                Cat(free & Cat(used[:number], used[number + 1 :]).all() for number, free in enumerate(first_free)).any()
            ),
        ]

        # The way that is asked back next: in turns, but not the one free way, which the request is about to take
        turn = [row.next == number for number in range(config.filter_ways)]
        victims = Signal(config.filter_ways)
        m.d.comb += victims.eq(Cat(
            turn[number] & used[number] | turn[number - 1] & ~used[number - 1] for number in range(config.filter_ways)
        ))  # fmt: skip

        # What is asked for
        asks, writes, caches = Signal(), Signal(), Signal()
        conflict, wants_other, wants_victim = Signal(), Signal(), Signal()
        kind = Signal(SnoopKind)
        m.d.comb += [
            asks.eq(question.valid & (access != Access.PLAIN)),
            writes.eq(access >= Access.WRITE_THROUGH),
            caches.eq((access >= Access.READ_SHARED) & (access <= Access.OWN)),
            self.wants.eq(wants_other | wants_victim),
        ]
        with m.Switch(access):
            with m.Case(Access.READ_CURRENT):
                m.d.comb += [kind.eq(SnoopKind.CUR), conflict.eq(_owned(other) & (question.retry != Retry.SNOOPED))]
            with m.Case(Access.READ_SHARED, Access.READ_DATA):
                m.d.comb += [kind.eq(SnoopKind.DATA), conflict.eq(_owned(other))]
            with m.Case(Access.READ_INVALIDATE, Access.READ_OWN, Access.OWN, Access.FLUSH):
                m.d.comb += [kind.eq(SnoopKind.INV), conflict.eq(other != LineState.I)]

        # The decision
        sets_state, takes_way, promises, keeps_promise = Signal(), Signal(), Signal(), Signal()
        m.d.comb += verdict.owner.eq(1)
        with m.If(asks & writes):
            m.d.comb += [
                verdict.owner.eq((access == Access.WRITE_THROUGH) | _owned(own)),
                sets_state.eq(found & verdict.owner),
            ]
        with m.Elif(asks & mine.busy.bit_select(line, 1)):
            m.d.comb += [verdict.held.eq(Outcome.HELD_LINE), self.waits_on.tag.eq(mine.place)]
        with m.Elif(asks & conflict):
            with m.If(mine.asked):
                m.d.comb += [verdict.held.eq(Outcome.HELD_WAY), self.waits_on.tag.eq(mine.place)]
            with m.Else():
                m.d.comb += [
                    wants_other.eq(1),
                    verdict.held.eq(Mux(self.place.free, Outcome.HELD_LINE, Outcome.HELD_TABLE)),
                    self.waits_on.any.eq(~self.place.free),
                    self.waits_on.tag.eq(self.place.tag),
                ]
        with m.Elif(asks & caches & ~found & row.promised & (question.retry == Retry.NO)):
            m.d.comb += [verdict.held.eq(Outcome.HELD_WAY), self.waits_on.none.eq(1)]
        with m.Elif(asks & caches & ~found & full):
            m.d.comb += promises.eq(1)
            with m.If(any_busy):
                m.d.comb += [
                    verdict.held.eq(Outcome.HELD_WAY),
                    self.waits_on.tag.eq(_select(first_busy, [way.place for way in row.ways])),
                ]
            with m.Else():
                m.d.comb += [
                    wants_victim.eq(1),
                    verdict.held.eq(Mux(self.place.free, Outcome.HELD_WAY, Outcome.HELD_TABLE)),
                    self.waits_on.any.eq(~self.place.free),
                    self.waits_on.tag.eq(self.place.tag),
                ]
        with m.Elif(asks):
            m.d.comb += [
                keeps_promise.eq(question.retry == Retry.WAITED),
                takes_way.eq(caches & ~found),
                sets_state.eq(caches | found),
                wants_victim.eq(takes_way & last_free & ~any_busy),
            ]

        # Grant, and the state of the line from then on
        state, alone = Signal(LineState), Signal()
        m.d.comb += [alone.eq(_owned(own) | ((own == LineState.I) & (other == LineState.I))), state.eq(own)]
        with m.Switch(access):
            with m.Case(Access.READ_OWN, Access.OWN):
                m.d.comb += [verdict.grant.eq(Grant.CMP_E), state.eq(LineState.A)]
            with m.Case(Access.READ_SHARED):
                m.d.comb += [verdict.grant.eq(Grant.CMP_S), state.eq(LineState.S)]
            with m.Case(Access.READ_DATA):
                m.d.comb += [
                    verdict.grant.eq(Mux(alone, Grant.CMP_E, Grant.CMP_S)),
                    state.eq(Mux(alone, LineState.A, LineState.S)),
                ]
            with m.Case(Access.FLUSH, Access.FORGET, Access.WRITE_THROUGH, Access.WRITE_BACK):
                m.d.comb += state.eq(LineState.I)
            with m.Case(Access.WRITE_KEEP):
                m.d.comb += state.eq(Mux(question.lossy, LineState.STALE, LineState.A))

        # The snoop: of the other host, or of all lines that the first host has of the victim
        snoop = self.launched.snoop
        hosts, masks = zip(
            *(_first_holder([_held_lines(states) for states in way.states]) for way in row.ways), strict=True
        )
        m.d.comb += [
            self.launched.valid.eq(self.wants & self.place.free & self.take),
            snoop.kind.eq(SnoopKind.INV),
            snoop.host.eq(_select(victims, hosts)),
            snoop.sector.eq(_sector_of(config, self.number, _select(victims, [way.tag for way in row.ways]))),
            snoop.lines.eq(_select(victims, [_covering(mask) for mask in masks])),
        ]
        if config.hosts > 1:
            with m.If(found):
                others = _lines(mine.states[~question.host], _owned)
                m.d.comb += [
                    snoop.kind.eq(kind),
                    snoop.host.eq(~question.host),
                    snoop.sector.eq(question.sector),
                    snoop.lines.eq(Mux(kind == SnoopKind.INV, 1 << line, _covering(others))),
                ]

        # The row from now on, if the access takes effect
        changed, last_line, goes, begins = Signal(row.shape()), Signal(), Signal(), Signal()
        rest = [
            (state != LineState.I) & ~((line == number) & (question.host == host))
            for host, states in enumerate(mine.states)
            for number, state in enumerate(states)
        ]
        m.d.comb += [
            last_line.eq(~Cat(*rest, mine.asked).any()),
            goes.eq(sets_state & (state == LineState.I) & last_line),
            begins.eq(self.wants & self.place.free),
            self.stale.eq(sets_state & (access == Access.WRITE_KEEP) & question.lossy & self.take),
            self.covers.valid.eq((takes_way | goes) & self.take),
            self.covers.up.eq(caches),
            self.covers.index.eq(question.sector[_LOCAL_BITS:]),
            changed.next.eq(row.next),
            changed.promised.eq((row.promised | promises) & ~keeps_promise),
        ]
        with m.If(begins & wants_victim):
            for number in range(config.filter_ways):
                with m.If(victims[number]):
                    m.d.comb += changed.next.eq((number + 1) % config.filter_ways)
        for number, (way, new) in enumerate(zip(row.ways, changed.ways, strict=True)):
            enters, here = Signal(name=f"enters{number}"), Signal(name=f"here{number}")
            snooped = Signal(name=f"snooped{number}")
            m.d.comb += [
                enters.eq(takes_way & first_free[number]),
                here.eq(self.match[number] | enters),
                snooped.eq(begins & Mux(wants_victim, victims[number], self.match[number])),
                new.used.eq((way.used | enters) & ~(goes & self.match[number])),
                new.asked.eq(way.asked | snooped),
                new.busy.eq(Mux(snooped, snoop.lines, way.busy)),
                new.states.eq(way.states),
            ]
            for host in range(config.hosts):
                for each in range(SECTOR_LINES):
                    with m.If(here & sets_state & (line == each) & (question.host == host)):
                        m.d.comb += new.states[host][each].eq(state)
        m.d.comb += self.after.eq(Mux(self.take, changed, row))
        for number, (way, new) in enumerate(zip(row.ways, self.after.ways, strict=True)):
            m.d.comb += [
                new.tag.eq(Mux(first_free[number], question.sector[config.filter_set_bits :], way.tag)),
                new.place.eq(Mux(way.asked, way.place, self.place.tag)),
            ]
        return m


class RowOperation(wiring.Component):
    """What an operation beside the slots does. Combinational; it always takes effect.

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
        mine = _chosen(row, self.match)

        # The way that is asked back, from the first host that has lines of the kind wanted
        def wanted(states):
            every = _held_lines(states)
            return Mux(scrubs & ~op.everything, _lines(states, lambda state: state == LineState.STALE), every)

        candidates = [
            ~way.asked & Cat(wanted(states) for states in way.states).any() & (scrubs | self.match[number])
            for number, way in enumerate(row.ways)
        ]
        taken = Signal(config.filter_ways)
        m.d.comb += taken.eq(Cat(_first(candidates)))
        hosts, masks = zip(*(_first_holder([wanted(states) for states in way.states]) for way in row.ways), strict=True)
        wants, launches, snoop = Signal(), Signal(), self.launched.snoop
        m.d.comb += [
            wants.eq((scrubs | recalls) & taken.any()),
            launches.eq(wants & self.place.free),
            self.full.eq(wants & ~self.place.free),
            self.launched.valid.eq(launches),
            snoop.kind.eq(SnoopKind.INV),
            snoop.host.eq(_select(taken, hosts)),
            snoop.sector.eq(_sector_of(config, self.number, _select(taken, [way.tag for way in row.ways]))),
            snoop.lines.eq(_select(taken, [_covering(mask) for mask in masks])),
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
            self.covers.index.eq(op.snoop.sector[_LOCAL_BITS:]),
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
