"""cocotb tests of the endpoint with hosts that cache lines: random traffic, all in golden lock-step.

Settings: `seed`; `requests` a host; `weights` by the name of an `Access` or `store`, `drop`; `in_flight`; `manners`;
`share` of stalled clocks; `late`, to keep completions back in spells; `blocks` a head and `lines` a block; `mode`;
`faults` of media, shares by name; `least`, what must have happened at least so often.
"""

import json
import random
from dataclasses import replace
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles

from kv_endpoint.golden.common.config import LINES_PER_BLOCK, SECTOR_LINES
from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.front.address import encode
from kv_endpoint.tb.agents.snoop_agent import Manners
from kv_endpoint.tb.checks.golden_endpoint import golden_endpoint
from kv_endpoint.tb.interactive import TB, configured
from kv_endpoint.tb.lib.cocotb_run import settings
from kv_endpoint.tb.stimuli.coherent_traffic import CoherentTraffic, Shares
from kv_endpoint.tb.stimuli.faults import Gate, MediaFaults

__all__ = ["FLASH_CLOCKS", "coherent_bench", "coherent_lines", "coherent_traffic"]

FLASH_CLOCKS = {"flash_read_clocks": 80, "flash_program_clocks": 120}
#: clocks between two hint lines
HINT_CLOCKS = 400


def _kind(name):
    return Access[name] if name in Access.__members__ else name


def manners_of(given):
    return Manners(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def coherent_lines(config, region, *, seed, blocks, lines):
    """`lines` lines of each of the first `blocks` blocks of each head, half of them neighbours in one sector."""
    rng, chosen = random.Random(f"{seed}/lines"), []
    for head in range(region.first_head, region.first_head + region.heads):
        for block in range(blocks):
            first = rng.randrange(0, LINES_PER_BLOCK, SECTOR_LINES)
            near = [first + number % SECTOR_LINES for number in range(lines // 2)]
            far = [rng.randrange(LINES_PER_BLOCK) for _ in range(lines - len(near))]
            chosen += [encode(config, region, head, block, line) for line in (*near, *far)]
    return chosen


async def coherent_bench(dut, given, *, unwritable_allowed=False, **more):
    """A `TB`, started, with a caching host for each of the configuration; region 0 is cached and belongs to them.

    With `owners` in `given` only so many hosts are there.
    """
    config = configured()
    checker = golden_endpoint(config)
    tb = TB(dut, config, seed=given["seed"], share=given.get("share", 0.0), checker=checker, **FLASH_CLOCKS, **more)
    tb.add_caches(
        given.get("owners"), manners=manners_of(given.get("manners", {})), unwritable_allowed=unwritable_allowed
    )
    await start(tb, given)
    return tb


async def start(tb, given):
    """Registers as given, region 0 cached by all hosts that are there, in the mode given."""
    frames = max(given.get("pool_frames", 0), tb.config.pool_frames_min_cached)
    pools = [(name, frames) for name in ("POOL_FRAMES", "POOL_FRAMES_MX")]
    await tb.start([*pools, *map(tuple, given.get("registers", []))])
    whole, *others = tb.host.regions
    everyone = (1 << len(tb.caches)) - 1
    whole = replace(whole, cached=True, hosts=everyone, mode=Mode(given.get("mode", Mode.EXACT)))
    await tb.set_regions((whole, *others))


def coherent_traffic(tb, given, *, requests=None, seed=None):
    """Traffic of each host over the lines of region 0."""
    region, seed = tb.host.regions[0], given["seed"] if seed is None else seed
    lines = coherent_lines(tb.config, region, seed=seed, blocks=given.get("blocks", 10), lines=given.get("lines", 8))
    shares = Shares(in_flight=given.get("in_flight", 16), poisoned=given.get("poisoned", 0.0))
    if "weights" in given:
        shares = replace(shares, weights={_kind(name): weight for name, weight in given["weights"].items()})
    return [
        CoherentTraffic(
            cache, lines, seed=seed, requests=requests or given["requests"], shares=shares, mode=region.mode
        )
        for cache in tb.caches
    ]


async def hint_now_and_then(tb, seed):
    """Move the step on, and announce some blocks, as a host does that decodes."""
    rng, step = random.Random(f"{seed}/hints"), 0
    while True:
        await ClockCycles(tb.dut.clk, HINT_CLOCKS)
        step += 1
        entries = [(rng.randrange(tb.config.blocks_per_head), rng.getrandbits(16)) for _ in range(4)]
        await tb.host.hint(rng.randrange(tb.config.heads), step, entries)


def report(tb):
    """What happened, as a dict: of messages, of the hosts, by the records."""
    told = tb.coherency_counts.report() | {"most_snoops": tb.protocol.most_snoops, "checked": tb.coherent.checked}
    for cache in tb.caches:
        for name, count in (*cache.counts.items(), *cache.snoops.counts.items()):
            told[name] = told.get(name, 0) + count
    return told


@cocotb.test()
async def random_coherent(dut):
    """Random requests of every host; what came of it goes to a file."""
    given = settings()
    faults = MediaFaults(seed=given["seed"], **given.get("faults", {}))
    gates = {"ndr": Gate()} if given.get("late") else {}
    tb = await coherent_bench(dut, given, gates=gates, **(faults.arguments if given.get("faults") else {}))
    hinting = cocotb.start_soon(hint_now_and_then(tb, given["seed"]))
    if gates:
        cocotb.start_soon(_breathe(dut, gates["ndr"], given["seed"]))
    await tb.cache_agent.play(coherent_traffic(tb, given))
    hinting.cancel()
    for gate in gates.values():
        gate.closed = False
    await tb.finish()
    told = report(tb)
    tb.log.info("seed %s: %s", given["seed"], told)
    Path("coherency.json").write_text(json.dumps(told))
    for name, least in given.get("least", {}).items():
        assert told.get(name, 0) >= least, f"{name}: {told.get(name, 0)}, at least {least} expected"
    assert all(faults.counts.values()), faults.counts


async def _breathe(dut, gate, seed):
    """Keep completions back in spells, so that a BISnp overtakes the Cmp of its line: late conflicts."""
    rng = random.Random(f"{seed}/gate")
    while True:
        gate.closed = not gate.closed
        await ClockCycles(dut.clk, rng.randint(5, 40))
