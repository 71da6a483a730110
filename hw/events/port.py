"""The event port: gives each record its sequence number and buffers both lanes."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.events.port import SEQUENCE_BITS, Lane
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.pipeline.metadata import FILTER_CLOCKS

__all__ = ["EventPort"]


class EventPort(wiring.Component):
    """Two lanes of records with one sequence number (`golden/events/port.py`).

    A record appears at its output two clocks after it was taken; one a clock and lane. In a clock in which both lanes
    take one, the slot's number is the lower. Notes wait for commit notes.

    Members
    -------
    slot_valid, slot : In
        A committed slot; cannot be refused, so the pipeline issues only while `slot_room`.
    slot_room : Out(1)
        Room for the records of all slots that can be in flight, `pipeline_depth`, and one more.
    notes : In(stream)
        Engine records before they have a number.
    commit_note : In
        One that is taken in the clock of its `valid`: of an operation of the snoop filter, which begins only while
        `note_room`.
    note_room : Out(1)
        Room for a commit note that comes `FILTER_CLOCKS` from now, and one more, whatever is taken in between.
    slot_record, engine_record : Out(stream)
        The lanes.
    stalled : Out(1)
        A lane has a record and is not taken.
    """

    def __init__(self, *, config, pipeline_depth):
        if config.event_fifo_depth <= pipeline_depth + 1:
            raise ValueError(f"event_fifo_depth must be above {pipeline_depth + 1}, not {config.event_fifo_depth!r}")
        self._config, self._pipeline_depth = config, pipeline_depth
        super().__init__(
            {
                "slot_valid": In(1),
                "slot": In(layouts.record(config, Lane.SLOT)),
                "slot_room": Out(1),
                "notes": In(stream.Signature(layouts.engine_note(config))),
                "commit_note": In(layouts.commit_note(config)),
                "note_room": Out(1),
                "slot_record": Out(stream.Signature(layouts.record(config, Lane.SLOT))),
                "engine_record": Out(stream.Signature(layouts.record(config, Lane.ENGINE))),
                "stalled": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        depth = self._config.event_fifo_depth
        m.submodules.slots = slots = fifo.SyncFIFOBuffered(width=self.slot.shape().size, depth=depth)
        m.submodules.engines = engines = fifo.SyncFIFOBuffered(
            width=self.engine_record.payload.shape().size, depth=depth
        )
        sequence = Signal(SEQUENCE_BITS)
        note = Signal.like(self.notes.payload)
        take_note = Signal()

        numbered_slot = Signal.like(self.slot)
        numbered_note = Signal.like(self.engine_record.payload)
        m.d.comb += [
            numbered_slot.eq(self.slot),
            numbered_slot.sequence.eq(sequence),
            slots.w_data.eq(numbered_slot),
            slots.w_en.eq(self.slot_valid),
            self.slot_room.eq(slots.level < depth - self._pipeline_depth - 1),
            numbered_note.sequence.eq(sequence + self.slot_valid),
            engines.w_data.eq(numbered_note),
            engines.w_en.eq(take_note),
            note.eq(Mux(self.commit_note.valid, self.commit_note.note, self.notes.payload)),
            take_note.eq(self.commit_note.valid | (self.notes.valid & self.notes.ready)),
            self.notes.ready.eq(engines.w_rdy & ~self.commit_note.valid),
            # One record a clock enters a lane, so this counts every note that can come before the operation's.
            self.note_room.eq(engines.level < depth - FILTER_CLOCKS - 1),
        ]
        for name, _ in self.notes.payload.shape():
            m.d.comb += getattr(numbered_note, name).eq(getattr(note, name))
        m.d.sync += sequence.eq(sequence + self.slot_valid + take_note)

        for lane, queue in ((self.slot_record, slots), (self.engine_record, engines)):
            m.d.comb += [lane.payload.eq(queue.r_data), lane.valid.eq(queue.r_rdy), queue.r_en.eq(lane.ready)]
        m.d.comb += self.stalled.eq(
            (self.slot_record.valid & ~self.slot_record.ready) | (self.engine_record.valid & ~self.engine_record.ready)
        )
        return m
