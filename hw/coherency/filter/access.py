"""What the access of a slot makes of its row of the snoop filter (`golden.coherency.filter.SnoopFilter.access`)."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import Access, Grant, LineState, Retry, SnoopKind
from kv_endpoint.golden.pipeline.metadata import Outcome
from kv_endpoint.hw.coherency.filter.row import (
    block_of,
    chosen,
    covering,
    first,
    first_holder,
    is_owned,
    lines_that,
    row_layout,
    sector_in,
    select,
)
from kv_endpoint.hw.common import layouts

__all__ = ["FilterAccess", "decode", "demand_layout"]


def demand_layout(config):
    """A question, decoded.

    `reads`, `writes`: what it is; one of the two if it asks anything. `caches`: `Access.caches`. `sector`, `line`
    (one-hot), `host`. `fresh`, `waited`: it was not held before; it was, and not for a snoop of its line. It needs a
    snoop of `kind` if another host owns the line (`meets_owned`) or holds it (`meets_any`). `current`: only a snoop of
    its own lets it read. `must_own`: only for who owns the line. The line's state becomes `state` (`alters`), which is
    I (`gives_up`); that of READ_DATA (`shares`) may become A instead.
    """
    return layouts.layout(
        (
            ("reads", 1), ("writes", 1), ("caches", 1), ("host", 1), ("sector", config.sector_bits),
            ("line", SECTOR_LINES), ("fresh", 1), ("waited", 1), ("kind", 2), ("meets_owned", 1), ("meets_any", 1),
            ("current", 1), ("must_own", 1), ("alters", 1), ("gives_up", 1), ("shares", 1), ("state", 2),
        )
    )  # fmt: skip


def decode(m, config, question):
    """The demand of a question, combinational."""
    demand, access = Signal(demand_layout(config)), question.access
    asks = question.valid & (access != Access.PLAIN)
    unaltered = access.matches(Access.READ_CURRENT, Access.READ_INVALIDATE)
    m.d.comb += [
        demand.reads.eq(asks & (access < Access.WRITE_THROUGH)),
        demand.writes.eq(asks & (access >= Access.WRITE_THROUGH)),
        demand.caches.eq(access.matches(*(each for each in Access if each.caches))),
        demand.host.eq(question.host),
        demand.sector.eq(question.sector),
        demand.line.eq(1 << question.line),
        demand.fresh.eq(question.retry == Retry.NO),
        demand.waited.eq(question.retry == Retry.WAITED),
        demand.current.eq(access == Access.READ_CURRENT),
        demand.must_own.eq(access.matches(Access.WRITE_BACK, Access.WRITE_KEEP)),
        demand.alters.eq(~unaltered),
        demand.gives_up.eq(demand.alters & (demand.state == LineState.I)),
        demand.shares.eq(access == Access.READ_DATA),
        demand.state.eq(LineState.I),
    ]
    with m.Switch(access):
        with m.Case(Access.READ_CURRENT):
            m.d.comb += [demand.kind.eq(SnoopKind.CUR), demand.meets_owned.eq(question.retry != Retry.SNOOPED)]
        with m.Case(Access.READ_SHARED, Access.READ_DATA):
            m.d.comb += [demand.kind.eq(SnoopKind.DATA), demand.meets_owned.eq(1), demand.state.eq(LineState.S)]
        with m.Case(Access.READ_INVALIDATE, Access.FLUSH):
            m.d.comb += [demand.kind.eq(SnoopKind.INV), demand.meets_any.eq(1)]
        with m.Case(Access.READ_OWN, Access.OWN):
            m.d.comb += [demand.kind.eq(SnoopKind.INV), demand.meets_any.eq(1), demand.state.eq(LineState.A)]
        with m.Case(Access.WRITE_KEEP):
            m.d.comb += demand.state.eq(Mux(question.lossy, LineState.STALE, LineState.A))
    return demand


class FilterAccess(wiring.Component):
    """Verdict, snoop and new row of one access. Combinational; all but `launched`, `covers`, `stale` and `after` is
    independent of `take`.

    Members
    -------
    demand, number : In
        What is asked, and the number of its set.
    row, match : In
        That set, and which way has the sector (one-hot, 0 if none).
    place, take : In
        A free place of the snoop table. Whether the access takes effect.
    verdict, waits_on : Out
        If something is asked; `waits_on` if it is held.
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
                "demand": In(demand_layout(config)),
                "number": In(config.filter_set_bits),
                "row": In(row),
                "match": In(config.filter_ways),
                "place": In(layouts.snoop_place(config)),
                "take": In(1),
                "verdict": Out(layouts.filter_verdict()),
                "waits_on": Out(layouts.waits_on(config)),
                "launched": Out(layouts.launched_snoop(config)),
                "covers": Out(layouts.covered_event(config)),
                "stale": Out(1),
                "after": Out(row),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, row, demand, place = self._config, self.row, self.demand, self.place

        # The way of the sector, and the line in it
        mine = chosen(row, self.match)
        hosts = Cat(demand.host == host for host in range(config.hosts)) if config.hosts > 1 else [1]
        states = [select(demand.line, host) for host in mine.states]
        found, busy_line, own, other = Signal(), Signal(), Signal(2), Signal(2)
        m.d.comb += [
            found.eq(self.match.any()),
            busy_line.eq((mine.busy & demand.line).any()),
            own.eq(select(hosts, states)),
            other.eq(select(hosts, states[::-1]) if config.hosts > 1 else LineState.I),
        ]

        # The row as a whole
        used, asked = Cat(way.used for way in row.ways), Cat(way.asked for way in row.ways)
        first_free = first(~used)
        full, last_free = Signal(), Signal()
        m.d.comb += [
            full.eq(used.all()),
            last_free.eq(Cat(each & (used | 1 << number).all() for number, each in enumerate(first_free)).any()),
        ]

        # The way that is asked back next: in turns, but not the one free way, which the request is about to take
        turn = [row.next == number for number in range(config.filter_ways)]
        victims = Signal(config.filter_ways)
        m.d.comb += victims.eq(Cat(
            turn[number] & used[number] | turn[number - 1] & ~used[number - 1] for number in range(config.filter_ways)
        ))  # fmt: skip

        # What comes of it. A line is busy, or another host has it, only if there is a way; a write is never held.
        conflict, seeks_way, passed_over, held = Signal(), Signal(), Signal(), Signal()
        wants_other, wants_victim, begins = Signal(), Signal(), Signal()
        owner, takes_way, keeps, sets_state = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            conflict.eq((demand.meets_owned & is_owned(other)) | (demand.meets_any & (other != LineState.I))),
            seeks_way.eq(demand.reads & demand.caches & ~found),
            passed_over.eq(row.promised & demand.fresh),
            held.eq((demand.reads & (busy_line | conflict)) | (seeks_way & (passed_over | full))),
            wants_other.eq(demand.reads & conflict & ~mine.asked),
            wants_victim.eq(seeks_way & ~passed_over & (full | last_free) & ~asked.any()),
            begins.eq((wants_other | wants_victim) & place.free),
            owner.eq(~(demand.writes & demand.must_own) | is_owned(own)),
            takes_way.eq(seeks_way & ~passed_over & ~full),
            keeps.eq((demand.writes & owner) | (demand.reads & ~busy_line & ~conflict)),
            sets_state.eq(demand.alters & keeps & (found | takes_way)),
        ]

        # Grant, and the state of the line from then on
        def state_after(own, other):
            alone = is_owned(own) | ((own == LineState.I) & (other == LineState.I))
            # A and S differ in bit 0.
            return Cat(demand.state[0] & ~(demand.shares & alone), demand.state[1])

        m.d.comb += self.verdict.owner.eq(owner)
        with m.If(demand.caches):
            m.d.comb += self.verdict.grant.eq(Mux(state_after(own, other) == LineState.A, Grant.CMP_E, Grant.CMP_S))

        # What it waits for
        waits_on, held_as = self.waits_on, Signal(5)
        begins_snoop = wants_other | wants_victim
        m.d.comb += [
            waits_on.none.eq(seeks_way & passed_over & ~asked.any()),
            waits_on.any.eq(begins_snoop & ~place.free),
            waits_on.tag.eq(
                Mux(begins_snoop, place.tag, Mux(
                    found, mine.place, select(first(asked), [way.place for way in row.ways])
                ))
            ),
            held_as.eq(Mux((busy_line & ~demand.current) | wants_other, Outcome.HELD_LINE, Outcome.HELD_WAY)),
            self.verdict.held.eq(Mux(held, Mux(waits_on.any, Outcome.HELD_TABLE, held_as), 0)),
        ]  # fmt: skip

        # The snoop: of the other host, or of all lines that the first host has of the victim
        snoop = self.launched.snoop
        holders, masks = zip(*(first_holder([*map(lines_that, way.states)]) for way in row.ways), strict=True)
        masks, other_mask = [covering(mask) for mask in masks], 0
        m.d.comb += [
            self.launched.valid.eq(begins & self.take),
            snoop.kind.eq(SnoopKind.INV),
            snoop.host.eq(select(victims, holders)),
            snoop.sector.eq(sector_in(config, self.number, select(victims, [way.tag for way in row.ways]))),
            snoop.lines.eq(select(victims, masks)),
        ]
        if config.hosts > 1:
            # Lines that are read in order are asked for together.
            together = covering(Mux(demand.host, *(lines_that(host, is_owned) for host in mine.states)))
            other_mask = Mux(demand.kind == SnoopKind.INV, demand.line, together)
            with m.If(found):
                m.d.comb += [
                    snoop.kind.eq(demand.kind),
                    snoop.host.eq(~demand.host),
                    snoop.sector.eq(demand.sector),
                    snoop.lines.eq(other_mask),
                ]

        # The row, should it take effect
        changed, goes = Signal(row.shape()), Signal(config.filter_ways)
        m.d.comb += [
            changed.eq(row),
            changed.promised.eq((row.promised | (seeks_way & full)) & ~(takes_way & demand.waited)),
        ]
        with m.If(wants_victim & place.free):
            m.d.comb += changed.next.eq(select(victims, [(n + 1) % config.filter_ways for n in range(len(victims))]))
        for number, (way, new) in enumerate(zip(row.ways, changed.ways, strict=True)):
            enters, from_victim, from_other = (
                Signal(name=f"{name}{number}") for name in ("enters", "from_victim", "from_other")
            )
            here = self.match[number] | (first_free[number] & ~found)
            others = Cat(
                lines_that(host) & ~Mux(bit, demand.line, 0) for host, bit in zip(way.states, hosts, strict=True)
            )
            m.d.comb += [
                enters.eq(takes_way & first_free[number]),
                from_victim.eq(wants_victim & place.free & victims[number]),
                from_other.eq(wants_other & place.free & self.match[number]),
                goes[number].eq(keeps & demand.gives_up & self.match[number] & ~Cat(others, way.asked).any()),
                new.used.eq((way.used | enters) & ~goes[number]),
                new.asked.eq(way.asked | from_victim | from_other),
                new.busy.eq(way.busy | Mux(from_victim, masks[number], 0) | Mux(from_other, other_mask, 0)),
            ]
            for host, lines in enumerate(new.states):
                for each, line in enumerate(lines):
                    # Each line works out what it would become, so that none waits until the one is found.
                    own, other = way.states[host][each], way.states[1 - host][each] if config.hosts > 1 else LineState.I
                    with m.If(here & sets_state & demand.line[each] & hosts[host]):
                        m.d.comb += line.eq(state_after(own, other))

        # What happens
        m.d.comb += [
            self.covers.valid.eq((takes_way | goes.any()) & self.take),
            self.covers.up.eq(demand.caches),
            self.covers.index.eq(block_of(demand.sector)),
            self.stale.eq(sets_state & demand.writes & (demand.state == LineState.STALE) & self.take),
            self.after.eq(Mux(self.take, changed, row)),
        ]
        for number, (way, new) in enumerate(zip(row.ways, self.after.ways, strict=True)):
            m.d.comb += [
                new.tag.eq(Mux(first_free[number], demand.sector[config.filter_set_bits :], way.tag)),
                new.place.eq(Mux(way.asked, way.place, place.tag)),
            ]
        return m
