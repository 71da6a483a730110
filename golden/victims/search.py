"""Which block leaves: eligibility, and the lowest key among all eligible blocks, by brute force."""

from dataclasses import dataclass
from enum import IntEnum

from kv_endpoint.golden.common.policy import Priority
from kv_endpoint.golden.pipeline.metadata import State
from kv_endpoint.golden.pipeline.score import key

__all__ = ["Domain", "Victim", "VictimSearch"]


class Domain(IntEnum):
    """Among which heads a victim is sought (`golden.frames.allocator.Allocator.heads_of`)."""

    #: the requester's head alone (it is at its maximum quota)
    OWN = 0
    #: heads of the requester's pool above their minimum quota, and the requester's
    SHARED = 1
    #: every head of the requester's pool, protection and quotas waived (a write that has no other way)
    ANY = 2


@dataclass(frozen=True)
class Victim:
    """The block that leaves `frame`; `waived`: it is announced, and leaves because nothing else was eligible."""

    head: int
    block: int
    frame: int
    key: int
    waived: bool


class VictimSearch:
    """Every warm block with its rank (key, step, head, block); the lowest rank that may leave, leaves.

    Ranks are worked out again from the entry whenever the entry, the policy or (for `product`, whose keys change with
    time) the step has changed; all of them are compared at each search.
    """

    def __init__(self, config):
        self._config = config
        self._entries = [{} for _ in range(config.heads)]
        self._ranks = [{} for _ in range(config.heads)]
        #: (head, block) of warm blocks whose rank is out of date, and what the others were ranked under
        self._stale = set()
        self._ranked_under = None
        self._pinned = set()
        self._announced = set()

    def observe(self, head, block, entry):
        """Take note of what a slot made of an entry."""
        where = head, block
        if entry.state != State.WARM:
            if block in self._entries[head]:
                del self._entries[head][block]
                self._ranks[head].pop(block, None)
                self._stale.discard(where)
                self._pinned.discard(where)
                self._announced.discard(where)
            return
        old = self._entries[head].get(block)
        self._entries[head][block] = entry
        if old is None or old.ema != entry.ema or old.step != entry.step:
            self._stale.add(where)
        (self._pinned.add if entry.pinned else self._pinned.discard)(where)
        (self._announced.add if entry.announced else self._announced.discard)(where)

    def find(self, heads, *, now, policy, in_migration, protect):
        """The victim among the blocks of `heads`, or None.

        Eligible is what is warm, not pinned, not in `in_migration` (a collection of (head, block)) and, with `protect`,
        not announced and untouched in this step. If nothing is left, the announcement is waived.
        """
        self._rank(now, policy)
        barred = self._pinned.union(in_migration)
        if protect:
            waiting = {(head, block) for head, block in self._announced if self._entries[head][block].protected(now)}
            best = self._lowest(heads, barred | waiting)
            if best is not None:
                return self._victim(best, waived=False)
        best = self._lowest(heads, barred)
        return None if best is None else self._victim(best, waived=protect)

    def _rank(self, now, policy):
        """Bring every rank up to date."""
        under = policy.priority, policy.lam, now if policy.priority == Priority.PRODUCT else None
        if under != self._ranked_under:
            self._ranked_under = under
            self._stale.update((head, block) for head, blocks in enumerate(self._entries) for block in blocks)
        for where in self._stale:
            head, block = where
            entry = self._entries[head][block]
            value = key(self._config, policy.priority, entry.ema, entry.step, now, policy.lam)
            self._ranks[head][block] = value, entry.step, where
        self._stale.clear()

    def _lowest(self, heads, barred):
        best = None
        for head in heads:
            for rank in self._ranks[head].values():
                if (best is None or rank < best) and rank[2] not in barred:
                    best = rank
        return best

    def _victim(self, rank, waived):
        value, _, (head, block) = rank
        return Victim(head, block, self._entries[head][block].frame, value, waived)
