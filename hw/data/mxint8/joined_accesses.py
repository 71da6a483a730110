"""Accesses of memory that serve one operation or two: one answer becomes the end of each."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["Pairs"]


class Pairs(wiring.Component):
    """Remembers, by number, the operation of each access and the one that joined it, until the access is answered.

    Each operation has a number and a note. An access goes by the number of its first operation; a second may join it up
    to the clock in which its answer is taken, and in the clock of `first` too. Both operations end then, the first one
    before the other. 1 clock from `answers` to `ended`; one operation a clock.

    Members
    -------
    first : In({valid, number, note})
        An access of operation `number`.
    second : In({valid, access, number, note})
        Operation `number` joins access `access`.
    answers : In(stream of {number, failed})
        Of accesses.
    ended : Out(stream of {number, failed, joined, note})
        Operations; `joined`: this is the second of its access.
    """

    def __init__(self, *, number_bits, count, note):
        if not 1 <= count <= 1 << number_bits:
            raise ValueError(f"count must be 1 to {1 << number_bits}, not {count!r}")
        self._bits, self._count, self._note = number_bits, count, note
        number = {"number": number_bits}
        super().__init__(
            {
                "first": In(data.StructLayout({"valid": 1, **number, "note": note})),
                "second": In(data.StructLayout({"valid": 1, "access": number_bits, **number, "note": note})),
                "answers": In(stream.Signature(data.StructLayout({**number, "failed": 1}))),
                "ended": Out(stream.Signature(data.StructLayout({**number, "failed": 1, "joined": 1, "note": note}))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        partner = data.StructLayout({"valid": 1, "number": self._bits, "note": self._note})
        m.submodules.notes = notes = Memory(shape=self._note, depth=self._count, init=[])
        m.submodules.partners = partners = Memory(shape=partner, depth=self._count, init=[])
        note_write, partner_write = notes.write_port(), partners.write_port()
        note_read = notes.read_port(transparent_for=(note_write,))
        partner_read = partners.read_port(transparent_for=(partner_write,))

        m.d.comb += [
            note_write.en.eq(self.first.valid),
            note_write.addr.eq(self.first.number),
            note_write.data.eq(self.first.note),
            partner_write.en.eq(self.first.valid | self.second.valid),
            partner_write.addr.eq(self.first.number),
            partner_write.data.valid.eq(self.second.valid),
            partner_write.data.number.eq(self.second.number),
            partner_write.data.note.eq(self.second.note),
        ]
        with m.If(self.second.valid):
            m.d.comb += partner_write.addr.eq(self.second.access)

        take, last, valid, joined = (Signal() for _ in range(4))
        answer = Signal(self.answers.payload.shape())
        ended = self.ended.payload
        m.d.comb += [
            last.eq(joined | ~partner_read.data.valid),
            self.answers.ready.eq(~valid | self.ended.ready & last),
            take.eq(self.answers.valid & self.answers.ready),
            note_read.en.eq(take),
            note_read.addr.eq(self.answers.payload.number),
            partner_read.en.eq(take),
            partner_read.addr.eq(self.answers.payload.number),
            self.ended.valid.eq(valid),
            ended.failed.eq(answer.failed),
            ended.joined.eq(joined),
        ]
        with m.If(joined):
            m.d.comb += [ended.number.eq(partner_read.data.number), ended.note.eq(partner_read.data.note)]
        with m.Else():
            m.d.comb += [ended.number.eq(answer.number), ended.note.eq(note_read.data)]
        with m.If(self.ended.ready & valid):
            m.d.sync += joined.eq(~last)
        with m.If(self.answers.ready):
            m.d.sync += [valid.eq(take), answer.eq(self.answers.payload)]
        return m
