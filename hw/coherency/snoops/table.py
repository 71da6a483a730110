"""Snoops that are outstanding: their places, from the commit that launches one to the commit of its last answer."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.events.port import EngineKind, ErrorKind
from kv_endpoint.hw.coherency.snoops.answers import SnoopAnswers
from kv_endpoint.hw.coherency.snoops.sender import SnoopSender
from kv_endpoint.hw.coherency.snoops.timeouts import SnoopTimeouts
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.lib.arbiter import Arbiter
from kv_endpoint.hw.lib.one_hot import bit_of

__all__ = ["SnoopTable"]


class SnoopTable(wiring.Component):
    """A place for each BITag. Sends what is launched, takes what is answered, and says what is not answered in time.

    A snoop takes a place in the clock in which it is launched: a slot's the lowest free one, that of an operation
    beside it the highest. 4 clocks from there to its BISnp, 2 from a BIRsp to its ANSWER, if nothing is in the way;
    the place is free again from the clock after the commit of the ANSWER that brings its last line. A BISnp every 2
    clocks, a BIRsp a clock.

    Members
    -------
    slot_launched, op_launched : In({valid, snoop})
    slot_place, op_place : Out({free, tag}), last_place : Out(1)
        Where they go; `last_place`: the two are the same.
    pending_sector : Out, pending : In(1)
        To `GrantsInFlight`, without latency.
    notes : Out(stream of engine_note)
        BI_SNOOP; ERROR SNOOP_TIMEOUT, once a snoop, before the BI_ANSWER of its last line; ERROR BAD_BIRSP, which is
        left out while one waits.
    bisnp : Out(stream), birsp : In(stream, always ready)
    answers : Out(stream of filter_op), done : In
    freed : Out({valid, tag})
        In the clock of the last commit.
    regions : In(array of regions)
    in_flight_cap : In(13)
        Snoops sent and unanswered at most, from 1.
    timeout : In(24)
        `SnoopTimeouts`.
    in_flight : Out, used : Out
        Snoops sent and not wholly answered; places taken.
    bad_birsp, timed_out : Out(1)
        Pulses: for each BIRsp that is not legal, a clock after it; with the note SNOOP_TIMEOUT.
    """

    def __init__(self, *, config):
        self._config = config
        count = range(config.snoops + 1)
        super().__init__(
            {
                "slot_launched": In(layouts.launched_snoop(config)),
                "op_launched": In(layouts.launched_snoop(config)),
                "slot_place": Out(layouts.snoop_place(config)),
                "op_place": Out(layouts.snoop_place(config)),
                "last_place": Out(1),
                "pending_sector": Out(config.sector_bits),
                "pending": In(1),
                "notes": Out(stream.Signature(layouts.engine_note(config))),
                "bisnp": Out(stream.Signature(layouts.message("bisnp"))),
                "birsp": In(stream.Signature(layouts.message("birsp"))),
                "answers": Out(stream.Signature(layouts.filter_op(config))),
                "done": In(layouts.filter_done(config)),
                "freed": Out(layouts.place_strobe(config)),
                "regions": In(data.ArrayLayout(layouts.region_layout(config), config.regions)),
                "in_flight_cap": In(13),
                "timeout": In(24),
                "in_flight": Out(count),
                "used": Out(count),
                "bad_birsp": Out(1),
                "timed_out": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.sender = sender = SnoopSender(config=config)
        m.submodules.replies = replies = SnoopAnswers(config=config)
        m.submodules.timeouts = timeouts = SnoopTimeouts(config=config)
        m.submodules.arbiter = arbiter = Arbiter(layouts.engine_note(config), count=3)

        # Places
        taken = Signal(config.snoops)
        launches = ((self.slot_launched, self.slot_place), (self.op_launched, self.op_place))
        begun = [Signal(config.snoops, name=f"begun_{by}") for by in ("slot", "op")]
        freed = Signal(config.snoops)
        for place in range(config.snoops):
            with m.If(~taken[place]):
                m.d.comb += self.op_place.tag.eq(place)
        for place in reversed(range(config.snoops)):
            with m.If(~taken[place]):
                m.d.comb += self.slot_place.tag.eq(place)
        begins = sender.launched
        for begin, places, (launched, place) in zip(begins, begun, launches, strict=True):
            m.d.comb += [
                place.free.eq(self.used != config.snoops),
                begin.valid.eq(launched.valid),
                begin.tag.eq(place.tag),
                places.eq(bit_of(begin.valid, begin.tag)),
            ]
        m.d.comb += [
            self.last_place.eq(self.used == config.snoops - 1),
            freed.eq(bit_of(self.freed.valid, self.freed.tag)),
        ]
        m.d.sync += [
            taken.eq((taken | begun[0] | begun[1]) & ~freed),
            self.used.eq(self.used + begins[0].valid + begins[1].valid - self.freed.valid),
        ]

        # What is known of them, in two memories, since two may begin in one clock: the one that wrote last holds it.
        of_op = Signal(config.snoops)
        m.d.sync += of_op.eq((of_op & ~begun[0]) | begun[1])
        banks = []
        for name, begin, (launched, _) in zip(("by_slot", "by_op"), begins, launches, strict=True):
            m.submodules[name] = memory = Memory(shape=layouts.snoop_layout(config), depth=config.snoops, init=[])
            write = memory.write_port()
            m.d.comb += [write.en.eq(begin.valid), write.addr.eq(begin.tag), write.data.eq(launched.snoop)]
            banks.append(memory)
        for part, name in ((sender, "sender"), (replies, "replies")):
            ports = [memory.read_port() for memory in banks]
            by_op = Signal(name=f"{name}_by_op")
            m.d.comb += [port.addr.eq(part.look.tag) for port in ports]
            m.d.comb += [port.en.eq(part.look.valid) for port in ports]
            with m.If(part.look.valid):
                m.d.sync += by_op.eq(of_op.bit_select(part.look.tag, 1))
            m.d.comb += part.snoop.eq(Mux(by_op, ports[1].data, ports[0].data))

        # The last answer
        done, lines, applied = self.done.op, Signal(SECTOR_LINES), Signal(SECTOR_LINES)
        applies = Signal()
        m.submodules.applied = applied_lines = Memory(shape=SECTOR_LINES, depth=config.snoops, init=[])
        write, read = applied_lines.write_port(), applied_lines.read_port(domain="comb")
        ports = [memory.read_port(domain="comb") for memory in banks]
        #: some lines are applied, and not all
        partly, now_partly = Signal(config.snoops), Signal(config.snoops)
        m.d.comb += [
            applies.eq(self.done.valid & (done.kind == layouts.FilterOp.ANSWER)),
            *(port.addr.eq(done.tag) for port in (*ports, read, write)),
            lines.eq(Mux(of_op.bit_select(done.tag, 1), ports[1].data.lines, ports[0].data.lines)),
            applied.eq(done.snoop.lines | Mux(partly.bit_select(done.tag, 1), read.data, 0)),
            write.en.eq(applies),
            write.data.eq(applied),
            self.freed.valid.eq(applies & (applied == lines)),
            self.freed.tag.eq(done.tag),
            now_partly.eq(bit_of(applies, done.tag)),
        ]
        m.d.sync += partly.eq((partly | now_partly) & ~freed)

        # Parts
        wiring.connect(m, wiring.flipped(self.bisnp), sender.bisnp)
        wiring.connect(m, wiring.flipped(self.birsp), replies.birsp)
        wiring.connect(m, wiring.flipped(self.answers), replies.answers)
        wiring.connect(m, wiring.flipped(self.notes), arbiter.output)
        wiring.connect(m, arbiter.sources[0], sender.notes)
        wiring.connect(m, arbiter.sources[1], timeouts.notes)
        m.d.comb += [
            self.pending_sector.eq(sender.pending_sector),
            sender.pending.eq(self.pending),
            sender.regions.eq(self.regions),
            sender.in_flight.eq(self.in_flight),
            sender.in_flight_cap.eq(self.in_flight_cap),
            replies.left.eq(sender.left),
            # Its note says that lines are not answered.
            replies.keep_back.eq(timeouts.reporting),
            timeouts.left.eq(sender.left),
            timeouts.awaited.eq(replies.awaited),
            timeouts.answered.eq(replies.answered),
            timeouts.timeout.eq(self.timeout),
            self.timed_out.eq(timeouts.notes.valid & timeouts.notes.ready),
            self.bad_birsp.eq(replies.bad.valid),
        ]
        m.d.sync += self.in_flight.eq(self.in_flight + sender.sent - replies.answered.valid)

        # A note of a BIRsp that is not legal
        note, said = arbiter.sources[2], replies.bad.birsp
        m.d.comb += [note.payload.kind.eq(EngineKind.ERROR), note.payload.key.eq(ErrorKind.BAD_BIRSP)]
        bad = Signal.like(said)
        m.d.comb += note.payload.aux.eq(Cat(bad.bi_tag, bad.opcode, bad.low_addr, bad.bi_id))
        with m.If(note.ready | ~note.valid):
            m.d.sync += [note.valid.eq(replies.bad.valid), bad.eq(said)]
        return m
