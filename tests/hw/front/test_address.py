"""The address decoder names the place that golden.address.decode names, at every edge of every region."""

import pytest

from kv_endpoint.golden.common.config import LINE_BYTES, preset
from kv_endpoint.golden.common.messages import ADDRESS_BITS
from kv_endpoint.golden.front.address import Region, Target, decode, region_lines
from kv_endpoint.hw.front.address import AddressDecoder
from tests.support.simulation import simulate

CONFIG = preset("tiny")
LINES = 1 << ADDRESS_BITS
#: lines of a region of one head
ONE_HEAD = region_lines(CONFIG, Region(base=0, heads=1))


def place_regions(*regions):
    """Regions of (first line, heads, first head, enabled)."""
    return [Region(line * LINE_BYTES, heads, first, enabled) for line, heads, first, enabled in regions]


@pytest.mark.quick
@pytest.mark.parametrize(
    "regions",
    [
        place_regions((0x4000, 3, 1, True), (0x40000, 1, 0, True)),
        place_regions((0x4000, 2, 0, False), (0x4100, 2, 2, True)),
        # The first region overlaps the second and goes first.
        place_regions((0x5000, 2, 2, True), (0x4800, 2, 0, True)),
        # A region that would reach past the last address does not go on at the first.
        place_regions((LINES - 100, 2, 0, True), (0x100000, 2, 2, True)),
    ],
    ids=["apart", "disabled", "overlapping", "past-the-end"],
)
def test_every_edge_is_decoded_as_the_golden_decoder_does(regions):
    dut = AddressDecoder(config=CONFIG, channel="req")
    edges = {0, 1, 64, LINES - 1}
    for region in regions:
        base = region.base // LINE_BYTES
        data = region.heads * (ONE_HEAD - 1)
        for edge in (base, base + ONE_HEAD - 1, base + data, base + data + region.heads):
            edges |= {edge - 1, edge, edge + 1}
    addresses = sorted(edge for edge in edges if 0 <= edge < LINES)
    seen = []

    async def bench(ctx):
        for port, region in zip(dut.regions, regions, strict=True):
            ctx.set(port.base, region.base // LINE_BYTES)
            ctx.set(port.heads, region.heads)
            ctx.set(port.first_head, region.first_head)
            ctx.set(port.enabled, region.enabled)
        ctx.set(dut.decoded.ready, 1)
        for address in [*addresses, 0, 0]:
            ctx.set(dut.messages.payload.address, address)
            ctx.set(dut.messages.valid, 1)
            if ctx.get(dut.decoded.valid):
                decoded = ctx.get(dut.decoded.payload)
                place = [int(decoded[name]) for name in ("target", "head", "block", "line")]
                seen.append((int(decoded.message.address), *place))
            await ctx.tick()

    simulate(dut, bench)
    expected = []
    for address in addresses:
        where = decode(CONFIG, regions, address)
        expected.append((address, where.target, where.head, where.block, where.line))
    assert seen == expected
    assert {target for _, target, *_ in seen} == set(Target)
