"""Read combining: lines of mode mxint8 are halves of DDR5 lines, and one access serves two that are close."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.data.mxint8.joined_accesses import Pairs
from kv_endpoint.hw.data.mxint8.line_layouts import (
    ELEMENTS_BITS,
    SCALE_BITS,
    ddr5_line,
    half_read,
    half_returned,
    line_answer,
    line_to_read,
    named_place,
    number_bits,
)

__all__ = ["ReadCombiner"]

#: accesses that a later read may join
OPEN = 4


class ReadCombiner(wiring.Component):
    """Lets a read join an access of its DDR5 line that is asked for and not yet answered.

    The last `OPEN` accesses can be joined, each by one read. A write that memory has confirmed closes them for its DDR5
    line: the access may have seen what was there before. That is early enough, since a read of the written line itself
    waits until the write has finished.

    No latency to `memory`, 1 clock from `returned` to `halves`; one read a clock each way.

    Members
    -------
    reads : In(stream of half_read)
        Numbers are not in use already.
    memory : Out(stream of line_to_read)
    returned : In(stream of line_answer)
    halves : Out(stream of half_returned)
    written : In(named_place)
        A write that memory has confirmed, or refused.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__({
            "reads": In(stream.Signature(half_read(config))),
            "memory": Out(stream.Signature(line_to_read(config))),
            "returned": In(stream.Signature(line_answer(config))),
            "halves": Out(stream.Signature(half_returned(config))),
            "written": In(named_place(config)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self._config
        note = data.StructLayout({"half": 1, "scale": SCALE_BITS})
        m.submodules.pairs = pairs = Pairs(
            number_bits=number_bits(config), count=(1 << layouts.id_bits(config)) + 1, note=note
        )
        read = self.reads.payload
        answered, do_join, do_open = Signal(), Signal(), Signal()

        # Accesses that can be joined. No two are of one line: the second read would have joined the first.
        can_join = Signal(OPEN)
        next_open = Signal(range(OPEN))
        access = Signal(number_bits(config))
        for number in range(OPEN):
            open_, same = Signal(name=f"open{number}"), Signal(name=f"same{number}")
            leader = Signal(line_to_read(config), name=f"leader{number}")
            m.d.comb += [
                same.eq(ddr5_line(leader.place) == ddr5_line(read.place)),
                can_join[number].eq(open_ & same),
            ]
            with m.If(can_join[number]):
                m.d.comb += access.eq(leader.number)
            with m.If(
                (do_join & same)
                | (answered & (self.returned.payload.number == leader.number))
                | (self.written.valid & (ddr5_line(self.written.place) == ddr5_line(leader.place)))
            ):
                m.d.sync += open_.eq(0)
            with m.If(do_open & (next_open == number)):
                m.d.sync += [open_.eq(1), leader.number.eq(read.number), leader.place.eq(read.place)]
        with m.If(do_open):
            m.d.sync += next_open.eq(next_open + 1)

        m.d.comb += [
            self.memory.valid.eq(self.reads.valid & ~can_join.any()),
            self.memory.payload.number.eq(read.number),
            self.memory.payload.place.eq(read.place),
            self.reads.ready.eq(can_join.any() | self.memory.ready),
            do_join.eq(self.reads.valid & can_join.any()),
            do_open.eq(self.memory.valid & self.memory.ready),
            pairs.first.valid.eq(do_open),
            pairs.second.valid.eq(do_join),
            pairs.second.access.eq(access),
        ]
        for operation in (pairs.first, pairs.second):
            m.d.comb += [
                operation.number.eq(read.number),
                operation.note.half.eq(read.place.line[0]),
                operation.note.scale.eq(read.scale),
            ]

        # Answers: the line stays here until both halves are taken.
        line = Signal(layouts.LINE_BITS)
        ended = pairs.ended.payload
        m.d.comb += [
            pairs.answers.valid.eq(self.returned.valid),
            pairs.answers.payload.number.eq(self.returned.payload.number),
            pairs.answers.payload.failed.eq(self.returned.payload.failed),
            self.returned.ready.eq(pairs.answers.ready),
            answered.eq(self.returned.valid & self.returned.ready),
            self.halves.valid.eq(pairs.ended.valid),
            pairs.ended.ready.eq(self.halves.ready),
            *(self.halves.payload[name].eq(ended[name]) for name in ("number", "failed", "joined")),
            self.halves.payload.scale.eq(ended.note.scale),
            self.halves.payload.elements.eq(line.word_select(ended.note.half, ELEMENTS_BITS)),
        ]
        with m.If(answered):
            m.d.sync += line.eq(self.returned.payload.data)
        return m
