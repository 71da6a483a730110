"""The snoop table with free launches, hosts and commits, and what it must know of any one place."""

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Elaboratable, Module, Mux, Signal

from kv_endpoint.golden.common.messages import BISnpOpcode
from kv_endpoint.hw.coherency.snoops.table import SnoopTable
from kv_endpoint.hw.common.layouts import FilterOp
from tests.formal.filter_bench import config_of
from tests.formal.stream_rules import watch

__all__ = ["SnoopTableBench", "surround"]

#: clocks from an operation's being taken to its commit, at least
_OP_CLOCKS = 3
#: clocks from launch to BISnp, and for each snoop that goes before
_SEND_CLOCKS, _EACH = 5, 3


def surround(m, dut, config, *, fair):
    """Free launches, hosts and commits for the table `dut`.

    What they promise: a snoop is launched only into a free place, with lines that a BISnp can name, the slot's and the
    operation's not both into the last; each operation that was taken commits once, 3 clocks later. With `fair`, notes
    and BISnp are taken at once, no grant is in flight, and neither limit nor timeout is set.
    """
    both = dut.slot_launched.valid & dut.op_launched.valid
    m.d.comb += Assume(~(both & dut.last_place))
    for launch, given in ((dut.slot_launched, dut.slot_place), (dut.op_launched, dut.op_place)):
        m.d.comb += [
            launch.valid.eq(AnySeq(1)),
            launch.snoop.eq(AnySeq(launch.snoop.shape().size)),
            Assume(~launch.valid | given.free),
            Assume(launch.snoop.kind < 3),
            Assume(launch.snoop.lines.matches(1, 2, 4, 8, 3, 12, 15)),
        ]

    # The filter: commits operations as they were taken
    valid, op = Signal(), Signal(dut.answers.payload.shape())
    m.d.comb += [
        dut.answers.ready.eq(AnySeq(1)),
        valid.eq(dut.answers.valid & dut.answers.ready),
        op.eq(dut.answers.payload),
    ]
    for clock in range(_OP_CLOCKS):
        valid_later, op_later = Signal(name=f"op_valid{clock}"), Signal.like(op, name=f"op{clock}")
        m.d.sync += [valid_later.eq(valid), op_later.eq(op)]
        valid, op = valid_later, op_later
    m.d.comb += [dut.done.valid.eq(valid), dut.done.op.eq(op)]

    # The rest is free
    m.d.comb += [
        dut.pending.eq(0 if fair else AnySeq(1)),
        dut.notes.ready.eq(1 if fair else AnySeq(1)),
        dut.bisnp.ready.eq(1 if fair else AnySeq(1)),
        dut.birsp.valid.eq(AnySeq(1)),
        dut.birsp.payload.eq(AnySeq(dut.birsp.payload.shape().size)),
        dut.regions.eq(AnySeq(dut.regions.shape().size)),
        dut.in_flight_cap.eq(config.snoops if fair else AnyConst(13)),
        Assume(dut.in_flight_cap != 0),
        dut.timeout.eq(0 if fair else AnySeq(24)),
    ]


class SnoopTableBench(Elaboratable):
    """Follows one place, any but the same for all time, in what `surround` says.

    Asserted, for all time: BIRsp is always ready (P3). A BISnp has a tag that is not outstanding (P6). An ANSWER names
    lines of its snoop that no ANSWER has named before (P7), its sector and its host, and none comes before the BISnp
    was taken. A place is freed with the commit of its last line and not before; places taken and snoops in flight are
    counted (P12). With `fair` a snoop leaves within 5 clocks, and 3 for each that goes before it: notes of another kind
    may come between (P10).
    """

    def __init__(self, *, fair=False):
        self._fair = fair

    def elaborate(self, platform):
        m = Module()
        config = config_of(2)
        m.submodules.dut = dut = SnoopTable(config=config)
        place = AnyConst(len(dut.slot_place.tag))

        surround(m, dut, config, fair=self._fair)

        ours = Signal()
        launched = Signal(dut.slot_launched.snoop.shape())
        for launch, given in ((dut.slot_launched, dut.slot_place), (dut.op_launched, dut.op_place)):
            with m.If(launch.valid & (given.tag == place)):
                m.d.comb += [ours.eq(1), launched.eq(launch.snoop)]
        was_taken, taken = dut.answers.valid & dut.answers.ready, dut.answers.payload
        watch(m, "rules_bisnp", dut.bisnp, assume=False)
        watch(m, "rules_answers", dut.answers, assume=False)
        m.d.comb += Assert(dut.birsp.ready)

        # The place: launched, sent, its lines open, applied
        in_use, sent = Signal(), Signal()
        snoop = Signal.like(launched)
        unanswered, unapplied = Signal(4), Signal(4)
        sends = dut.bisnp.valid & dut.bisnp.ready & (dut.bisnp.payload.bi_tag == place)
        answers = was_taken & (taken.tag == place)
        applied = dut.done.valid & (dut.done.op.tag == place)
        freed = dut.freed.valid & (dut.freed.tag == place)
        with m.If(ours):
            m.d.sync += [
                in_use.eq(1), sent.eq(0), snoop.eq(launched), unanswered.eq(launched.lines),
                unapplied.eq(launched.lines),
            ]  # fmt: skip
            m.d.comb += Assert(~in_use)
        with m.If(sends):
            is_block = (snoop.lines & (snoop.lines - 1)[:4]) != 0
            m.d.sync += sent.eq(1)
            m.d.comb += [
                Assert(in_use & ~sent),
                Assert(dut.bisnp.payload.bi_id == snoop.host),
                Assert(dut.bisnp.payload.opcode == snoop.kind + Mux(is_block, BISnpOpcode.CUR_BLK, 0)),
            ]
        with m.If(answers):
            m.d.sync += unanswered.eq(unanswered & ~taken.snoop.lines)
            m.d.comb += [
                Assert(sent),
                Assert(taken.kind == FilterOp.ANSWER),
                Assert(taken.snoop.lines != 0),
                Assert((taken.snoop.lines & ~unanswered) == 0),
                Assert((taken.snoop.sector == snoop.sector) & (taken.snoop.host == snoop.host)),
            ]
        with m.If(applied):
            m.d.sync += unapplied.eq(unapplied & ~dut.done.op.snoop.lines)
        m.d.comb += Assert(freed == (applied & in_use & ((unapplied & ~dut.done.op.snoop.lines) == 0)))
        with m.If(freed):
            m.d.sync += [in_use.eq(0), sent.eq(0)]
        used = Signal(range(config.snoops + 1))
        m.d.sync += used.eq(used + dut.slot_launched.valid + dut.op_launched.valid - dut.freed.valid)
        m.d.comb += [
            Assert(dut.used == used),
            Assert(dut.used <= config.snoops),
            Assert(dut.in_flight <= dut.used),
            Assert(dut.in_flight <= dut.in_flight_cap),
        ]
        if self._fair:
            most = _SEND_CLOCKS + _EACH * (config.snoops - 1)
            waited = Signal(range(most + 2))
            with m.If(ours):
                m.d.sync += waited.eq(1)
            with m.Elif(in_use & ~sent & ~sends):
                m.d.sync += waited.eq(waited + 1)
            m.d.comb += Assert(waited <= most)
        return m
