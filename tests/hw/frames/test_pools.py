"""Two regions of two modes in one endpoint: each has frames of its own, and keeps its mode."""

from dataclasses import replace

from kv_endpoint.golden.common.config import LINE_BYTES, preset
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import EngineKind, RefusalKind
from kv_endpoint.golden.front.address import Region, region_lines
from kv_endpoint.golden.pipeline.metadata import SlotKind
from kv_endpoint.golden.registers.rules import control
from kv_endpoint.tb.stimuli.random_traffic import random_operations
from tests.support.lockstep import Lockstep

CONFIG = preset("tiny")
SIZES = {Mode.EXACT: 7, Mode.MXINT8: 6}


def two_regions():
    """The first half of the heads in mode mxint8, the others in mode exact."""
    half = CONFIG.heads // 2
    first = Region(base=0, heads=half, mode=Mode.MXINT8)
    behind = region_lines(CONFIG, first) * LINE_BYTES
    return first, Region(base=behind, heads=CONFIG.heads - half, first_head=half)


def test_pools_overflow_apart_and_a_region_with_blocks_keeps_its_mode():
    regions = two_regions()
    registers = [("POOL_FRAMES", SIZES[Mode.EXACT]), ("POOL_FRAMES_MX", SIZES[Mode.MXINT8])]
    bench = Lockstep(CONFIG, seed=1, registers=registers, regions=regions)
    streams = [random_operations(CONFIG, region, seed=2, steps=2, accesses=50, blocks=8) for region in regions]
    operations = [operation for pair in zip(*streams, strict=False) for operation in pair]
    busy = [(f"REGION[{n}].CTRL", control(replace(r, mode=1 - r.mode))) for n, r in enumerate(regions)]
    bench.run(operations, limit=30_000, refused=busy)

    # In both pools blocks left for blocks of the same pool, and the frames of both begin at 0.
    heads = {region.mode: range(region.first_head, region.first_head + region.heads) for region in regions}
    victims = bench.kinds(EngineKind.VICTIM)
    for mode, its in heads.items():
        assert sum(note["head"] in its for note in victims) > 5
        frames = {record["frame"] for record in bench.kinds(SlotKind.ALLOCATE) if record["head"] in its}
        assert 0 in frames
        assert bench.golden.allocator.pools[mode].held == SIZES[mode]
    for note in victims:
        assert any(note["head"] in its and note["aux"] >> 8 in its for its in heads.values())
    refusals = [(note["key"], note["aux"]) for note in bench.kinds(EngineKind.REFUSAL)]
    assert refusals == [(RefusalKind.MODE_BUSY, number) for number in range(len(regions))]
