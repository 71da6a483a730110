"""Demotions in progress: a page is written, if it must be, and a frame is freed. See `golden/frames/migration.py`."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.events.port import EngineKind, ErrorKind
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.layouts import Hold, SidecarKind
from kv_endpoint.hw.common.numbering import split_index
from kv_endpoint.hw.lib.round_robin import next_in_turn

__all__ = ["Migration"]


class _Stage(enum.Enum, shape=3):
    """What a demotion waits for."""

    #: the datapath has finished what was under way when the block turned demoting
    DRAIN = 0
    FLUSH = 1
    WRITE = 2
    #: flash
    WRITING = 3
    WRITTEN = 4
    #: the slot that ends the demotion is to be issued, or to commit
    END = 5
    ENDING = 6


class Migration(wiring.Component):
    """Takes up each demotion when its DEMOTE commits and ends it by EVICT or RESTORE, whatever happens to the block.

    A demotion: drain of the datapath, sidecar row flushed, page written if the block was dirty, EVICT, or RESTORE if
    the write failed. A page whose sidecar row memory has refused is not written: its write is noted as failed, and
    flash has no command. An access that cancels it meanwhile shows as an EVICT or RESTORE that is IGNORED; the page
    written is then out of date, and the entry still says dirty. Demotions overlap where they wait for the datapath or
    for flash; else one is served at a time, in turns.

    Nobody but its neighbours can keep a demotion waiting: no step of it needs a frame or a decision.

    Members
    -------
    commit : In(commit)
    slot_free : Out(1)
        A DEMOTE may be issued. Follows a commit after 1 clock.
    active : Out(1), count : Out
        A demotion is in progress; how many are.
    unwritable : Out(1)
        `flash_failure_limit` page writes failed in a row; stays. Set in the clock of the last one's note.
    lookup_index : In(index), lookup : Out(1)
        Whether a block's demotion is in progress. No latency.
    ended : Out(struct valid, head)
        One clock for each demotion that ended.
    engine_slots, notes, sidecar_ops, page_commands : Out(stream)
    sidecar_done, sidecar_failed : In(1)
        The operation accepted last has ended; memory does not have what it flushed.
    page_done : In(stream)
        Taken at once.
    drain : Out(Hold)
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "slot_free": Out(1),
                "active": Out(1),
                "count": Out(range(config.demotion_slots + 1)),
                "unwritable": Out(1),
                "lookup_index": In(config.index_bits),
                "lookup": Out(1),
                "ended": Out(data.StructLayout({"valid": 1, "head": config.head_bits})),
                "engine_slots": Out(layouts.slot_stream(config)),
                "notes": Out(stream.Signature(layouts.engine_note(config))),
                "sidecar_ops": Out(stream.Signature(layouts.sidecar_op(config))),
                "sidecar_done": In(1),
                "sidecar_failed": In(1),
                "page_commands": Out(stream.Signature(layouts.page_command(config))),
                "page_done": In(stream.Signature(layouts.page_done(config))),
                "drain": Out(Hold()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        count = config.demotion_slots
        numbers = range(count)
        used = Signal(count)
        stage = Array(Signal(_Stage, name=f"stage{number}") for number in numbers)
        index = Array(Signal(config.index_bits, name=f"index{number}") for number in numbers)
        frame = Array(Signal(config.frame_bits, name=f"frame{number}") for number in numbers)
        mode = Array(Signal(name=f"mode{number}") for number in numbers)
        dirty = Array(Signal(name=f"dirty{number}") for number in numbers)
        failed = Array(Signal(name=f"failed{number}") for number in numbers)

        m.d.comb += [
            self.slot_free.eq(~used.all()),
            self.active.eq(used.any()),
            self.count.eq(sum(used[1:], used[0])),
            self.lookup.eq(Cat(used[n] & (index[n] == self.lookup_index) for n in numbers).any()),
        ]

        # A demotion begins, or ends, at a commit
        commit = self.commit
        commit_index = Cat(commit.slot.block, commit.slot.head)
        demoted = commit.valid & (commit.slot.kind == SlotKind.DEMOTE) & (commit.outcome == Outcome.DONE)
        ends = commit.valid & commit.slot.kind.matches(SlotKind.EVICT, SlotKind.RESTORE)
        m.d.sync += [self.ended.valid.eq(ends), self.ended.head.eq(commit.slot.head)]
        for n in numbers:
            with m.If(ends & (stage[n] == _Stage.ENDING) & (index[n] == commit_index)):
                m.d.sync += used[n].eq(0)
            with m.If(demoted & ~used[n] & used[:n].all()):
                m.d.sync += [
                    used[n].eq(1),
                    stage[n].eq(_Stage.DRAIN),
                    index[n].eq(commit_index),
                    frame[n].eq(commit.before.frame),
                    mode[n].eq(commit.slot.mode),
                    dirty[n].eq(commit.before.dirty),
                    failed[n].eq(0),
                ]

        # The datapath is drained for all demotions that wait for it at once
        waits = Signal(count)
        draining = Signal(count)
        m.d.comb += waits.eq(Cat(used[n] & (stage[n] == _Stage.DRAIN) for n in numbers))
        with m.FSM(name="drains"):
            with m.State("IDLE"):
                m.d.sync += draining.eq(waits)
                with m.If(waits.any()):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += self.drain.request.eq(1)
                with m.If(self.drain.granted):
                    for n in numbers:
                        with m.If(draining[n]):
                            m.d.sync += stage[n].eq(_Stage.FLUSH)
                    m.next = "DRAINED"
            with m.State("DRAINED"):
                m.next = "IDLE"

        # Completions of flash
        done_number = self.page_done.payload.tag[: (count - 1).bit_length()]
        m.d.comb += self.page_done.ready.eq(1)
        with m.If(self.page_done.valid):
            m.d.sync += [stage[done_number].eq(_Stage.WRITTEN), failed[done_number].eq(self.page_done.payload.failed)]

        # Service of one demotion at a time
        sel = Signal(numbers)
        wants = Signal(count)
        served = (_Stage.FLUSH, _Stage.WRITE, _Stage.WRITTEN, _Stage.END)
        m.d.comb += wants.eq(Cat(used[n] & Cat(stage[n] == s for s in served).any() for n in numbers))
        failures = Signal(range(config.flash_failure_limit + 1))
        last_failure = Signal()
        write_tag = Signal(layouts.page_tag_bits(config))
        m.d.comb += write_tag.eq(sel | 1 << len(write_tag) - 1)

        slot, note = self.engine_slots.payload, self.notes.payload
        command, op = self.page_commands.payload, self.sidecar_ops.payload
        head, block = split_index(config, index[sel])
        m.d.comb += [
            slot.head.eq(head),
            slot.block.eq(block),
            slot.kind.eq(Mux(failed[sel], SlotKind.RESTORE, SlotKind.EVICT)),
            op.kind.eq(SidecarKind.FLUSH),
            op.frame.eq(frame[sel]),
            op.mode.eq(mode[sel]),
            slot.mode.eq(mode[sel]),
            command.mode.eq(mode[sel]),
            command.write.eq(1),
            command.tag.eq(write_tag),
            command.page.eq(index[sel]),
            command.frame.eq(frame[sel]),
        ]

        def note_page(kind, aux):
            m.d.comb += [
                note.kind.eq(kind),
                note.head.eq(head),
                note.block.eq(block),
                note.frame.eq(frame[sel]),
                note.aux.eq(aux),
                self.notes.valid.eq(1),
            ]

        def note_error(kind):
            m.d.comb += [
                note.kind.eq(EngineKind.ERROR),
                note.key.eq(kind),
                note.aux.eq(index[sel]),
                self.notes.valid.eq(1),
            ]

        to_serve = next_in_turn(m, "to_serve", wants, sel)
        with m.FSM(name="service"):
            with m.State("PICK"):
                with m.If(wants.any()):
                    m.d.sync += sel.eq(to_serve)
                    m.next = "SERVE"
            with m.State("SERVE"):
                with m.Switch(stage[sel]):
                    with m.Case(_Stage.FLUSH):
                        m.next = "FLUSH"
                    with m.Case(_Stage.WRITE):
                        m.next = "NOTE_WRITE"
                    with m.Case(_Stage.WRITTEN):
                        m.next = "NOTE_WRITTEN"
                    with m.Case(_Stage.END):
                        m.next = "END"
            with m.State("FLUSH"):
                m.d.comb += self.sidecar_ops.valid.eq(1)
                with m.If(self.sidecar_ops.ready):
                    m.next = "FLUSHING"
            with m.State("FLUSHING"):
                with m.If(self.sidecar_done):
                    m.d.sync += [
                        stage[sel].eq(Mux(dirty[sel], _Stage.WRITE, _Stage.END)),
                        # A clean block leaves all the same: flash has it.
                        failed[sel].eq(dirty[sel] & self.sidecar_failed),
                    ]
                    m.next = "PICK"
            with m.State("NOTE_WRITE"):
                note_page(EngineKind.PAGE_WRITE, write_tag)
                with m.If(self.notes.ready):
                    m.next = "COMMAND"
                    with m.If(failed[sel]):
                        m.d.sync += stage[sel].eq(_Stage.WRITTEN)
                        m.next = "PICK"
            with m.State("COMMAND"):
                m.d.comb += self.page_commands.valid.eq(1)
                with m.If(self.page_commands.ready):
                    m.d.sync += stage[sel].eq(_Stage.WRITING)
                    m.next = "PICK"
            with m.State("NOTE_WRITTEN"):
                note_page(EngineKind.PAGE_WRITE_DONE, Cat(failed[sel], write_tag))
                m.d.comb += last_failure.eq(
                    failed[sel] & ~self.unwritable & (failures == config.flash_failure_limit - 1)
                )
                with m.If(self.notes.ready):
                    m.d.sync += [
                        stage[sel].eq(_Stage.END),
                        failures.eq(Mux(failed[sel] & ~self.unwritable, failures + 1, 0)),
                        self.unwritable.eq(self.unwritable | last_failure),
                    ]
                    with m.If(last_failure):
                        m.next = "NOTE_UNWRITABLE"
                    with m.Elif(failed[sel]):
                        m.next = "NOTE_FAILED"
                    with m.Else():
                        m.next = "PICK"
            with m.State("NOTE_UNWRITABLE"):
                note_error(ErrorKind.FLASH_UNWRITABLE)
                with m.If(self.notes.ready):
                    m.next = "NOTE_FAILED"
            with m.State("NOTE_FAILED"):
                note_error(ErrorKind.PAGE_WRITE)
                with m.If(self.notes.ready):
                    m.next = "PICK"
            with m.State("END"):
                m.d.comb += self.engine_slots.valid.eq(1)
                with m.If(self.engine_slots.ready):
                    m.d.sync += stage[sel].eq(_Stage.ENDING)
                    m.next = "PICK"
        return m
