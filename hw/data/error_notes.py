"""Notes of errors that come as pulses."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.events.port import EngineKind, ErrorKind
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.data.responder import datapath_errors

__all__ = ["ErrorNotes"]


class ErrorNotes(wiring.Component):
    """Turns the datapath's error pulses into ERROR notes, which may have to wait for their turn.

    Errors of one kind that come while one waits share its note; `aux` is the number of errors in it, so none is lost.

    Members
    -------
    errors : In(datapath_errors)
    notes : Out(stream)
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "errors": In(datapath_errors()),
                "notes": Out(stream.Signature(layouts.engine_note(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        note = self.notes.payload
        pulses = {ErrorKind.AXI_READ: self.errors.axi_read, ErrorKind.AXI_WRITE: self.errors.axi_write}
        offered = Signal()
        #: which of the two kinds is looked at in this clock, so that neither keeps the other waiting
        turn = Signal()
        m.d.sync += turn.eq(~turn)
        m.d.comb += self.notes.valid.eq(offered)
        do_offer = ~offered | self.notes.ready
        m.d.sync += offered.eq(offered & ~self.notes.ready)
        for number, (kind, pulse) in enumerate(pulses.items()):
            waiting = Signal(32, name=f"waiting_{kind.name.lower()}")
            chosen = do_offer & (waiting != 0) & (turn == number)
            m.d.sync += waiting.eq(waiting + pulse)
            with m.If(chosen):
                m.d.sync += [offered.eq(1), note.kind.eq(EngineKind.ERROR), note.key.eq(kind), note.aux.eq(waiting)]
                m.d.sync += waiting.eq(pulse)
        return m
