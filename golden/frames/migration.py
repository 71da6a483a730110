"""Demotions in progress: from DEMOTE until the block has left its frame or stays."""

from dataclasses import dataclass

from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.pipeline.metadata import SlotKind, State

__all__ = ["Demotion", "Migration"]


@dataclass(slots=True)
class Demotion:
    """A block leaving `frame`. `page_tag`: of the page write in progress; `written`: how it ended, None before that."""

    frame: int
    page_tag: int | None = None
    written: bool | None = None


class Migration:
    """Demotions in progress by (head, block), and whether flash can still be written.

    A demotion occupies its slot from DEMOTE to EVICT or RESTORE, also when an access has meanwhile made the block warm
    again: then EVICT or RESTORE is ignored by the entry.
    """

    def __init__(self, config):
        self._config = config
        self.demotions = {}
        self._failures = 0

    @property
    def unwritable(self):
        """So many page writes failed in a row that flash counts as unwritable."""
        return self._failures >= self._config.flash_failure_limit

    def may_demote(self):
        """Whether a demotion slot is free."""
        return len(self.demotions) < self._config.demotion_slots

    def of(self, where):
        if where not in self.demotions:
            raise Mismatch("block", "a block whose demotion is in progress", where[1])
        return self.demotions[where]

    def page_write(self, where, entry, frame, tag):
        """PAGE_WRITE: once, and only if flash does not hold the block's data."""
        demotion = self.of(where)
        if not entry.dirty:
            raise Mismatch("kind", "no page write of a clean block", "PAGE_WRITE")
        if demotion.page_tag is not None or demotion.written is not None:
            raise Mismatch("kind", "one page write a demotion", "PAGE_WRITE")
        if frame != demotion.frame:
            raise Mismatch("frame", demotion.frame, frame)
        demotion.page_tag = tag

    def page_written(self, where, frame, tag, failed):
        """PAGE_WRITE_DONE."""
        demotion = self.of(where)
        if frame != demotion.frame:
            raise Mismatch("frame", demotion.frame, frame)
        if tag != demotion.page_tag:
            raise Mismatch("aux", f"tag {demotion.page_tag}", f"tag {tag}")
        demotion.page_tag, demotion.written = None, not failed
        if not self.unwritable:
            self._failures = self._failures + 1 if failed else 0

    def ends(self, kind, where, before):
        """Whether EVICT or RESTORE may commit now; `before` is the entry."""
        demotion = self.of(where)
        if demotion.page_tag is not None:
            raise Mismatch("kind", "PAGE_WRITE_DONE before the demotion ends", kind.name)
        if before.state != State.DEMOTING:
            return
        if kind == SlotKind.RESTORE and demotion.written is not False:
            raise Mismatch("kind", SlotKind.EVICT.name, kind.name)
        if kind == SlotKind.EVICT and before.dirty and demotion.written is not True:
            raise Mismatch("kind", "a page write of the dirty block before its frame is freed", kind.name)

    def owed(self):
        """(head, block, what) of everything that has to come yet."""
        for where in self.demotions:
            yield *where, "EVICT or RESTORE"
