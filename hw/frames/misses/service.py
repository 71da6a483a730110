"""Serving a miss: its page is read, its requests are answered, it closes."""

from amaranth.hdl import Cat, Mux, Signal

from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.events.port import EngineKind, ErrorKind
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.common.layouts import SidecarKind
from kv_endpoint.hw.frames.misses.table import Source, Stage

__all__ = ["MissService"]


class MissService:
    """The states from SERVE on: the next thing that a miss owes, one at a time.

    Parameters
    ----------
    table : MissTable
    requests : MissRequests
    bypass : BypassSlots
    outputs : MissOutputs
    engine : MissEngine
        For its ports `ended` and `hold`.

    Members
    -------
    freed
        A miss has closed that had obtained something: its block may leave now, or its bypass slot be used again.
    """

    def __init__(self, *, engine, table, requests, bypass, outputs):
        self._engine, self._table, self._requests = engine, table, requests
        self._bypass, self._outputs = bypass, outputs
        self.freed = Signal()

    def serve_states(self, m):
        table, requests, outputs = self._table, self._requests, self._outputs
        sel, rwd = table.sel, requests.rwd
        has_read = requests.has_reads.bit_select(sel, 1)
        has_write = requests.has_writes.bit_select(sel, 1)

        def answer(channel):
            requests.first_of_miss(m, channel)
            m.next = "FETCH_ANSWER"

        with m.State("SERVE"):
            m.next = "PICK"
            with m.Switch(table.stage[sel]):
                with m.Case(Stage.READ):
                    m.next = "NOTE_READ"
                    # A pool frame left the sidecar cache when its last block was evicted.
                    with m.If(table.source[sel] == Source.BYPASS):
                        m.next = "FLUSH"
                with m.Case(Stage.ARRIVED):
                    m.next = "NOTE_ARRIVED"
                with m.Case(Stage.SERVE):
                    with m.Switch(table.source[sel]):
                        with m.Case(Source.FRAME):
                            with m.If(has_write):
                                answer(1)
                            with m.Elif(has_read):
                                answer(0)
                            with m.Else():
                                m.d.sync += rwd.eq(0)
                                m.next = "SEARCH"
                        with m.Case(Source.BYPASS):
                            with m.If(has_write):
                                table.want(m)
                            with m.Elif(has_read):
                                answer(0)
                            with m.Else():
                                m.next = "CLOSE"
                        with m.Case(Source.NOTHING):
                            with m.If(has_write):
                                answer(1)
                            with m.Elif(has_read):
                                answer(0)
                            with m.Else():
                                m.next = "CLOSE"

        requests.fetch_state(m, "FETCH_ANSWER", "ANSWER")
        # A read that may be served past the pool needs a miss of its own, which may remember a bypass slot.
        returns = (table.source[sel] == Source.NOTHING) & ~rwd & ~requests.caches
        with m.State("ANSWER"):
            slot, request = outputs.slots.payload, requests.request
            m.d.comb += [
                slot.rwd.eq(rwd),
                slot.id.eq(requests.node),
                slot.tag.eq(request.tag),
                slot.line.eq(request.line),
                slot.access.eq(request.access),
                slot.host.eq(request.host),
                outputs.slots.valid.eq(~returns),
            ]
            with m.Switch(table.source[sel]):
                with m.Case(Source.FRAME):
                    m.d.comb += slot.kind.eq(Mux(rwd, SlotKind.REPLAY_WRITE, SlotKind.REPLAY_READ))
                with m.Case(Source.BYPASS):
                    m.d.comb += slot.kind.eq(SlotKind.BYPASS_READ)
                with m.Case(Source.NOTHING):
                    m.d.comb += [
                        slot.kind.eq(SlotKind.ANSWER),
                        slot.line.eq(0),
                        slot.frame.eq(0),
                        slot.access.eq(Access.PLAIN),
                        slot.host.eq(0),
                        slot.value.eq(~rwd & (request.access != Access.OWN)),
                        slot.outcome.eq(Outcome.UNWRITABLE),
                    ]
            with m.If(returns | outputs.slots.ready):
                m.next = "PICK"
                with m.If(returns):
                    has_next = requests.return_read(m)
                with m.Else():
                    m.d.comb += table.issued.eq(1 << sel)
                    has_next = requests.drop_of_miss(m)
                with m.If(has_next & ~requests.waiting):
                    m.next = "FETCH_ANSWER"
        with m.State("CLOSE"):
            ended = self._engine.ended
            outputs.offer_note(m, EngineKind.MISS_CLOSE)
            with m.If(outputs.notes.ready):
                m.d.comb += self._bypass.unbind.eq(table.bound[sel])
                m.d.sync += [
                    table.used.bit_select(sel, 1).eq(0),
                    ended.valid.eq(1),
                    ended.head.eq(table.place[0]),
                    # One that never got anything leaves all as it was.
                    self.freed.eq(table.stage[sel] != Stage.WANT),
                    # A prefetch that is given up closes in the hold of its decision: nobody can have joined it since.
                    self._engine.hold.request.eq(0),
                ]
                requests.retry(m)
                m.next = "PICK"

    def page_states(self, m):
        """The page of a miss: its command to flash, and what follows when it has arrived."""
        table, outputs = self._table, self._outputs
        sel = table.sel
        failed, frame = table.failed[sel], table.frame[sel]

        # What the sidecar cache still has of the bypass slot's last block of this mode is written back and forgotten.
        # The slot's rows of the other mode lie elsewhere, and leave when a block of that mode comes.
        outputs.sidecar_states(m, "FLUSH", SidecarKind.FLUSH, "NOTE_READ")
        with m.State("NOTE_READ"):
            outputs.offer_note(m, EngineKind.PAGE_READ, frame=frame, aux=sel)
            with m.If(outputs.notes.ready):
                m.next = "COMMAND"
        with m.State("COMMAND"):
            m.d.comb += outputs.page_commands.valid.eq(1)
            with m.If(outputs.page_commands.ready):
                m.d.sync += table.stage[sel].eq(Stage.READING)
                m.next = "PICK"

        with m.State("NOTE_ARRIVED"):
            outputs.offer_note(m, EngineKind.PAGE_READ_DONE, frame=frame, aux=Cat(failed, sel))
            with m.If(outputs.notes.ready):
                m.next = "ARRIVED"
                with m.If(failed):
                    m.next = "NOTE_FAILED"
        with m.State("NOTE_FAILED"):
            outputs.offer_note(m, EngineKind.ERROR, head=0, block=0, key=ErrorKind.PAGE_READ, aux=table.index[sel])
            with m.If(outputs.notes.ready):
                m.next = "POISON"
        outputs.sidecar_states(m, "POISON", SidecarKind.POISON, "ARRIVED")
        with m.State("ARRIVED"):
            with m.If(table.source[sel] == Source.FRAME):
                m.next = "FILL"
            with m.Else():
                m.d.sync += table.stage[sel].eq(Stage.SERVE)
                m.next = "PICK"
        with m.State("FILL"):
            outputs.offer_slot(m, SlotKind.FILL, frame=0)
            with m.If(outputs.slots.ready):
                m.d.comb += table.issued.eq(1 << sel)
                m.d.sync += table.stage[sel].eq(Stage.SERVE)
                m.next = "PICK"
