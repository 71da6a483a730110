"""Bypass slots: frames beside the pool, through which blocks are read that are worth less than any in it."""

from dataclasses import dataclass

__all__ = ["BypassSlot", "BypassSlots"]


@dataclass(slots=True)
class BypassSlot:
    """A frame beside the pool. `where`: the (head, block) in it, if any; `step`: when that was decided."""

    frame: int
    where: tuple | None = None
    step: int = 0
    #: a miss is being served from it
    busy: bool = False
    #: the page has arrived
    loaded: bool = False


class BypassSlots:
    """The bypass slots, oldest decision first."""

    def __init__(self, config):
        self._slots = [BypassSlot(config.bypass_base + number) for number in range(config.bypass_slots)]

    def oldest_idle(self):
        """The slot that is reused next, or None."""
        return next((slot for slot in self._slots if not slot.busy), None)

    def idle(self, frame):
        """The idle slot of `frame`, or None."""
        return next((slot for slot in self._slots if slot.frame == frame and not slot.busy), None)

    def holding(self, where):
        """The slot in which (head, block) is, or None."""
        return next((slot for slot in self._slots if slot.where == where), None)

    def reuse(self, slot, where, step):
        """Give `slot` to (head, block), as decided in `step`."""
        slot.where, slot.step, slot.busy, slot.loaded = where, step, True, False
        self._slots.remove(slot)
        self._slots.append(slot)

    def forget(self, where):
        """The block gets a frame: what a slot holds of it will be out of date."""
        slot = self.holding(where)
        if slot is not None:
            slot.where = None
