"""Baselines against definitions that are too slow to use, and against the figures of the bundled trace."""

import random

import pytest

from kv_endpoint.sim.results.baselines import NEVER, baselines, belady, following, lfu, lru
from kv_endpoint.sim.workload.load import load

SEEDS = range(20)


def random_touches(seed):
    rng = random.Random(seed)
    blocks = rng.randint(2, 12)
    return [(0, min(rng.randrange(blocks), rng.randrange(blocks))) for _ in range(rng.randint(1, 200))]


def slow(touches, frames, rank, bypass=False):
    """Hits of the policy that evicts the resident block of lowest `rank(block, position)`."""
    resident, hits = set(), 0
    for position, block in enumerate(touches):
        if block in resident:
            hits += 1
            continue
        if len(resident) == frames:
            victim = min(resident, key=lambda b: rank(b, position))
            if bypass and rank(block, position) < rank(victim, position):
                continue
            resident.remove(victim)
        resident.add(block)
    return hits


def best(touches, frames):
    """Most hits any policy with bypass can have: search over all resident sets."""
    reached = {frozenset(): 0}
    for block in touches:
        after = {}
        for resident, hits in reached.items():
            if block in resident:
                choices = [(resident, hits + 1)]
            else:
                choices = [(resident, hits)]
                grown = resident | {block}
                choices += [(grown, hits)] if len(grown) <= frames else [(grown - {v}, hits) for v in resident]
            for chosen, count in choices:
                after[chosen] = max(after.get(chosen, 0), count)
        reached = after
    return max(reached.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_baselines_equal_their_definitions(seed):
    touches = random_touches(seed)
    frames = random.Random(seed).randint(1, 6)

    def last(block, position):
        return max(i for i in range(position) if touches[i] == block)

    def count(block, position):
        return touches[:position].count(block)

    def next_use(block, position):
        return -next((i for i in range(position + 1, len(touches)) if touches[i] == block), NEVER)

    assert lru(touches, frames) == slow(touches, frames, last)
    assert lfu(touches, frames) == slow(touches, frames, lambda b, p: (count(b, p), last(b, p)))
    assert belady(touches, frames) == slow(touches, frames, next_use)
    assert belady(touches, frames, bypass=True) == slow(touches, frames, next_use, bypass=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_belady_with_bypass_is_the_most_that_any_policy_hits(seed):
    rng = random.Random(seed)
    touches = [rng.randrange(6) for _ in range(60)]
    assert belady(touches, 3, bypass=True) == best(touches, 3)


def test_following_names_the_next_touch():
    assert following(list("abab")) == [2, 3, NEVER, NEVER]


def test_pools_per_head_have_nothing_to_do_with_each_other():
    touches = [(0, 0), (1, 0), (1, 1), (1, 2), (0, 0)]
    assert baselines(touches, frames=2, heads=2, per_head=True)["lru"] == 1
    assert baselines(touches, frames=2, heads=2, per_head=False)["lru"] == 0


def test_a_run_without_demand_has_no_rate():
    assert baselines([(0, 0)], frames=2, heads=1, per_head=False)["belady"] is None


@pytest.mark.parametrize(
    ("per_head", "frames", "expected"),
    [
        (True, 80, (0.345, 0.618, 0.669)),
        (True, 160, (0.673, 0.867, 0.883)),
        (False, 80, (0.388, 0.814, 0.817)),
        (False, 160, (0.905, 0.964, 0.964)),
    ],
)
def test_bundled_trace_has_the_known_optima(per_head, frames, expected):
    """Figures of an independent implementation, for 12.5 % and 25 % of the frames."""
    workload = load("attention-a")
    touches = []
    for step in workload.walk(0.95, workload.steps):
        for layer in step.layers:
            touches += dict.fromkeys((access.head, access.block) for access in layer.accesses)
    rates = baselines(touches, frames=frames, heads=workload.heads, per_head=per_head)
    assert tuple(round(rates[name], 3) for name in ("lru", "belady", "belady_bypass")) == expected
