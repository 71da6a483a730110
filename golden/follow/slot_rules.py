"""What each slot needs: the notes and slots that must have come before it."""

from kv_endpoint.golden.coherency.state import HELD
from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.events.port import EngineKind
from kv_endpoint.golden.frames.allocator import Action
from kv_endpoint.golden.frames.migration import Demotion
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind

__all__ = ["SlotRules"]

#: accesses of the host's slots of a cached region
_ACCESSES = {
    SlotKind.READ: frozenset(access for access in Access if Access.READ_CURRENT <= access <= Access.OWN),
    SlotKind.WRITE: frozenset(access for access in Access if access.is_write),
    SlotKind.RELEASE: frozenset((Access.FLUSH, Access.FORGET)),
}
_HINT_ANSWERS = {Outcome.HINT_DONE, Outcome.HINT_STALE, Outcome.HINT_MALFORMED, Outcome.HINT_EXHAUSTED}


#: what a replay that finds the block in a frame comes to; one that is held comes again as a READ
_REPLAYED = HELD | {Outcome.HIT, Outcome.NOT_OWNER}


class SlotRules:
    """Refuses slots that may not come now, and settles what those that may were owed.

    Parameters
    ----------
    endpoint : golden.follow.follower.Follower
        The state that the rules are about. Entries and counters are changed by `Follower` itself, after the rule.
    """

    def __init__(self, endpoint):
        self._endpoint = endpoint
        self._rules = {
            SlotKind.READ: self._demand,
            SlotKind.WRITE: self._demand,
            SlotKind.RELEASE: self._demand,
            SlotKind.HINT: self._hint,
            SlotKind.ANSWER: self._answer,
            SlotKind.REPLAY_READ: self._replay,
            SlotKind.REPLAY_WRITE: self._replay,
            SlotKind.BYPASS_READ: self._bypass_read,
            SlotKind.PROMOTE: self._admit,
            SlotKind.ALLOCATE: self._admit,
            SlotKind.FILL: self._fill,
            SlotKind.DEMOTE: self._demote,
            SlotKind.EVICT: self._demotion_ends,
            SlotKind.RESTORE: self._demotion_ends,
            SlotKind.PIN: self._pin,
            SlotKind.PREFETCH: self._prefetch,
        }

    def follow(self, slot, where, before, result):
        """The slot of block `where` (head, block) commits: `before` is the entry before it, `result` its `Commit`."""
        kind, leaving = slot.kind, self._endpoint.leaving
        if leaving is not None and (kind != SlotKind.DEMOTE or leaving != where):
            raise Mismatch("kind", f"DEMOTE of head {leaving[0]}, block {leaving[1]}", kind.name)
        rule = self._rules.get(kind)
        if rule is not None:
            rule(slot, where, before, result)

    # The host's slots -------------------------------------------------------------------------------------------------

    def _demand(self, slot, where, before, result):
        """READ, WRITE, RELEASE: whether the region lets this host ask for that."""
        endpoint = self._endpoint
        if endpoint.config.hosts > 1:
            region = endpoint.region_of(slot.head)
            if region is not None and not region.hosts >> slot.host & 1:
                raise Mismatch("host", "a host that the region belongs to", slot.host)
            if region is not None and region.shared and slot.access == Access.WRITE_THROUGH:
                raise Mismatch("kind", "ANSWER SHARED_WRITE", slot.kind.name)
        if not endpoint.registers.cached[slot.head]:
            if slot.access:
                raise Mismatch("access", Access.PLAIN.name, slot.access.name)
        elif slot.access not in _ACCESSES[slot.kind]:
            raise Mismatch("access", f"one that fits {slot.kind.name} of a cached region", slot.access.name)

    def _hint(self, slot, where, before, result):
        self._endpoint.hint_line.block(slot)

    def _answer(self, slot, where, before, result):
        outcome = slot.outcome
        if outcome == Outcome.UNWRITABLE:
            self._unwritable(slot, where)
        elif outcome in _HINT_ANSWERS:
            self._endpoint.hint_line.answer(slot)
        else:
            for name in ("head", "block"):
                if getattr(slot, name):
                    raise Mismatch(name, 0, getattr(slot, name))
            reads = not slot.rwd and outcome in (Outcome.NXM, Outcome.WINDOW)
            if slot.value > (1 if reads else 0):
                raise Mismatch("value", "0 or 1" if reads else 0, slot.value)

    def _unwritable(self, slot, where):
        endpoint = self._endpoint
        if not endpoint.migration.unwritable:
            raise Mismatch("outcome", "no UNWRITABLE before flash is", slot.outcome.name)
        endpoint.misses.of(where)
        if slot.rwd:
            if slot.value:
                raise Mismatch("value", 0, slot.value)
            endpoint.misses.served(where, SlotKind.WRITE, tag=slot.tag)
        else:
            if slot.value > 1:
                raise Mismatch("value", "0 or 1", slot.value)
            endpoint.misses.served(where, SlotKind.READ, tag=slot.tag, caches=True, wants_data=bool(slot.value))

    def _pin(self, slot, where, before, result):
        refusal = self._endpoint.allocator.pin_refusal(slot.head, slot.block)
        if refusal is not None:
            raise Mismatch("kind", f"REFUSAL {refusal.name}", slot.kind.name)

    # Slots of a miss --------------------------------------------------------------------------------------------------

    def _replay(self, slot, where, before, result):
        misses = self._endpoint.misses
        miss = misses.of(where)
        if result.outcome not in _REPLAYED:
            raise Mismatch("outcome", "a replay only when the block has a frame", result.outcome.name)
        if miss.page_tag is not None:
            raise Mismatch("kind", EngineKind.PAGE_READ_DONE.name, slot.kind.name)
        request = SlotKind.WRITE if slot.kind == SlotKind.REPLAY_WRITE else SlotKind.READ
        misses.served(where, request, tag=slot.tag, line=slot.line, access=slot.access, host=slot.host)

    def _bypass_read(self, slot, where, before, result):
        endpoint = self._endpoint
        miss = endpoint.misses.of(where)
        held = endpoint.bypass_slots.holding(where)
        if held is None or not held.loaded:
            raise Mismatch("kind", "the page in a bypass slot first", slot.kind.name)
        if slot.frame != held.frame:
            raise Mismatch("frame", held.frame, slot.frame)
        if not (miss.decided and miss.bypass is held):
            if miss.prefetch is not None:
                raise Mismatch("kind", EngineKind.BYPASS.name, slot.kind.name)
            requests = endpoint.misses.waiting.get(where, ())
            if not any(
                request.tag == slot.tag and not request.touch and held.step in (request.step, endpoint.now)
                for request in requests
            ):
                raise Mismatch("kind", EngineKind.BYPASS.name, slot.kind.name)
            miss.bypass = held
            held.busy = True
        if slot.access.caches:
            raise Mismatch("kind", SlotKind.REPLAY_READ.name, slot.kind.name)
        endpoint.misses.served(where, SlotKind.READ, tag=slot.tag, line=slot.line, access=slot.access, host=slot.host)

    def _admit(self, slot, where, before, result):
        """PROMOTE, ALLOCATE."""
        endpoint = self._endpoint
        for_nobody = endpoint.wants_prefetch(where)
        if slot.value != for_nobody:
            raise Mismatch("value", int(for_nobody), slot.value)
        miss = endpoint.misses.of(where)
        if result.outcome != Outcome.DONE or miss.page_tag is not None:
            raise Mismatch("kind", f"no frame for a block that is {before.state.name}", slot.kind.name)
        decisions = endpoint.decisions(where)
        if for_nobody:
            decisions.append(endpoint.decide_prefetch(where))
        if not any(decision.action == Action.FRAME for decision in decisions):
            raise Mismatch("kind", " or ".join(d.action.name for d in decisions) or "no frame", slot.kind.name)
        miss.frame = slot.frame
        miss.page_read = slot.kind == SlotKind.ALLOCATE
        endpoint.bypass_slots.forget(where)

    def _fill(self, slot, where, before, result):
        miss = self._endpoint.misses.of(where)
        if not miss.page_read:
            raise Mismatch("kind", EngineKind.PAGE_READ_DONE.name, slot.kind.name)
        miss.filled = True

    def _prefetch(self, slot, where, before, result):
        self._endpoint.misses.checked(where, cold=result.outcome == Outcome.DONE)

    # Slots of a demotion ----------------------------------------------------------------------------------------------

    def _demote(self, slot, where, before, result):
        endpoint = self._endpoint
        if endpoint.leaving is None:
            raise Mismatch("kind", EngineKind.VICTIM.name, slot.kind.name)
        if where in endpoint.coherent.covered:
            raise Mismatch("block", "one that no host may hold lines of, nor is kept for a held read", slot.block)
        endpoint.leaving = None
        endpoint.migration.demotions[where] = Demotion(before.frame)

    def _demotion_ends(self, slot, where, before, result):
        migration = self._endpoint.migration
        migration.ends(slot.kind, where, before)
        del migration.demotions[where]
