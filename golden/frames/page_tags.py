"""Tags of page commands to flash: which are in use, and which are of reads and of writes."""

from kv_endpoint.golden.common.mismatch import Mismatch

__all__ = ["PageTags"]


class PageTags:
    """Reads have the tags from 0 on, one a miss slot; writes those from `first_write` on, one a demotion slot."""

    def __init__(self, config):
        slot_bits = (max(config.miss_slots, config.demotion_slots) - 1).bit_length()
        self.first_write = 1 << slot_bits
        self._in_use = set()

    def take(self, tag, *, write):
        """A page command begins. Returns its tag."""
        if tag in self._in_use:
            raise Mismatch("aux", "a tag that is not in use", tag)
        if tag // self.first_write != write:
            raise Mismatch("aux", "the tag of a page write" if write else "the tag of a page read", tag)
        self._in_use.add(tag)
        return tag

    def free(self, tag):
        """It has ended."""
        self._in_use.discard(tag)
