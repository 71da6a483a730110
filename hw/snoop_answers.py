"""What hosts answer to snoops: which BIRsp are legal, and the operations that carry them into the filter."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.coherency import LineState, SnoopKind
from golden.config import SECTOR_LINES
from golden.messages import BIRspOpcode
from hw import layouts
from hw.snoop_sender import BLOCK_FORM, tagged_layout

__all__ = ["SnoopAnswers", "lines_layout"]

_STATE_BITS = 2


def lines_layout(config):
    """Lines of the snoop in place `tag`, in a clock with `valid`."""
    return layouts.layout((("valid", 1), ("tag", layouts.snoop_tag_bits(config)), ("lines", SECTOR_LINES)))


class SnoopAnswers(wiring.Component):
    """Takes every BIRsp, one a clock, judges it by its snoop, and offers what legal ones say as ANSWER operations.

    Legal is what `golden.coherency.answer_lines` says, for a snoop whose BISnp was taken in an earlier clock. 2 clocks
    from a BIRsp to its operation, if no other waits; while it waits, more answers of the same snoop join it. The lines
    of one operation are never those of another, so any number of them may be on their way.

    Members
    -------
    begins : In(array of 2 {valid, tag, lines})
        Snoops that begin.
    left : In({valid, tag})
        The BISnp of place `tag` is taken.
    birsp : In(stream)
        Always ready.
    look : Out({valid, tag}), snoop : In(snoop)
        Reads the table: the snoop of place `tag`, from the clock after `valid` on.
    keep_back : In({valid, tag})
        No operation of this place becomes offered.
    answers : Out(stream of filter_op)
    awaited : Out(places)
        The BISnp has left, and lines are not answered.
    answered : Out({valid, tag})
        The last line is, 1 clock after its BIRsp.
    bad : Out({valid, birsp})
        A BIRsp that is not legal, 1 clock later. It changes nothing.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "begins": In(data.ArrayLayout(lines_layout(config), 2)),
                "left": In(tagged_layout(config)),
                "birsp": In(stream.Signature(layouts.message("birsp"))),
                "look": Out(tagged_layout(config)),
                "snoop": In(layouts.snoop_layout(config)),
                "keep_back": In(tagged_layout(config)),
                "answers": Out(stream.Signature(layouts.filter_op(config))),
                "awaited": Out(config.snoops),
                "answered": Out(tagged_layout(config)),
                "bad": Out(layouts.layout((("valid", 1), ("birsp", layouts.message("birsp"))))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        tag_bits = layouts.snoop_tag_bits(config)
        #: lines not answered; answered and in no operation
        opens = Array(Signal(SECTOR_LINES, name=f"open{place}") for place in range(config.snoops))
        waits = Array(Signal(SECTOR_LINES, name=f"waiting{place}") for place in range(config.snoops))

        # What comes is decoded, and compared with its snoop a clock later. `asked_by`: the kinds that it may answer.
        coming, coming_tag = self.birsp.payload, self.birsp.payload.bi_tag[:tag_bits]
        arrived, said = Signal(), Signal.like(coming)
        means, whole, asked_by = Signal(LineState), Signal(), Signal(len(SnoopKind))
        awaited, open_lines, left_lines, lines = Signal(), *(Signal(SECTOR_LINES) for _ in range(3))
        tag, snoop = said.bi_tag[:tag_bits], self.snoop
        m.d.sync += [
            arrived.eq(self.birsp.valid),
            said.eq(coming),
            asked_by.eq(0),
            awaited.eq(self.awaited.bit_select(coming_tag, 1)),
            # The one before it may have answered lines of the same snoop.
            open_lines.eq(Mux(arrived & (tag == coming_tag), left_lines, opens[coming_tag])),
        ]
        named = (coming.bi_tag[tag_bits:] == 0) & (coming.bi_id[len(snoop.host) :] == 0)
        with m.Switch(coming.opcode):
            for opcode, state, kinds in (
                (BIRspOpcode.I, LineState.I, tuple(SnoopKind)),
                (BIRspOpcode.S, LineState.S, (SnoopKind.CUR, SnoopKind.DATA)),
                (BIRspOpcode.E, LineState.A, (SnoopKind.CUR,)),
            ):
                for block_form in range(2):
                    with m.Case(opcode + block_form * BLOCK_FORM):
                        m.d.sync += [
                            means.eq(state),
                            whole.eq(block_form),
                            asked_by.eq(Mux(named, sum(1 << kind for kind in kinds), 0)),
                        ]

        # Judged
        is_block, for_host, legal = Signal(), Signal(), Signal()
        with m.If(whole):
            # For all lines of the snoop, none of which was answered
            m.d.comb += lines.eq(Mux(is_block & (open_lines == snoop.lines), open_lines, 0))
        with m.Else():
            m.d.comb += lines.eq(Mux(is_block, open_lines & (1 << said.low_addr), open_lines))
        m.d.comb += [
            self.birsp.ready.eq(1),
            self.look.valid.eq(self.birsp.valid),
            self.look.tag.eq(coming_tag),
            is_block.eq((snoop.lines & (snoop.lines - 1)[:SECTOR_LINES]) != 0),
            for_host.eq(said.bi_id[: len(snoop.host)] == snoop.host),
            legal.eq(arrived & awaited & for_host & asked_by.bit_select(snoop.kind, 1) & (lines != 0)),
            left_lines.eq(open_lines & ~Mux(legal, lines, 0)),
            self.answered.valid.eq(legal & (left_lines == 0)),
            self.answered.tag.eq(tag),
            self.bad.valid.eq(arrived & ~legal),
            self.bad.birsp.eq(said),
        ]

        # Operations: places with answered lines wait in order; a lone answer goes past them.
        # One place more, since a place may come again in the clock in which it leaves the full queue.
        queued = data.StructLayout({"tag": tag_bits, "host": 1, "sector": config.sector_bits})
        m.submodules.queue = queue = fifo.SyncFIFO(width=queued.size, depth=config.snoops + 1)
        m.submodules.states = states = Memory(shape=SECTOR_LINES * _STATE_BITS, depth=config.snoops, init=[])
        state_write, state_read = states.write_port(granularity=_STATE_BITS), states.read_port(domain="comb")
        op = self.answers.payload
        first, here = Signal(queued), Signal(queued)
        free, take_first, take_here, joins = (Signal() for _ in range(4))
        answered_states = Signal(SECTOR_LINES * _STATE_BITS)

        def may_go(place):
            return ~(self.keep_back.valid & (self.keep_back.tag == place))

        m.d.comb += [
            first.eq(queue.r_data),
            here.tag.eq(tag),
            here.host.eq(snoop.host),
            here.sector.eq(snoop.sector),
            free.eq(~self.answers.valid | self.answers.ready),
            take_first.eq(queue.r_rdy & free & may_go(first.tag)),
            take_here.eq(legal & ~queue.r_rdy & free & may_go(tag)),
            joins.eq((waits[tag] != 0) & ~(take_first & (first.tag == tag))),
            queue.r_en.eq(take_first),
            queue.w_data.eq(here),
            queue.w_en.eq(legal & ~take_here & ~joins),
            answered_states.eq(Cat(means for _ in range(SECTOR_LINES))),
            state_write.en.eq(Mux(legal, lines, 0)),
            state_write.addr.eq(tag),
            state_write.data.eq(answered_states),
            state_read.addr.eq(first.tag),
        ]
        with m.If(take_first | take_here):
            m.d.sync += [
                self.answers.valid.eq(1),
                op.kind.eq(layouts.FilterOp.ANSWER),
                op.tag.eq(Mux(take_first, first.tag, tag)),
                op.snoop.sector.eq(Mux(take_first, first.sector, snoop.sector)),
                op.snoop.host.eq(Mux(take_first, first.host, snoop.host)),
                op.snoop.lines.eq(Mux(take_first, waits[first.tag], lines)),
                op.states.eq(Mux(take_first, state_read.data, answered_states)),
            ]
        with m.Elif(self.answers.ready):
            m.d.sync += self.answers.valid.eq(0)

        # Lines. A place in which a snoop begins awaits nothing.
        with m.If(take_first):
            m.d.sync += waits[first.tag].eq(0)
        with m.If(legal & ~take_here):
            m.d.sync += waits[tag].eq(Mux(joins, waits[tag], 0) | lines)
        with m.If(legal):
            m.d.sync += opens[tag].eq(left_lines)
        for begin in self.begins:
            with m.If(begin.valid):
                m.d.sync += opens[begin.tag].eq(begin.lines)
        now_awaited, now_answered = Signal(config.snoops), Signal(config.snoops)
        m.d.comb += [
            now_awaited.eq(self.left.valid << self.left.tag),
            now_answered.eq(self.answered.valid << self.answered.tag),
        ]
        m.d.sync += self.awaited.eq((self.awaited | now_awaited) & ~now_answered)
        return m
