"""Write combining: both halves of a DDR5 line of mode mxint8 go to memory as one access if they are close."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import LINE_BYTES
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.numbering import place
from kv_endpoint.hw.data.mxint8.joined_accesses import Pairs
from kv_endpoint.hw.data.mxint8.line_layouts import (
    ELEMENTS_BITS,
    confirmed_write,
    ddr5_line,
    half_write,
    half_written,
    line_to_write,
    named_place,
    write_note,
)

__all__ = ["WriteCombiner"]

#: halves that wait for their partners, and one that leaves
PLACES = 5
#: clocks that a half waits
PATIENCE = 32


class WriteCombiner(wiring.Component):
    """Keeps halves until their partners come, or nobody should wait any longer.

    A half leaves alone after `patience` clocks, on `flush`, when `urgent` names its DDR5 line, or, one after the other,
    when all places are taken. A half that comes when its partner is already offered to memory goes by itself.

    2 clocks from the half that makes a line whole to `memory`, 1 clock from `confirmed` to `ended`; one half a clock in
    and one operation a clock out.

    Members
    -------
    halves : In(stream of half_write)
        No two of one line at once, nor in memory.
    memory : Out(stream of line_to_write)
    confirmed : In(stream of confirmed_write)
    ended : Out(stream of half_written)
    urgent : In(named_place)
        An operation waits for a write of its line.
    flush : In(1)
    """

    def __init__(self, *, config, places=PLACES, patience=PATIENCE):
        if not isinstance(places, int) or places < 2:
            raise ValueError(f"places must be 2 or more, not {places!r}")
        if not isinstance(patience, int) or patience < 1:
            raise ValueError(f"patience must be 1 clock or more, not {patience!r}")
        self._config, self._places, self._patience = config, places, patience
        super().__init__({
            "halves": In(stream.Signature(half_write(config))),
            "memory": Out(stream.Signature(line_to_write(config))),
            "confirmed": In(stream.Signature(confirmed_write(config))),
            "ended": Out(stream.Signature(half_written(config))),
            "urgent": In(named_place(config)),
            "flush": In(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config, places = self._config, self._places
        id_bits = layouts.id_bits(config)
        numbers = range(places)
        half = self.halves.payload
        side = half.place.line[0]

        # A place is taken by the first half and free again when memory takes the line. `leaving` is on offer: it stays
        # as it is.
        taken, due, same, free = (Signal(places) for _ in range(4))
        offered = Signal()
        leaving = Signal(numbers)
        halves_here = Array(Signal(2, name=f"halves_here{n}") for n in numbers)
        where = Array(Signal(place(config), name=f"where{n}") for n in numbers)
        ids = [Array(Signal(id_bits, name=f"id{n}_{h}") for n in numbers) for h in range(2)]
        notes = [Array(Signal(write_note(), name=f"note{n}_{h}") for n in numbers) for h in range(2)]

        do_put, do_leave = Signal(), Signal()
        full, chosen, oldest, put_place = Signal(), Signal(numbers), Signal(numbers), Signal(numbers)
        m.d.comb += [
            full.eq(taken.all()),
            free.eq(~taken),
            do_leave.eq(self.memory.valid & self.memory.ready),
            self.halves.ready.eq(same.any() | ~full | do_leave),
            do_put.eq(self.halves.valid & self.halves.ready),
        ]
        # The place of the partner, or a free one, or the one that becomes free.
        m.d.comb += put_place.eq(leaving)
        for candidates in (free, same):
            for number in reversed(numbers):
                with m.If(candidates[number]):
                    m.d.comb += put_place.eq(number)

        for number in numbers:
            clocks = Signal(range(self._patience + 1), name=f"clocks{number}")
            urgent = Signal(name=f"urgent{number}")
            stays = ~(offered & (leaving == number))
            putting = do_put & (put_place == number)
            m.d.comb += [
                same[number].eq(taken[number] & stays & (ddr5_line(where[number]) == ddr5_line(half.place))),
                due[number].eq(
                    taken[number] & stays & (halves_here[number].all() | (clocks == 0) | urgent | self.flush)
                ),
            ]
            m.d.sync += urgent.eq(self.urgent.valid & (ddr5_line(where[number]) == ddr5_line(self.urgent.place)))
            with m.If(do_leave & (leaving == number)):
                m.d.sync += [taken[number].eq(0), halves_here[number].eq(0)]
            with m.If(clocks != 0):
                m.d.sync += clocks.eq(clocks - 1)
            with m.If(putting):
                m.d.sync += [
                    taken[number].eq(1),
                    halves_here[number].eq(Mux(same[number], 0b11, Mux(side, 0b10, 0b01))),
                    where[number].eq(half.place),
                ]
                with m.If(~same[number]):
                    m.d.sync += clocks.eq(self._patience)
            for h in range(2):
                with m.If(putting & (side == h)):
                    m.d.sync += [ids[h][number].eq(half.id), notes[h][number].eq(half.note)]

        # Who leaves next: what is due, else, with no place left, the places in turn.
        m.d.comb += chosen.eq(oldest)
        for number in reversed(numbers):
            with m.If(due[number]):
                m.d.comb += chosen.eq(number)
        evict = Signal()
        m.d.comb += evict.eq(full & ~due.any() & ~(offered & (leaving == oldest)))
        with m.If(~offered | do_leave):
            m.d.sync += [offered.eq(due.any() | evict), leaving.eq(chosen)]
            with m.If(evict):
                m.d.sync += oldest.eq(Mux(oldest == places - 1, 0, oldest + 1))

        # Their data: a memory a half.
        out = self.memory.payload
        here = Signal(2)
        m.d.comb += [self.memory.valid.eq(offered), here.eq(halves_here[leaving]), out.place.eq(where[leaving])]
        for h in range(2):
            m.submodules[f"elements{h}"] = elements = Memory(shape=ELEMENTS_BITS, depth=places, init=[])
            write, read = elements.write_port(), elements.read_port(domain="comb")
            m.d.comb += [
                write.en.eq(do_put & (side == h)),
                write.addr.eq(put_place),
                write.data.eq(half.elements),
                read.addr.eq(leaving),
                out.data.word_select(h, ELEMENTS_BITS).eq(read.data),
                out.strb.word_select(h, LINE_BYTES // 2).eq(here[h].replicate(LINE_BYTES // 2)),
            ]

        # The write goes by the number of its low half, if it has one.
        m.submodules.pairs = pairs = Pairs(number_bits=id_bits, count=config.write_slots, note=write_note())
        m.d.comb += [
            pairs.first.valid.eq(do_leave),
            pairs.first.number.eq(Mux(here[0], ids[0][leaving], ids[1][leaving])),
            pairs.first.note.eq(Mux(here[0], notes[0][leaving], notes[1][leaving])),
            pairs.second.valid.eq(do_leave & here.all()),
            pairs.second.access.eq(ids[0][leaving]),
            pairs.second.number.eq(ids[1][leaving]),
            pairs.second.note.eq(notes[1][leaving]),
            out.id.eq(pairs.first.number),
            pairs.answers.valid.eq(self.confirmed.valid),
            pairs.answers.payload.number.eq(self.confirmed.payload.id),
            pairs.answers.payload.failed.eq(self.confirmed.payload.failed),
            self.confirmed.ready.eq(pairs.answers.ready),
            self.ended.valid.eq(pairs.ended.valid),
            pairs.ended.ready.eq(self.ended.ready),
            self.ended.payload.id.eq(pairs.ended.payload.number),
            *(self.ended.payload[name].eq(pairs.ended.payload[name]) for name in ("failed", "joined")),
            *(self.ended.payload[name].eq(pairs.ended.payload.note[name]) for name in ("scale", "read_failed")),
        ]
        return m
