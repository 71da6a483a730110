"""Held requests: Req that wait for the snoop filter, each until it comes again."""

from dataclasses import dataclass, replace

from kv_endpoint.golden.common.line_access import Retry
from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.pipeline.metadata import Outcome, Slot, SlotKind

__all__ = ["Held", "HeldRequests"]

#: what two slots of one request have in common
_FIELDS = ("kind", "host", "tag", "head", "block", "line", "access")


@dataclass
class Held:
    """`slot`: the one with which the request comes again; `waits_for`: the BITag of the snoop that has to end before,
    None: any; `ready`: it has ended, or there was nothing to wait for.
    """

    slot: Slot
    waits_for: int | None
    ready: bool


class HeldRequests:
    """The requests that are held, oldest first."""

    def __init__(self):
        self._waiting = []

    def __len__(self):
        return len(self._waiting)

    def hold(self, slot, outcome, waits_for):
        """A slot has committed with an outcome HELD_*; `waits_for`: a BITag, or None if the verdict names no snoop."""
        kind = SlotKind.READ if slot.kind == SlotKind.REPLAY_READ else slot.kind
        retry = Retry.SNOOPED if outcome == Outcome.HELD_LINE else Retry.WAITED
        ready = waits_for is None and outcome != Outcome.HELD_TABLE
        self._waiting.append(Held(replace(slot, kind=kind, rwd=False, value=0, frame=0, retry=retry), waits_for, ready))

    def freed(self, tag):
        """A snoop has ended."""
        for held in self._waiting:
            held.ready |= held.waits_for in (tag, None)

    @property
    def ready(self):
        """The slots of the requests that may come again now, oldest first."""
        return [held.slot for held in self._waiting if held.ready]

    def returns(self, slot):
        """A slot with `retry` commits: the oldest request that is like it waits no longer."""
        found = self._waiting
        for name in ("tag", *_FIELDS, "retry"):
            same = [held for held in found if getattr(held.slot, name) == getattr(slot, name)]
            if not same:
                held = getattr(found[0].slot, name) if found else "no held request"
                raise Mismatch(name, held, getattr(slot, name))
            found = same
        held = next((held for held in found if held.ready), None)
        if held is None:
            raise Mismatch("retry", f"the end of the snoop that it waits for, {found[0].waits_for}", slot.retry.name)
        self._waiting.remove(held)

    def owed(self):
        """(head, block, what) of everything that has to come yet."""
        for held in self._waiting:
            yield held.slot.head, held.slot.block, f"{held.slot.kind.name} of tag {held.slot.tag} again"
