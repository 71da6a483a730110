"""What the policies reach on the bundled attention trace: the golden endpoint beside figures of a reference.

The reference works in real numbers, knows strict access order, and takes no notice of what hints do to an entry's step;
it was measured once. `python -m tests.support.policy_figures` prints both tables (a minute and a half).
"""

import sys

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.policy import Policy, Priority
from kv_endpoint.golden.endpoint import Endpoint
from kv_endpoint.golden.front.hints import relative_mass
from kv_endpoint.golden.pipeline.metadata import Outcome
from kv_endpoint.sim.workload.load import load

__all__ = ["REFERENCE", "SETTINGS", "hit_rate"]

COVERAGE = 0.95
GAIN = 8
LINES_PER_TOKEN = 4

#: row -> (hints are sent, policy registers)
SETTINGS = {
    "lru": (False, Policy(priority=Priority.LRU, protect=False, bypass=False)),
    "lru, announced": (True, Policy(priority=Priority.LRU, protect=True, bypass=False)),
    "product": (True, Policy(priority=Priority.PRODUCT, protect=False, bypass=False)),
    "product, announced": (True, Policy(priority=Priority.PRODUCT, protect=True, bypass=False)),
    "decayed": (True, Policy(protect=False, bypass=False)),
    "decayed, announced": (True, Policy(protect=True, bypass=False)),
    "decayed, announced, bypass": (True, Policy(protect=True, bypass=True)),
}

#: (pool, order of hints, share of the blocks that have frames) -> demand hit rate in the order of `SETTINGS`
REFERENCE = {
    ("split", "layer", 0.125): (0.345, 0.585, 0.370, 0.585, 0.578, 0.587, 0.646),
    ("split", "layer", 0.25): (0.673, 0.853, 0.695, 0.853, 0.848, 0.855, 0.869),
    ("shared", "layer", 0.125): (0.388, 0.509, 0.543, 0.599, 0.725, 0.725, 0.727),
    ("shared", "layer", 0.25): (0.905, 0.915, 0.912, 0.920, 0.926, 0.926, 0.926),
    ("shared", "step", 0.125): (0.388, 0.709, 0.544, 0.713, 0.737, 0.743, 0.743),
    ("shared", "step", 0.25): (0.905, 0.924, 0.912, 0.927, 0.931, 0.931, 0.931),
}


def hit_rate(pool, order, share, setting):
    """Demand hit rate of the golden endpoint over the whole trace at preset `small`.

    A step goes layer by layer: the hints of the layer's heads, then their reads; with `order` "step" the hints of all
    layers come first. `split` gives each head a fixed part of the pool.
    """
    hinted, policy = SETTINGS[setting]
    config, trace = preset("small"), load("attention-a")
    per_head = max(2, int(share * trace.blocks))
    device = Endpoint(config, policy=policy, pool_frames=per_head * trace.heads)
    if pool == "split":
        for head in range(trace.heads):
            if device.quota(head, per_head, per_head) is not None:
                raise ValueError(f"a split of {per_head} frames a head is refused")
    for step in trace.walk(COVERAGE, trace.steps):
        if not hinted:
            device.hint(0, [], step.number)
        if order == "step":
            _hint(device, step.number, hinted, [hint for layer in step.layers for hint in layer.hints])
        for layer in step.layers:
            if order == "layer":
                _hint(device, step.number, hinted, layer.hints)
            for access in layer.accesses:
                if access.token is None:
                    device.read(access.head, access.block)
                else:
                    device.write(access.head, access.block, access.token * LINES_PER_TOKEN)
    counters = device.follower.counters
    hits, misses = sum(c.hits for c in counters), sum(c.misses for c in counters)
    return hits / (hits + misses)


def _hint(device, step, hinted, hints):
    """The lines of each head, if the host sends any."""
    by_head = {}
    for hint in hints if hinted else ():
        by_head.setdefault(hint.head, []).append((hint.block, relative_mass(hint.mass, hint.existing, GAIN)))
    for head, entries in by_head.items():
        if device.hint(head, entries, step) != Outcome.HINT_DONE:
            raise ValueError(f"a hint of step {step} was not taken")


def main():
    print(f"{'pool, order, share':24}" + "".join(f"{name:>28}" for name in SETTINGS))
    for case, reference in REFERENCE.items():
        figures = [(hit_rate(*case, setting), theirs) for setting, theirs in zip(SETTINGS, reference, strict=True)]
        line = "".join(f"{ours:14.4f} ({theirs:.3f} {ours - theirs:+.3f})" for ours, theirs in figures)
        print(f"{', '.join(map(str, case)):24}{line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
