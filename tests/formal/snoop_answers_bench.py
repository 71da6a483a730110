"""The snoop table beside a naive one: what is in flight, which BIRsp are legal, and what becomes of those that are."""

from amaranth.asserts import AnyConst
from amaranth.hdl import Array, Assert, Assume, Elaboratable, Module, Mux, Signal

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.events.port import EngineKind
from kv_endpoint.hw.coherency.snoops.table import SnoopTable
from tests.formal.filter_bench import config_of
from tests.formal.naive_snoop import NaiveSnoop
from tests.formal.snoop_table_bench import surround

__all__ = ["SnoopAnswersBench"]

#: clocks from a BIRsp to its ANSWER
_ANSWER_CLOCKS = 2


class SnoopAnswersBench(Elaboratable):
    """Follows all places; the environment is that of `SnoopTableBench`.

    Asserted: `in_flight` is the number of snoops whose note was taken and whose last line was not answered, as of the
    clock before; `bad_birsp` tells of each BIRsp that `golden.common.line_access.answer_lines` finds not legal, a
    clock later, and of no other. An ANSWER carries lines that its host has answered, each once, with the state that
    it said. With `fair` it does so 2 clocks after the BIRsp: the filter takes operations, and no timeout is set
    (P10).
    """

    def __init__(self, *, fair=False):
        self._fair = fair

    def elaborate(self, platform):
        m = Module()
        config = config_of(2)
        m.submodules.dut = dut = SnoopTable(config=config)
        surround(m, dut, config, fair=self._fair)

        note, answer = dut.notes.payload, dut.answers.payload
        noted = dut.notes.valid & dut.notes.ready & (note.kind == EngineKind.BI_SNOOP)
        left = dut.bisnp.valid & dut.bisnp.ready
        taken = dut.answers.valid & dut.answers.ready
        places = []
        for number in range(config.snoops):
            m.submodules[f"place{number}"] = place = NaiveSnoop(config=config, number=number)
            places.append(place)
            for launched, given in ((dut.slot_launched, dut.slot_place), (dut.op_launched, dut.op_place)):
                with m.If(launched.valid & (given.tag == number)):
                    m.d.comb += place.launched.eq(launched)
            m.d.comb += [
                place.noted.eq(noted & (note.aux[: len(answer.tag)] == number)),
                place.left.eq(left & (dut.bisnp.payload.bi_tag == number)),
                place.birsp.valid.eq(dut.birsp.valid),
                place.birsp.message.eq(dut.birsp.payload),
                place.carried.eq(Mux(taken & (answer.tag == number), answer.snoop.lines, 0)),
            ]

        bad = Signal()
        m.d.sync += bad.eq(dut.birsp.valid & ~sum(place.legal for place in places).any())
        m.d.comb += [
            Assert(dut.in_flight == sum(place.in_flight for place in places)),
            Assert(dut.bad_birsp == bad),
        ]
        for number, place in enumerate(places):
            with m.If(dut.answers.valid & (answer.tag == number)):
                m.d.comb += [
                    Assert((answer.snoop.lines & ~place.told) == 0),
                    Assert((answer.snoop.sector == place.snoop.sector) & (answer.snoop.host == place.snoop.host)),
                    *(
                        Assert(~answer.snoop.lines[line] | (answer.states.word_select(line, 2) == place.states[line]))
                        for line in range(SECTOR_LINES)
                    ),
                ]

        if self._fair:
            number, line = AnyConst(len(answer.tag)), AnyConst((SECTOR_LINES - 1).bit_length())
            waits, waited = Signal(), Signal(range(_ANSWER_CLOCKS + 1))
            m.d.comb += waits.eq(Array(place.told for place in places)[number].bit_select(line, 1))
            m.d.sync += waited.eq(Mux(waits, waited + 1, 0))
            m.d.comb += Assume(dut.answers.ready)
            m.d.comb += Assert(~waits | (waited < _ANSWER_CLOCKS))
        return m
