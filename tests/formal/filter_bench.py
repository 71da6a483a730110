"""The snoop filter with free questions and operations, and what it must know of any one line of any one host."""

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cat, Cover, Elaboratable, Module, Mux, Signal

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import Access, Grant, LineState
from kv_endpoint.hw.coherency.filter.filter import SnoopFilter
from kv_endpoint.hw.coherency.filter.row import is_owned, set_number
from kv_endpoint.hw.common.layouts import FilterOp
from kv_endpoint.hw.pipeline.metadata import FILTER_CLOCKS

__all__ = ["FilterBench", "config_of"]

_REQUESTS = [access for access in Access if access != Access.PLAIN and not access.is_write]


def config_of(hosts, ways=2):
    """Few heads and sets: a proof holds for any one sector, so it needs no more than those it can meet."""
    return preset(
        "tiny", hosts=hosts, heads=1, blocks_per_head=2, filter_sets=2, filter_ways=ways, snoops=2, pin_cap=0,
        demotion_slots=1,
    )  # fmt: skip


def _delayed(m, value, name):
    for clock in range(FILTER_CLOCKS):
        later = Signal.like(value, name=f"{name}_{clock + 1}")
        m.d.sync += later.eq(value)
        value = later
    return value


class FilterBench(Elaboratable):
    """Follows `line` of `host`, any but the same for all time, by what is said at the ports alone.

    What the environment promises: questions come once the rows are clear; an ANSWER is about a snoop that is
    outstanding and names its host and some of its open lines.

    Asserted, of that line, for all time: what a host was granted is in the filter until the host has given it up (P5);
    a line whose snoop is outstanding is not granted (P1) and not snooped again (P6); a snoop covers one line, a half or
    a whole sector, and the line it is for (P7); a write-back of an owner is known to be one; a request of another host
    is not granted while this one owns the line, or, to own it, while this one holds it.
    """

    def __init__(self, *, hosts, covers=False):
        self._config = config_of(hosts)
        self._covers = covers

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.dut = dut = SnoopFilter(config=config)
        ports = [bank.memory.read_port(domain="comb") for bank in dut.banks]
        sector, line, host = AnyConst(config.sector_bits), AnyConst(2), AnyConst(1)
        if config.hosts == 1:
            m.d.comb += Assume(host == 0)

        # Questions
        asked = Signal(dut.question.shape())
        m.d.comb += [
            dut.question.eq(AnySeq(asked.shape().size)),
            asked.eq(dut.question),
            Assume(~asked.valid | dut.ready),
            Assume(asked.access < len(Access)),
            Assume(asked.retry < 3),
            dut.take.eq(AnySeq(1)),
            dut.hold.eq(AnySeq(1)),
            dut.note_room.eq(AnySeq(1)),
        ]
        if config.hosts == 1:
            m.d.comb += Assume(asked.host == 0)
        question = _delayed(m, asked, "question")
        verdict = dut.verdict
        is_request = question.valid & question.access.matches(*_REQUESTS)
        is_write = question.valid & (question.access >= Access.WRITE_THROUGH)
        held, owner = is_request & (verdict.held != 0), ~is_write | verdict.owner
        m.d.comb += Assume(~dut.take | (question.valid & (is_request | is_write)))
        # What is taken and refused changes nothing.
        takes = dut.take & ~held & owner
        of_sector = question.valid & (question.sector == sector)
        of_line = of_sector & (question.line == line)
        own, other = of_line & (question.host == host), of_line & (question.host != host)

        # Places of the snoop table: any, but an operation has another than the slot
        free, places = AnySeq(2), AnySeq(2)
        m.d.comb += [
            dut.slot_place.free.eq(free[0]),
            dut.slot_place.tag.eq(places[0]),
            dut.op_place.free.eq(free[1]),
            dut.op_place.tag.eq(places[1]),
            dut.last_place.eq(free.all() & (places[0] == places[1])),
        ]

        # Snoops of the sector, by what was launched and answered
        open_lines, open_host = Signal(4), Signal()
        op = dut.op.payload
        m.d.comb += [
            dut.op.valid.eq(AnySeq(1)),
            op.eq(AnySeq(op.shape().size)),
            Assume(op.kind.as_value() < len(FilterOp)),
        ]
        done = dut.done
        answers = done.valid & (done.op.kind == FilterOp.ANSWER) & (done.op.snoop.sector == sector)
        # What is on its way counts as answered: the same line is not answered twice.
        offered = (op.kind == FilterOp.ANSWER) & (op.snoop.sector == sector)
        on_its_way = Signal(4)
        in_flight = []
        taken = Signal(4)
        m.d.comb += taken.eq(Mux(dut.op.valid & dut.op.ready & offered, op.snoop.lines, 0))
        stage = taken
        for clock in range(FILTER_CLOCKS):
            later = Signal(4, name=f"answering_{clock}")
            m.d.sync += later.eq(stage)
            in_flight.append(later)
            stage = later
        m.d.comb += [
            on_its_way.eq(in_flight[0] | in_flight[1] | in_flight[2]),
            Assume(
                ~(dut.op.valid & offered)
                | (op.snoop.lines != 0)
                & ((op.snoop.lines & ~(open_lines & ~on_its_way)) == 0)
                & (op.snoop.host == open_host)
            ),
        ]
        slot, beside = dut.slot_launched, dut.op_launched
        slot_launch = slot.valid & (slot.snoop.sector == sector)
        op_launch = beside.valid & (beside.snoop.sector == sector)
        answered = Mux(answers, done.op.snoop.lines, 0)
        m.d.sync += open_lines.eq(open_lines & ~answered)
        for launch, snoop in ((slot_launch, slot.snoop), (op_launch, beside.snoop)):
            with m.If(launch):
                m.d.sync += [open_lines.eq(snoop.lines), open_host.eq(snoop.host)]
                # P6, P7
                m.d.comb += [
                    Assert(open_lines == 0),
                    Assert(snoop.lines.matches(0b0001, 0b0010, 0b0100, 0b1000, 0b0011, 0b1100, 0b1111)),
                    Assert(snoop.host < config.hosts),
                ]
        m.d.comb += Assert(~(slot_launch & op_launch))

        # What the host may hold of the line
        state = Signal(2)
        answer_state = done.op.states.word_select(line, 2)
        with m.If(answers & done.op.snoop.lines.bit_select(line, 1) & (done.op.snoop.host == host)):
            with m.If((answer_state == LineState.I) | ((answer_state == LineState.S) & (state != LineState.I))):
                m.d.sync += state.eq(answer_state)
        with m.If(own & takes):
            with m.Switch(question.access):
                with m.Case(Access.READ_SHARED):
                    m.d.sync += state.eq(LineState.S)
                    m.d.comb += Assert(verdict.grant == Grant.CMP_S)
                with m.Case(Access.READ_DATA):
                    m.d.sync += state.eq(Mux(verdict.grant == Grant.CMP_E, LineState.A, LineState.S))
                    m.d.comb += Assert(verdict.grant.matches(Grant.CMP_S, Grant.CMP_E))
                with m.Case(Access.READ_OWN, Access.OWN):
                    m.d.sync += state.eq(LineState.A)
                    m.d.comb += Assert(verdict.grant == Grant.CMP_E)
                with m.Case(Access.WRITE_KEEP):
                    m.d.sync += state.eq(Mux(question.lossy, LineState.STALE, LineState.A))
                with m.Case(Access.FLUSH, Access.FORGET, Access.WRITE_BACK, Access.WRITE_THROUGH):
                    m.d.sync += state.eq(LineState.I)
        owned = is_owned(state)
        with m.If(of_line & takes & is_request):
            # P1
            m.d.comb += Assert(~open_lines.bit_select(line, 1))
        with m.If(own & is_write & owned):
            m.d.comb += Assert(verdict.owner)
        with m.If(own & question.access.matches(Access.WRITE_BACK, Access.WRITE_KEEP) & ~owned):
            m.d.comb += Assert(~verdict.owner)
        with m.If(other & takes & is_request):
            with m.If(question.access.matches(Access.READ_SHARED, Access.READ_DATA)):
                m.d.comb += Assert(~owned)
            with m.If(question.access.matches(Access.READ_OWN, Access.OWN, Access.READ_INVALIDATE, Access.FLUSH)):
                m.d.comb += Assert(state == LineState.I)
            with m.If((question.access == Access.READ_DATA) & (verdict.grant == Grant.CMP_E)):
                # Its own copy may have been the owner's before: two never are.
                m.d.comb += Assert((state == LineState.I) | ~owned)

        # The same, as the filter's memory has it: this makes the induction close.
        number = Signal(config.filter_set_bits)
        m.d.comb += number.eq(set_number(config, sector))
        row = Signal(ports[0].data.shape())
        for bank, port in enumerate(ports):
            m.d.comb += port.addr.eq(number[1:])
            with m.If(number[0] == bank):
                m.d.comb += row.eq(port.data)
        tag = sector[config.filter_set_bits :]
        meant = [way.used & (way.tag == tag) for way in row.ways]
        with m.If(dut.ready):
            m.d.comb += Assert((Cat(meant) & (Cat(meant) - 1)) == 0)
            with m.If(~Cat(meant).any()):
                m.d.comb += [Assert(state == LineState.I), Assert(open_lines == 0)]
            for way, mine in zip(row.ways, meant, strict=True):
                in_use = way.asked | way.states.as_value().any()
                m.d.comb += [Assert(way.used == in_use), Assert(way.asked == (way.busy != 0))]
                with m.If(mine):
                    mine_state = way.states[0][line]
                    if config.hosts == 2:
                        mine_state = Mux(host, way.states[1][line], mine_state)
                    m.d.comb += [
                        Assert(mine_state == state),
                        Assert(way.busy == open_lines),
                    ]
        with m.Else():
            m.d.comb += [Assert(state == LineState.I), Assert(open_lines == 0)]

        if self._covers:
            m.d.comb += [
                Cover(slot_launch & (question.sector != sector)),
                Cover(own & takes & (question.access == Access.WRITE_BACK) & open_lines.bit_select(line, 1)),
                Cover(answers & ((open_lines & ~answered) != 0)),
            ]
        return m
