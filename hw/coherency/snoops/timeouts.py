"""Snoops that a host does not answer in time."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.events.port import EngineKind, ErrorKind
from kv_endpoint.hw.common import layouts

__all__ = ["SnoopTimeouts"]

_TIMEOUT_BITS = 24


class SnoopTimeouts(wiring.Component):
    """Reports each snoop once that is not answered `timeout` clocks after its BISnp was taken.

    The places of the snoop table are looked at in a circle, one a clock, so the note is offered up to `snoops` + 4
    clocks after that, later if others wait to be reported. Times count modulo 2^25: where `timeout` was 0, an old
    snoop may be reported that much later than when it is set.

    Members
    -------
    left : In({valid, tag})
        The BISnp of place `tag` is taken.
    awaited : In(places)
        Places of which it was, and not all lines are answered.
    answered : In({valid, tag})
        The last line of place `tag` is: `awaited` falls in the next clock.
    timeout : In(24)
        In clocks; 0: none is ever reported.
    notes : Out(stream of engine_note)
        ERROR SNOOP_TIMEOUT.
    reporting : Out({valid, tag})
        The snoop whose note is offered.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "left": In(layouts.place_strobe(config)),
                "awaited": In(config.snoops),
                "answered": In(layouts.place_strobe(config)),
                "timeout": In(_TIMEOUT_BITS),
                "notes": Out(stream.Signature(layouts.engine_note(config))),
                "reporting": Out(layouts.place_strobe(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        now = Signal(_TIMEOUT_BITS + 1)
        m.submodules.times = times = Memory(shape=len(now), depth=config.snoops, init=[])
        write, read = times.write_port(), times.read_port()
        m.d.sync += now.eq(now + 1)
        m.d.comb += [write.en.eq(self.left.valid), write.addr.eq(self.left.tag), write.data.eq(now)]

        # Three clocks: the time is read, it becomes an age, the age is judged. A place that was not awaited when its
        # time was read is passed over, so the time is that of the snoop that is judged.
        reported = Signal(config.snoops)
        place = Signal(layouts.snoop_tag_bits(config))
        tags = [place, *(Signal.like(place, name=f"tag{stage}") for stage in (1, 2))]
        valids = [Signal(name=f"valid{stage}") for stage in range(3)]
        age = Signal.like(now)
        late = Signal()
        m.d.comb += [
            valids[0].eq((self.awaited & ~reported).bit_select(place, 1) & (self.timeout != 0) & ~self.reporting.valid),
            read.addr.eq(place),
            read.en.eq(valids[0]),
            late.eq(
                valids[2]
                & (age >= self.timeout)
                & self.awaited.bit_select(tags[2], 1)
                & ~(self.answered.valid & (self.answered.tag == tags[2]))
            ),
        ]
        m.d.sync += [
            place.eq(place + 1),
            tags[1].eq(tags[0]),
            tags[2].eq(tags[1]),
            valids[1].eq(valids[0]),
            valids[2].eq(valids[1]),
            age.eq(now - read.data),
        ]
        with m.If(late):
            # What was looked at behind it is looked at again.
            m.d.sync += [place.eq(tags[2] + 1), valids[1].eq(0), valids[2].eq(0)]
            m.d.sync += [self.reporting.valid.eq(1), self.reporting.tag.eq(tags[2])]
        with m.Elif(self.notes.ready):
            m.d.sync += self.reporting.valid.eq(0)
        marks = Signal(config.snoops)
        with m.If(late):
            m.d.comb += marks.eq(1 << tags[2])
        # The next snoop of a place is not awaited for some clocks, so it is not taken for reported.
        m.d.sync += reported.eq((reported | marks) & self.awaited)
        m.d.comb += [
            self.notes.valid.eq(self.reporting.valid),
            self.notes.payload.kind.eq(EngineKind.ERROR),
            self.notes.payload.key.eq(ErrorKind.SNOOP_TIMEOUT),
            self.notes.payload.aux.eq(self.reporting.tag),
        ]
        return m
