"""What the notes about prefetches must be: which wait, which come to nothing, and why."""

from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.events.port import EngineKind, PrefetchDrop, PrefetchSource
from kv_endpoint.golden.frames.allocator import Action

__all__ = ["PrefetchNotes"]

_SOURCES = {int(source): source for source in PrefetchSource}
_DROPS = {int(drop): drop for drop in PrefetchDrop}


class PrefetchNotes:
    """Follows PREFETCH_QUEUED and PREFETCH_DROPPED; `rules` has the method of each kind.

    Parameters
    ----------
    endpoint : golden.follow.follower.Follower
        The state that the notes change, and whose decisions they must tell.
    """

    def __init__(self, endpoint):
        self._endpoint = endpoint
        self.rules = {
            EngineKind.PREFETCH_QUEUED: self._queued,
            EngineKind.PREFETCH_DROPPED: self._dropped,
        }

    def _queued(self, record):
        if record["aux"] not in _SOURCES:
            raise Mismatch("aux", "a PrefetchSource", record["aux"])
        self._endpoint.prefetcher.queued((record["head"], record["block"]), _SOURCES[record["aux"]])

    def _dropped(self, record):
        where, (source, drop) = (record["head"], record["block"]), (record["aux"] & 0xFF, record["aux"] >> 8)
        if source not in _SOURCES or drop not in _DROPS:
            raise Mismatch("aux", "a PrefetchSource and a PrefetchDrop", record["aux"])
        source, drop = _SOURCES[source], _DROPS[drop]
        if drop == PrefetchDrop.MISSED:
            self._missed(where, source)
        elif drop in (PrefetchDrop.NOT_WORTH, PrefetchDrop.NO_FRAME):
            self._given_up(where, source, drop)
        else:
            self._endpoint.prefetcher.dropped(where, source, drop)

    def _missed(self, where, source):
        """Its turn has come, and it is under way already."""
        endpoint = self._endpoint
        if where not in endpoint.misses.open:
            raise Mismatch("kind", EngineKind.MISS_OPEN.name, f"PREFETCH_DROPPED {PrefetchDrop.MISSED.name}")
        first = endpoint.prefetcher.first()
        endpoint.prefetcher.take(where)
        if source != first[1]:
            raise Mismatch("aux", first[1].name, source.name)

    def _given_up(self, where, source, drop):
        """Its miss is open, nobody waits for it, and it gets no frame."""
        endpoint = self._endpoint
        miss = endpoint.misses.of(where)
        if not endpoint.wants_prefetch(where):
            raise Mismatch("kind", "a prefetch that nobody waits for and that has no frame", drop.name)
        if source != miss.prefetch:
            raise Mismatch("aux", miss.prefetch.name, source.name)
        decision = endpoint.decide_prefetch(where)
        if decision.action != Action.DROP:
            raise Mismatch("kind", decision.action.name, f"{EngineKind.PREFETCH_DROPPED.name} {drop.name}")
        if decision.drop != drop:
            raise Mismatch("aux", decision.drop.name, drop.name)
        miss.given_up = True
