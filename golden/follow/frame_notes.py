"""What the notes about frames must be: misses, who leaves, what is read past the pool, pages to and from flash."""

from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.events.port import EngineKind, ErrorKind
from kv_endpoint.golden.frames.allocator import Action
from kv_endpoint.golden.pipeline.metadata import SlotKind

__all__ = ["FrameNotes"]

#: what MISS_OPEN says of a miss that no request has opened
_BY_PREFETCH = 2


class FrameNotes:
    """Follows the notes of misses and demotions; `rules` has the method of each kind.

    Parameters
    ----------
    endpoint : golden.follow.follower.Follower
        The state that the notes change, and whose decisions they must tell.
    """

    def __init__(self, endpoint):
        self._endpoint = endpoint
        self.rules = {
            EngineKind.MISS_OPEN: self._miss_open,
            EngineKind.MISS_CLOSE: self._miss_close,
            EngineKind.VICTIM: self._victim,
            EngineKind.BYPASS: self._bypass,
            EngineKind.PAGE_READ: self._page_read,
            EngineKind.PAGE_WRITE: self._page_write,
            EngineKind.PAGE_READ_DONE: self._page_read_done,
            EngineKind.PAGE_WRITE_DONE: self._page_write_done,
        }

    def _miss_open(self, record):
        where, by = (record["head"], record["block"]), record["aux"]
        if by == _BY_PREFETCH:
            self._prefetch_open(where)
        elif by > _BY_PREFETCH:
            raise Mismatch("aux", "0, 1 or 2", by)
        else:
            self._endpoint.misses.opened(where, bool(by))

    def _prefetch_open(self, where):
        endpoint = self._endpoint
        first = endpoint.prefetcher.first()
        endpoint.prefetcher.take(where)
        if len(endpoint.misses.open) + len(endpoint.migration.demotions) >= endpoint.prefetch_depth:
            limit = f"fewer than {endpoint.prefetch_depth} misses and demotions"
            raise Mismatch("kind", f"{limit} before a prefetch begins", "MISS_OPEN")
        endpoint.misses.opened_by_prefetch(where, first[1])
        endpoint.prefetch_opened()

    def _miss_close(self, record):
        self._endpoint.misses.closed((record["head"], record["block"]))

    def _victim(self, record):
        endpoint = self._endpoint
        requester, write = record["aux"] >> 8, bool(record["aux"] & 1)
        if endpoint.leaving is not None:
            raise Mismatch("kind", SlotKind.DEMOTE.name, EngineKind.VICTIM.name)
        if not endpoint.migration.may_demote():
            raise Mismatch("kind", f"at most {endpoint.config.demotion_slots} demotions", EngineKind.VICTIM.name)
        decisions = [
            decision
            for where in endpoint.misses.open
            if where[0] == requester
            for decision in endpoint.decisions(where, write=write)
        ]
        if not write:
            decisions += [
                endpoint.decide_prefetch(where)
                for where in endpoint.misses.open
                if where[0] == requester and endpoint.wants_prefetch(where)
            ]
        if not decisions:
            raise Mismatch("aux", "head and kind of a miss that needs a frame", record["aux"])
        decision = next((decision for decision in decisions if decision.action == Action.VICTIM), None)
        if decision is None:
            raise Mismatch("kind", decisions[0].action.name, EngineKind.VICTIM.name)
        victim = decision.victim
        for name, expected in (
            ("head", victim.head),
            ("block", victim.block),
            ("key", victim.key),
            ("frame", victim.frame),
            ("aux", requester << 8 | victim.waived << 1 | write),
        ):
            if record[name] != expected:
                raise Mismatch(name, expected, record[name])
        endpoint.leaving = victim.head, victim.block
        endpoint.victims += 1
        endpoint.waived += victim.waived

    def _bypass(self, record):
        endpoint = self._endpoint
        where = record["head"], record["block"]
        miss = endpoint.misses.of(where)
        if miss.page_tag is not None or not endpoint.wants_frame(where, write=False):
            raise Mismatch("kind", "no decision: it is made", EngineKind.BYPASS.name)
        decision = endpoint.decide(where, write=False)
        if decision.action != Action.BYPASS:
            raise Mismatch("kind", decision.action.name, EngineKind.BYPASS.name)
        own_key = endpoint.key_of(endpoint.entry(*where))
        if record["key"] != own_key:
            raise Mismatch("key", own_key, record["key"])
        slot = endpoint.bypass_slots.idle(record["frame"])
        if slot is None:
            raise Mismatch("frame", "the frame of an idle bypass slot", record["frame"])
        endpoint.bypass_slots.forget(where)
        endpoint.bypass_slots.reuse(slot, where, endpoint.now)
        miss.bypass, miss.decided = slot, True
        endpoint.bypasses += 1

    def _page_read(self, record):
        endpoint = self._endpoint
        where = record["head"], record["block"]
        miss = endpoint.misses.of(where)
        if miss.page_tag is not None:
            raise Mismatch("kind", EngineKind.PAGE_READ_DONE.name, EngineKind.PAGE_READ.name)
        if miss.frame is not None and not miss.page_read:
            frame = miss.frame
        elif miss.bypass is not None and not miss.bypass.loaded:
            frame = miss.bypass.frame
        else:
            raise Mismatch("kind", "PROMOTE or BYPASS before the page is read", EngineKind.PAGE_READ.name)
        if record["frame"] != frame:
            raise Mismatch("frame", frame, record["frame"])
        miss.page_tag = endpoint.page_tags.take(record["aux"], write=False)

    def _page_read_done(self, record):
        endpoint = self._endpoint
        miss = endpoint.misses.of((record["head"], record["block"]))
        promoting = miss.frame is not None and not miss.page_read
        frame = miss.frame if promoting else miss.bypass and miss.bypass.frame
        if miss.page_tag is None:
            raise Mismatch("kind", EngineKind.PAGE_READ.name, EngineKind.PAGE_READ_DONE.name)
        if record["frame"] != frame:
            raise Mismatch("frame", frame, record["frame"])
        if record["aux"] >> 1 != miss.page_tag:
            raise Mismatch("aux", f"tag {miss.page_tag}", f"tag {record['aux'] >> 1}")
        endpoint.page_tags.free(miss.page_tag)
        miss.page_tag = None
        if promoting:
            miss.page_read = True
        else:
            miss.bypass.loaded = True
        if record["aux"] & 1:
            endpoint.errors_owed[ErrorKind.PAGE_READ] += 1

    def _page_write(self, record):
        endpoint = self._endpoint
        where = record["head"], record["block"]
        tag = endpoint.page_tags.take(record["aux"], write=True)
        endpoint.migration.page_write(where, endpoint.entry(*where), record["frame"], tag)

    def _page_write_done(self, record):
        endpoint = self._endpoint
        where = record["head"], record["block"]
        tag, failed, unwritable = record["aux"] >> 1, bool(record["aux"] & 1), endpoint.migration.unwritable
        endpoint.migration.page_written(where, record["frame"], tag, failed)
        endpoint.page_tags.free(tag)
        if failed:
            endpoint.errors_owed[ErrorKind.PAGE_WRITE] += 1
        if endpoint.migration.unwritable and not unwritable:
            endpoint.errors_owed[ErrorKind.FLASH_UNWRITABLE] += 1
