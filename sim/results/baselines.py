"""What known policies would have hit on the same touches, in the same order, with the same pool and the same frames.

A touch is the first demand access to a block in a step. The first touch of a block is its first write: neither hit nor
miss, but it takes a frame. `lru` and `lfu` evict the block touched longest ago, or least often since the beginning
(ties: longest ago). `belady` evicts the block whose next touch is farthest (Belady, IBM Systems Journal 5(2), 1966),
and so is the best that a policy without bypass can do; `belady_bypass` admits no block whose own next touch is farther
still. All run in O(n log n).
"""

from collections import Counter, OrderedDict, defaultdict
from heapq import heappop, heappush

__all__ = ["BASELINES", "NEVER", "baselines", "following"]

#: next touch of a block that is not touched again
NEVER = 1 << 60


def following(touches):
    """For each touch the position of the same block's next touch, or `NEVER`."""
    result, last = [NEVER] * len(touches), {}
    for position in range(len(touches) - 1, -1, -1):
        result[position] = last.get(touches[position], NEVER)
        last[touches[position]] = position
    return result


def lru(touches, frames):
    """Hits of least recently used."""
    resident, hits = OrderedDict(), 0
    for block in touches:
        if block in resident:
            hits += 1
            resident.move_to_end(block)
            continue
        if len(resident) == frames:
            resident.popitem(last=False)
        resident[block] = True
    return hits


def _pop_valid(heap, resident):
    """The lowest (rank, block) of a resident block; entries with an outdated rank are dropped."""
    while resident.get(heap[0][1]) != heap[0][0]:
        heappop(heap)
    return heap[0]


def lfu(touches, frames):
    """Hits of least frequently used; counts survive eviction."""
    counts, resident, heap, hits = Counter(), {}, [], 0
    for position, block in enumerate(touches):
        counts[block] += 1
        if block in resident:
            hits += 1
        elif len(resident) == frames:
            _, victim = _pop_valid(heap, resident)
            del resident[victim]
        resident[block] = counts[block], position
        heappush(heap, (resident[block], block))
    return hits


def belady(touches, frames, bypass=False):
    """Hits of the optimum, with or without bypass."""
    resident, heap, hits = {}, [], 0
    for block, again in zip(touches, following(touches), strict=True):
        if block in resident:
            hits += 1
        elif len(resident) == frames:
            rank, victim = _pop_valid(heap, resident)
            if bypass and again > -rank:
                continue
            del resident[victim]
        resident[block] = -again
        heappush(heap, (-again, block))
    return hits


BASELINES = {
    "lru": lru,
    "lfu": lfu,
    "belady": belady,
    "belady_bypass": lambda touches, frames: belady(touches, frames, bypass=True),
}


def baselines(touches, *, frames, heads, per_head):
    """{name: demand hit rate}, None where nothing could hit or miss.

    `touches` is a sequence of (head, block) in touch order. `frames` is the whole run's; with `per_head` it is split
    evenly over the `heads` heads, which then have nothing to do with each other.
    """
    pools = defaultdict(list)
    for head, block in touches:
        pools[head if per_head else None].append((head, block))
    size = frames // heads if per_head else frames
    demand = len(touches) - len(set(touches))
    return {
        name: sum(hits(pool, size) for pool in pools.values()) / demand if demand else None
        for name, hits in BASELINES.items()
    }
