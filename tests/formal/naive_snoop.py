"""One place of the snoop table as hosts know it: what is sent, what is answered, each in its clock."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import LineState, Snoop, SnoopKind, answer_lines
from kv_endpoint.golden.common.messages import BIRspOpcode
from kv_endpoint.hw.common import layouts

__all__ = ["NaiveSnoop"]

_WHOLE = (1 << SECTOR_LINES) - 1


def _meanings():
    """((kind, opcode, state), ...) of the answers that are legal for a block snoop of a whole sector."""
    for kind in SnoopKind:
        for opcode in BIRspOpcode:
            said = answer_lines(Snoop(kind, host=0, sector=0, lines=_WHOLE), _WHOLE, opcode, low_addr=0)
            if said is not None:
                yield kind, opcode, said[0]


class NaiveSnoop(wiring.Component):
    """Follows what goes in and out of place `number`.

    Members
    -------
    launched : In({valid, snoop}), noted, left : In(1)
        A snoop begins here, its note is taken, its BISnp is taken.
    birsp : In({valid, message})
        Of any snoop.
    carried : In(lines)
        An ANSWER takes these into the filter.
    snoop : Out(snoop)
        The last one that began.
    legal : Out(1)
        This clock's BIRsp is a legal answer to this snoop.
    in_flight : Out(1)
        Noted, and not wholly answered until the last clock.
    told, states : Out
        Lines that were answered and are not carried yet; what was said of each line.
    """

    def __init__(self, *, config, number):
        self._config, self._number = config, number
        super().__init__(
            {
                "launched": In(layouts.launched_snoop(config)),
                "noted": In(1),
                "left": In(1),
                "birsp": In(layouts.layout((("valid", 1), ("message", layouts.message("birsp"))))),
                "carried": In(SECTOR_LINES),
                "snoop": Out(layouts.snoop_layout(config)),
                "legal": Out(1),
                "in_flight": Out(1),
                "told": Out(SECTOR_LINES),
                "states": Out(data.ArrayLayout(LineState, SECTOR_LINES)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        snoop, said = self.snoop, self.birsp.message
        #: lines that may still be answered: none before the BISnp is taken
        open_lines = Signal(SECTOR_LINES)

        fits, state, lines = Signal(), Signal(LineState), Signal(SECTOR_LINES)
        for kind, opcode, means in _meanings():
            with m.If((snoop.kind == kind) & (said.opcode == opcode)):
                m.d.comb += [fits.eq(1), state.eq(means)]
        is_block = sum(snoop.lines[line] for line in range(SECTOR_LINES)) > 1
        with m.If(said.opcode >= BIRspOpcode.I_BLK):
            m.d.comb += lines.eq(Mux(is_block & (open_lines == snoop.lines), open_lines, 0))
        with m.Else():
            m.d.comb += lines.eq(Mux(is_block, open_lines & (1 << said.low_addr), open_lines))
        m.d.comb += self.legal.eq(
            self.birsp.valid & fits & (lines != 0) & (said.bi_tag == self._number) & (said.bi_id == snoop.host)
        )

        ended = Signal()
        m.d.sync += [
            ended.eq(self.legal & (open_lines == lines)),
            self.in_flight.eq((self.in_flight | self.noted) & ~ended),
            self.told.eq((self.told | Mux(self.legal, lines, 0)) & ~self.carried),
        ]
        with m.If(self.legal):
            m.d.sync += open_lines.eq(open_lines & ~lines)
            for line in range(SECTOR_LINES):
                with m.If(lines[line]):
                    m.d.sync += self.states[line].eq(state)
        with m.If(self.left):
            m.d.sync += open_lines.eq(snoop.lines)
        with m.If(self.launched.valid):
            m.d.sync += snoop.eq(self.launched.snoop)
        return m
