"""Obtaining a frame for a missed block, or a way past the pool."""

from amaranth.hdl import C, Cat, Mux, Signal

from kv_endpoint.golden.events.port import EngineKind, PrefetchDrop
from kv_endpoint.golden.pipeline.metadata import SlotKind
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.layouts import Domain, SidecarKind
from kv_endpoint.hw.frames.misses.prefetch import dropped_aux
from kv_endpoint.hw.frames.misses.table import Source, Stage

__all__ = ["MissDecision"]

#: clocks that a hold is counted up to, and the free ones for each of a hold that got a prefetch nothing, as a shift
_HELD_BITS = 12
_REST_SHIFT = 2
#: clocks of a free pipeline without an access, after which the host is not kept waiting by a hold; more than the
#: pipeline is deep, so that an access that was held back is seen
_QUIET_CLOCKS = 31


class MissDecision:
    """The states from HOLD on: the steps of "Obtaining a frame" in hw/README.md, in a held pipeline.

    For a prefetch that nobody waits for there are fewer ways: a frame above the reserve, if need be that of a victim
    whose key is not above its own, or it is given up. It never waits. A request that has missed before the hold and is
    not taken in yet may be for its block, and what has ended before the hold may help a miss of demand: then the
    decision is left for later.

    A hold stops hits too. So while the host reads and writes, there is no other prefetch for four times as long after a
    hold that got a prefetch nothing: those take at most a fifth of the pipeline's time.

    Parameters
    ----------
    engine : MissEngine
        For its ports to the allocator, the victim engine and `Migration`.
    table : MissTable
    requests : MissRequests
    bypass : BypassSlots
    outputs : MissOutputs

    Members
    -------
    woken
        Something may have changed for misses that could get nothing.
    resting
        A prefetch has cost the pipeline time for nothing, and the next one has to wait.
    """

    def __init__(self, config, *, engine, table, requests, bypass, outputs):
        self._config, self._engine, self._table = config, engine, table
        self._requests, self._bypass, self._outputs = requests, bypass, outputs
        self.woken = Signal()
        self._held, self._rest = Signal(_HELD_BITS), Signal(_HELD_BITS + _REST_SHIFT)
        self.resting = self._rest != 0
        #: since the hold began
        self._woken_since = Signal()

    def wake(self, m, seen, freed):
        """Misses that could get nothing are tried again once something has changed that may help them, such as `freed`
        of `MissService`.
        """
        engine = self._engine
        unwritable_before = Signal()
        m.d.sync += unwritable_before.eq(engine.unwritable)
        m.d.comb += self.woken.eq(
            seen.moved
            | seen.unpinned
            | engine.quotas_changed
            | engine.demotion_ended
            | engine.uncovered
            | freed
            | self._bypass.released
            | (engine.unwritable & ~unwritable_before)
        )
        with m.If(self.woken):
            m.d.sync += [self._table.blocked.eq(0), self._woken_since.eq(1)]

    def count_holds(self, m):
        """How long the pipeline is held, and how long a prefetch still has to wait for that."""
        request = self._engine.hold.request
        with m.If(~request):
            m.d.sync += self._held.eq(0)
        with m.Elif(~self._held.all()):
            m.d.sync += self._held.eq(self._held + 1)
        commit, quiet = self._engine.commit, Signal(range(_QUIET_CLOCKS + 1))
        with m.If(commit.valid & commit.slot.kind.matches(SlotKind.READ, SlotKind.WRITE)):
            m.d.sync += quiet.eq(0)
        with m.Elif(~request & (quiet != _QUIET_CLOCKS)):
            m.d.sync += quiet.eq(quiet + 1)
        with m.If(quiet == _QUIET_CLOCKS):
            m.d.sync += self._rest.eq(0)
        with m.Elif(self.resting & ~request):
            m.d.sync += self._rest.eq(self._rest - 1)

    def begin(self, m):
        """Ask for the pipeline; HOLD is the next state."""
        m.d.sync += self._engine.hold.request.eq(1)

    def states(self, m, seen):
        config, engine, table, outputs = self._config, self._engine, self._table, self._outputs
        sel, bypass, hold = table.sel, self._bypass, engine.hold
        head, block = table.place
        is_write = self._requests.has_writes.bit_select(sel, 1)
        may = Signal(layouts.availability(config))
        victim = Signal(layouts.victim_answer(config))
        domain = Signal(Domain)
        own_is_lower = Signal()
        ahead = table.ahead.bit_select(sel, 1)
        # A host may hold lines of blocks in a frame only.
        needs_frame = is_write | table.caching.bit_select(sel, 1)
        drop = Signal(3)
        with m.State("HOLD"):
            with m.If(hold.granted):
                m.d.sync += self._woken_since.eq(0)
                m.next = "QUERY"

        # 1: is a victim needed, and from where
        with m.State("QUERY"):
            m.d.comb += [engine.query.valid.eq(1), engine.query.payload.eq(head)]
            with m.If(engine.query.ready):
                m.next = "AVAILABLE"
        with m.State("AVAILABLE"):
            m.d.comb += engine.availability.ready.eq(1)
            m.d.sync += may.eq(engine.availability.payload)
            with m.If(engine.availability.valid):
                m.next = "JUDGE"
        with m.State("JUDGE"):
            m.d.sync += domain.eq(Mux(may.at_maximum, Domain.OWN, Domain.SHARED))
            m.next = "TAKE"
            with m.If(ahead & (~self._requests.settled | table.can_decide.any())):
                m.d.sync += hold.request.eq(0)
                m.next = "PICK"
            with m.Elif(ahead & ~may.for_read):
                m.d.sync += drop.eq(PrefetchDrop.NO_FRAME)
                m.next = "DROP"
            with m.Elif(may.at_maximum | may.pool_full):
                m.next = "ASK"

        # 2: the victim
        with m.State("ASK"):
            request = engine.victim_request.payload
            m.d.comb += [
                request.head.eq(head),
                request.block.eq(block),
                request.domain.eq(domain),
                request.waivable.eq(~ahead),
                engine.victim_request.valid.eq(1),
            ]
            with m.If(engine.victim_request.ready):
                m.next = "FIND"
        with m.State("FIND"):
            m.d.comb += engine.victim_answer.ready.eq(1)
            m.d.sync += victim.eq(engine.victim_answer.payload)
            with m.If(engine.victim_answer.valid):
                m.next = "COMPARE"
        with m.State("COMPARE"):
            m.d.sync += own_is_lower.eq(victim.own_key.as_signed() < victim.key.as_signed())
            m.next = "CHOOSE"
        with m.State("CHOOSE"):
            m.next = "GIVE_UP"
            with m.If(ahead):
                m.next = "DROP"
                m.d.sync += drop.eq(PrefetchDrop.NO_FRAME)
                with m.If(victim.found & ~victim.waived & ~engine.unwritable & engine.demotion_free):
                    m.d.sync += drop.eq(PrefetchDrop.NOT_WORTH)
                    with m.If(~victim.own_zero & ~own_is_lower):
                        m.next = "VICTIM"
            with m.Elif(victim.found & ~engine.unwritable & (needs_frame | ~engine.policy.bypass | ~own_is_lower)):
                with m.If(engine.demotion_free):
                    m.next = "VICTIM"
            with m.Elif(~needs_frame):
                with m.If((victim.found | engine.unwritable) & bypass.available):
                    m.d.sync += [
                        table.bypass_slot[sel].eq(bypass.candidate),
                        table.frame[sel].eq(config.bypass_base + bypass.candidate),
                    ]
                    m.next = "BYPASS"
            with m.Elif(is_write & ~victim.found & may.for_write):
                m.next = "TAKE"
            with m.Elif(engine.unwritable):
                m.next = "NOTHING"
            with m.Elif(is_write & ~engine.demoting & (domain != Domain.ANY)):
                # A demotion in progress will free a frame; without one, no block is safe from a write.
                m.d.sync += domain.eq(Domain.ANY)
                m.next = "ASK"

        # 3: past the pool
        with m.State("BYPASS"):
            outputs.offer_note(m, EngineKind.BYPASS, frame=table.frame[sel], key=victim.own_key)
            with m.If(outputs.notes.ready):
                m.d.comb += bypass.allocate.eq(1)
                m.d.sync += [
                    table.bound[sel].eq(1),
                    table.decided[sel].eq(1),
                    table.source[sel].eq(Source.BYPASS),
                    table.stage[sel].eq(Stage.READ),
                    hold.request.eq(0),
                ]
                m.next = "PICK"

        # 4: the victim leaves
        with m.State("VICTIM"):
            outputs.offer_note(
                m,
                EngineKind.VICTIM,
                head=victim.head,
                block=victim.block,
                frame=victim.frame,
                key=victim.key,
                aux=Cat(is_write, victim.waived, C(0, 6), head),
            )
            with m.If(outputs.notes.ready):
                m.next = "DEMOTE"
        with m.State("DEMOTE"):
            outputs.offer_slot(m, SlotKind.DEMOTE, head=victim.head, block=victim.block, frame=0)
            with m.If(outputs.slots.ready):
                m.next = "DEMOTING"
        with m.State("DEMOTING"):
            with m.If(seen.demoted):
                m.next = "QUERY"

        # 5: the frame. A pool that is not full has a free frame for a read unless demotions hold the spare frames, so
        # there is always something to wait for.
        with m.State("TAKE"):
            m.next = "GIVE_UP"
            with m.If(Mux(is_write, may.for_write, may.for_read)):
                m.d.sync += table.frame[sel].eq(may.frame)
                m.next = "PLACE"
                with m.If(table.absent[sel]):
                    m.next = "CLEAR"
        outputs.sidecar_states(m, "CLEAR", SidecarKind.CLEAR, "PLACE")
        with m.State("PLACE"):
            outputs.offer_slot(m, Mux(table.absent[sel], SlotKind.ALLOCATE, SlotKind.PROMOTE), value=ahead)
            with m.If(outputs.slots.ready):
                m.d.sync += hold.request.eq(0)
                m.next = "PLACING"
        with m.State("PLACING"):
            with m.If(seen.placed):
                m.d.sync += [
                    table.source[sel].eq(Source.FRAME),
                    table.stage[sel].eq(Mux(table.absent[sel], Stage.SERVE, Stage.READ)),
                ]
                m.next = "PICK"

        # Without one
        with m.State("DROP"):
            outputs.offer_note(m, EngineKind.PREFETCH_DROPPED, aux=dropped_aux(table.origin[sel], drop))
            with m.If(outputs.notes.ready):
                m.d.sync += self._rest.eq(self._held << _REST_SHIFT)
                m.next = "CLOSE"
        with m.State("NOTHING"):
            m.d.sync += [
                table.source[sel].eq(Source.NOTHING),
                table.stage[sel].eq(Stage.SERVE),
                hold.request.eq(0),
            ]
            m.next = "PICK"
        with m.State("GIVE_UP"):
            m.d.sync += [
                table.blocked.bit_select(sel, 1).eq(~(self._woken_since | self.woken)),
                hold.request.eq(0),
            ]
            m.next = "PICK"
