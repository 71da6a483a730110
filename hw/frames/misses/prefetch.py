"""Beginning a prefetch: a miss is opened for a block that nobody waits for."""

from amaranth.hdl import C, Cat, Const, Signal

from kv_endpoint.golden.events.port import EngineKind, PrefetchDrop
from kv_endpoint.golden.pipeline.metadata import SlotKind
from kv_endpoint.hw.frames.misses.table import Source

__all__ = ["MissPrefetch", "dropped_aux"]

#: what MISS_OPEN says of a miss that no request has opened
_BY_PREFETCH = 2
#: miss slots of reads that must be free: its own, and one for the next read
_FREE_SLOTS = 2


def dropped_aux(source, drop):
    """`aux` of PREFETCH_DROPPED."""
    return Cat(source, C(0, 8 - len(source)), drop)


class MissPrefetch:
    """The states from LOCK on: the prefetch whose turn it is leaves its queue.

    The slot PREFETCH tells whether the block is still cold; if not, the miss closes. About 15 clocks, in which nothing
    else is served, so it is begun only when nothing else is there to be done.

    Parameters
    ----------
    engine : MissEngine
        For its ports to the prefetch unit and `Migration`.
    table : MissTable
    requests : MissRequests
    outputs : MissOutputs

    Members
    -------
    may_begin
        A prefetch waits, and there is room for it.
    """

    def __init__(self, m, config, *, engine, table, requests, outputs):
        self._engine, self._table, self._requests, self._outputs = engine, table, requests, outputs
        # Counting takes a clock. The service is never back within one of a change that leaves less room.
        slots_for_reads = config.miss_slots - config.miss_slots_for_writes
        has_slot, has_depth = Signal(), Signal()
        m.d.sync += [
            has_slot.eq(
                (_ones(table.used & table.by_prefetch) < config.prefetch_slots)
                & (_ones(~table.used[:slots_for_reads]) >= _FREE_SLOTS)
            ),
            has_depth.eq(_ones(table.used) + engine.demotions < engine.policy.prefetch_depth),
        ]
        self.may_begin = engine.prefetch_first.valid & has_slot & has_depth & requests.backlog_empty

    def states(self, m, seen):
        engine, table, outputs = self._engine, self._table, self._outputs
        sel, request = table.sel, engine.prefetch_first.request
        index = Cat(request.block, request.head)
        lock = engine.prefetch_lock
        is_missed = Signal()

        with m.State("LOCK"):
            free = self._requests.free
            m.d.comb += lock.request.eq(1)
            m.d.sync += [is_missed.eq(table.matches(index).any()), sel.eq(free)]
            with m.If(lock.granted):
                m.d.sync += table.index[free].eq(index)
                m.next = "LOCKED"
        with m.State("LOCKED"):
            m.d.comb += lock.request.eq(1)
            m.next = "OPEN_PREFETCH"
            with m.If(is_missed):
                m.next = "MISSED"
        with m.State("MISSED"):
            m.d.comb += lock.request.eq(1)
            outputs.offer_note(
                m, EngineKind.PREFETCH_DROPPED, aux=dropped_aux(request.source, Const(PrefetchDrop.MISSED, 3))
            )
            with m.If(outputs.notes.ready):
                m.d.comb += engine.prefetch_take.eq(1)
                m.next = "PICK"
        with m.State("OPEN_PREFETCH"):
            m.d.comb += lock.request.eq(1)
            outputs.offer_note(m, EngineKind.MISS_OPEN, aux=_BY_PREFETCH)
            with m.If(outputs.notes.ready):
                m.d.comb += engine.prefetch_take.eq(1)
                table.open(m, sel, by_prefetch=1)
                m.d.sync += [
                    table.origin[sel].eq(request.source),
                    table.absent[sel].eq(0),
                    table.mode[sel].eq(request.mode),
                    table.bound[sel].eq(0),
                    table.source[sel].eq(Source.FRAME),
                ]
                table.want(m)
                m.next = "PREFETCH"
        with m.State("PREFETCH"):
            outputs.offer_slot(m, SlotKind.PREFETCH, frame=0)
            with m.If(outputs.slots.ready):
                m.next = "CHECK"
        with m.State("CHECK"):
            with m.If(seen.checked):
                m.next = "PICK"
                with m.If(~seen.done):
                    m.next = "CLOSE"


def _ones(bits):
    """How many bits are set."""
    return sum(bits[1:], bits[0])
