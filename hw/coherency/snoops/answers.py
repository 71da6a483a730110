"""What hosts answer to snoops: which BIRsp are legal, and the operations that carry them into the filter."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import LineState, SnoopKind
from kv_endpoint.golden.common.messages import BIRspOpcode
from kv_endpoint.hw.coherency.snoops.sender import BLOCK_FORM
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.lib.one_hot import bit_of

__all__ = ["SnoopAnswers"]


class SnoopAnswers(wiring.Component):
    """Takes every BIRsp, one a clock, judges it by its snoop, and offers what legal ones say as ANSWER operations.

    Legal is what `golden.common.line_access.answer_lines` says, for a snoop whose BISnp was taken in an earlier
    clock. 2 clocks from a BIRsp to its operation, if no other waits; while it waits, more answers of the same snoop
    join it. The lines of one operation are never those of another, so any number of them may be on their way.

    Members
    -------
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
                "left": In(layouts.place_strobe(config)),
                "birsp": In(stream.Signature(layouts.message("birsp"))),
                "look": Out(layouts.place_strobe(config)),
                "snoop": In(layouts.snoop_layout(config)),
                "keep_back": In(layouts.place_strobe(config)),
                "answers": Out(stream.Signature(layouts.filter_op(config))),
                "awaited": Out(config.snoops),
                "answered": Out(layouts.place_strobe(config)),
                "bad": Out(layouts.layout((("valid", 1), ("birsp", layouts.message("birsp"))))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        tag_bits = layouts.snoop_tag_bits(config)
        #: some lines are answered, and not all
        partly = Signal(config.snoops)
        m.submodules.heard = heard = Memory(shape=SECTOR_LINES, depth=config.snoops, init=[])
        heard_write = heard.write_port()
        heard_read = heard.read_port(transparent_for=(heard_write,))

        # What comes is decoded, and compared with its snoop a clock later. `asked_by`: the kinds that it may answer.
        coming, coming_tag = self.birsp.payload, self.birsp.payload.bi_tag[:tag_bits]
        arrived, said = Signal(), Signal.like(coming)
        means, whole, asked_by = Signal(LineState), Signal(), Signal(len(SnoopKind))
        awaited, is_partly, legal = Signal(), Signal(), Signal()
        tag, snoop = said.bi_tag[:tag_bits], self.snoop
        m.d.sync += [
            arrived.eq(self.birsp.valid),
            said.eq(coming),
            asked_by.eq(0),
            awaited.eq(self.awaited.bit_select(coming_tag, 1)),
            # The one before it may be for the same snoop. Where that has answered all, no line is open.
            is_partly.eq(partly.bit_select(coming_tag, 1) | (legal & (tag == coming_tag))),
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
        is_block, for_host = Signal(), Signal()
        open_lines, left_lines, lines = (Signal(SECTOR_LINES) for _ in range(3))
        with m.If(whole):
            # For all lines of the snoop, none of which was answered
            m.d.comb += lines.eq(Mux(is_block & (open_lines == snoop.lines), open_lines, 0))
        with m.Else():
            m.d.comb += lines.eq(Mux(is_block, open_lines & (1 << said.low_addr), open_lines))
        m.d.comb += [
            self.birsp.ready.eq(1),
            self.look.valid.eq(self.birsp.valid),
            self.look.tag.eq(coming_tag),
            heard_read.en.eq(self.birsp.valid),
            heard_read.addr.eq(coming_tag),
            open_lines.eq(snoop.lines & ~Mux(is_partly, heard_read.data, 0)),
            is_block.eq((snoop.lines & (snoop.lines - 1)[:SECTOR_LINES]) != 0),
            for_host.eq(said.bi_id[: len(snoop.host)] == snoop.host),
            legal.eq(arrived & awaited & for_host & asked_by.bit_select(snoop.kind, 1) & (lines != 0)),
            left_lines.eq(open_lines & ~lines),
            heard_write.en.eq(legal),
            heard_write.addr.eq(tag),
            heard_write.data.eq(snoop.lines & ~left_lines),
            self.answered.valid.eq(legal & (left_lines == 0)),
            self.answered.tag.eq(tag),
            self.bad.valid.eq(arrived & ~legal),
            self.bad.birsp.eq(said),
        ]

        # Operations: places with answered lines wait in order; a lone answer goes past them.
        # One place more, since a place may come again in the clock in which it leaves the full queue.
        queued = data.StructLayout({"tag": tag_bits, "host": 1, "sector": config.sector_bits})
        m.submodules.queue = queue = fifo.SyncFIFO(width=queued.size, depth=config.snoops + 1)
        line_answer = data.StructLayout({"answered": 1, "state": LineState})
        answers = data.ArrayLayout(line_answer, SECTOR_LINES)
        m.submodules.gathered = gathered = Memory(shape=answers.size, depth=config.snoops, init=[])
        write, read = gathered.write_port(granularity=line_answer.size), gathered.read_port(domain="comb")
        op = self.answers.payload
        first, here = Signal(queued), Signal(queued)
        free, take_first, take_here, joins = (Signal() for _ in range(4))
        #: the lines of this BIRsp, of the first place that waits, of what becomes the operation
        of_here, of_first, of_op = (Signal(answers) for _ in range(3))
        waiting, enters, leaves = (Signal(config.snoops) for _ in range(3))

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
            joins.eq((waiting & ~leaves).bit_select(tag, 1)),
            queue.r_en.eq(take_first),
            queue.w_data.eq(here),
            queue.w_en.eq(legal & ~take_here & ~joins),
            enters.eq(bit_of(queue.w_en, tag)),
            leaves.eq(bit_of(take_first, first.tag)),
            *(of_here[line].answered.eq(lines[line]) for line in range(SECTOR_LINES)),
            *(of_here[line].state.eq(means) for line in range(SECTOR_LINES)),
            # What lay there is of an operation that was taken, unless this joins it.
            write.en.eq(Mux(legal, lines | ~joins.replicate(SECTOR_LINES), 0)),
            write.addr.eq(tag),
            write.data.eq(of_here),
            read.addr.eq(first.tag),
            of_first.eq(read.data),
            of_op.eq(Mux(take_first, of_first, of_here)),
        ]
        m.d.sync += waiting.eq((waiting & ~leaves) | enters)
        with m.If(take_first | take_here):
            m.d.sync += [
                self.answers.valid.eq(1),
                op.kind.eq(layouts.FilterOp.ANSWER),
                op.tag.eq(Mux(take_first, first.tag, tag)),
                op.snoop.sector.eq(Mux(take_first, first.sector, snoop.sector)),
                op.snoop.host.eq(Mux(take_first, first.host, snoop.host)),
                op.snoop.lines.eq(Cat(line.answered for line in of_op)),
                op.states.eq(Cat(line.state for line in of_op)),
            ]
        with m.Elif(self.answers.ready):
            m.d.sync += self.answers.valid.eq(0)

        # What a place awaits
        now_awaited, now_heard, now_answered = (Signal(config.snoops) for _ in range(3))
        m.d.comb += [
            now_awaited.eq(bit_of(self.left.valid, self.left.tag)),
            now_heard.eq(bit_of(legal, tag)),
            now_answered.eq(bit_of(self.answered.valid, tag)),
        ]
        m.d.sync += [
            self.awaited.eq((self.awaited | now_awaited) & ~now_answered),
            partly.eq((partly | now_heard) & ~now_answered),
        ]
        return m
