"""Addresses decode to the place they were encoded from, and to nothing outside every region."""

import random

import pytest

from kv_endpoint.golden.common.config import PRESETS
from kv_endpoint.golden.front.address import Region, Target, decode, encode, hint_address, region_lines

BASE = 0x8_0000_0000


@pytest.mark.parametrize("name", PRESETS)
def test_decode_inverts_encode(name):
    config, rng = PRESETS[name], random.Random(name)
    first = Region(base=BASE, heads=config.heads - 1, first_head=1)
    second = Region(base=BASE + region_lines(config, first) * 64, heads=1)
    regions = (first, second)
    for _ in range(500):
        region = rng.choice(regions)
        head = region.first_head + rng.randrange(region.heads)
        block, line = rng.randrange(config.blocks_per_head), rng.randrange(128)
        found = decode(config, regions, encode(config, region, head, block, line))
        assert (found.target, found.head, found.block, found.line) == (Target.BLOCK, head, block, line)
        window = decode(config, regions, hint_address(config, region, head))
        assert (window.target, window.head) == (Target.HINT, head)
    for address in (BASE // 64 - 1, second.base // 64 + region_lines(config, second)):
        assert decode(config, regions, address).target == Target.NXM


def test_a_disabled_region_decodes_nothing():
    region = Region(base=BASE, heads=2, enabled=False)
    assert decode(PRESETS["tiny"], (region,), BASE // 64).target == Target.NXM
