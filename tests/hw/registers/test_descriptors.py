"""The judge of streams against sets of block numbers."""

import random
from collections import Counter

import pytest
from amaranth.hdl import ResetInserter, Signal

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.events.port import RefusalKind
from kv_endpoint.golden.front.address import Region
from kv_endpoint.golden.prefetch.stream_descriptor import StreamDescriptor
from kv_endpoint.hw.registers.descriptors import DescriptorRules
from tests.support.simulation import simulate

WORD_MAX = (1 << 32) - 1
CONFIGS = [
    preset("tiny", heads=5, regions=3),
    preset("tiny", heads=7, step_bits=28, regions=1, streams=1),
    preset("tiny", heads=3, blocks_per_head=2, streams=8),
]


class Bench:
    """A judge, and what its streams and regions are."""

    def __init__(self, config, seed):
        print(f"seed {seed}")
        self.config, self.random = config, random.Random(seed)
        self.dut, self.reset = DescriptorRules(config=config), Signal()
        self.streams = [StreamDescriptor()] * config.streams
        self.regions = []

    def set_regions(self, ctx, regions):
        self.regions = regions
        for port, region in zip(self.dut.regions, regions, strict=True):
            ctx.set(port.first, region.first_head)
            ctx.set(port.count, region.heads)
            ctx.set(port.enabled, region.enabled)

    def set_stream(self, ctx, number, stream):
        self.streams[number] = stream
        port = self.dut.streams[number]
        for name in ("base", "length", "stride", "enabled"):
            ctx.set(getattr(port, name), int(getattr(stream, name)))

    async def judge(self, ctx, number):
        """The judge's answer; what is accepted is enabled."""
        dut, config = self.dut, self.config
        ctx.set(dut.number, number)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        clocks = 1
        while not ctx.get(dut.done):
            await ctx.tick()
            clocks += 1
        assert clocks <= config.index_bits + config.regions + 4 * config.streams + 6
        await ctx.tick().repeat(self.random.randint(1, 3))
        if ctx.get(dut.refused):
            return RefusalKind(ctx.get(dut.reason))
        ctx.set(dut.apply, 1)
        await ctx.tick()
        ctx.set(dut.apply, 0)
        self.set_stream(ctx, number, StreamDescriptor(**vars(self.streams[number]) | {"enabled": True}))
        return None

    def expected(self, number):
        stream = self.streams[number]
        if stream.stride not in [1 << bit for bit in range(self.config.index_bits + 1)]:
            return RefusalKind.STREAM_RANGE
        if not 1 <= stream.length <= self.config.blocks or self.region_of(stream) is None:
            return RefusalKind.STREAM_RANGE
        taken = set()
        for other, its in enumerate(self.streams):
            if its.enabled and other != number:
                taken |= self.blocks(its)
        return RefusalKind.STREAM_OVERLAP if self.blocks(stream) & taken else None

    def blocks(self, stream):
        return {stream.base + position * stream.stride for position in range(stream.length)}

    def region_of(self, stream):
        for number, region in enumerate(self.regions):
            first, width = region.first_head * self.config.blocks_per_head, self.config.blocks_per_head
            if region.enabled and self.blocks(stream) <= set(range(first, first + region.heads * width)):
                return number
        return None

    def run(self, body):
        simulate(ResetInserter(self.reset)(self.dut), body)

    def check_used(self, ctx):
        used = {self.region_of(stream): True for stream in self.streams if stream.enabled}
        assert ctx.get(self.dut.used) == sum(1 << region for region in used)
        for number, stream in enumerate(self.streams):
            if stream.enabled:
                assert ctx.get(self.dut.region_of[number]) == self.region_of(stream)


def random_regions(rng, config):
    """Regions side by side in any order, some disabled, not always over all heads."""
    cuts = sorted(rng.randint(0, config.heads) for _ in range(config.regions + 1))
    regions = []
    for start, end in zip(cuts[:-1], cuts[1:], strict=True):
        enabled = end > start and rng.random() < 0.8
        regions.append(Region(base=0, heads=end - start, first_head=min(start, config.heads - 1), enabled=enabled))
    rng.shuffle(regions)
    if rng.random() < 0.4:
        regions = [Region(base=0, heads=config.heads)] + [Region(base=0, heads=0, enabled=False)] * (config.regions - 1)
    return regions


def random_stream(rng, config):
    span = config.blocks
    # Many in the first head, so that streams meet.
    base = rng.randrange(rng.choice((span, config.blocks_per_head)))
    length = rng.choice((1, 2, 3, rng.randint(1, config.blocks_per_head)))
    stride = 1 << rng.randrange(rng.choice((1, 2, config.index_bits + 1)))
    if rng.random() < 0.1:
        base = rng.choice((span, WORD_MAX, 1 << config.index_bits, base | 1 << 31, base + (1 << config.index_bits)))
    if rng.random() < 0.1:
        length = rng.choice((0, WORD_MAX, span, span + 1, 1 << 31, length + (1 << config.index_bits + 1)))
    if rng.random() < 0.1:
        stride = rng.choice((0, 3, WORD_MAX, 1 << 31, 1 << config.index_bits + 1, stride + (1 << 31)))
    return StreamDescriptor(base=base, length=length, stride=stride)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.heads}x{config.blocks_per_head}")
def test_streams_are_judged_by_their_sets_of_blocks(config):
    bench = Bench(config, seed=config.heads)
    rng, verdicts = bench.random, Counter()

    async def body(ctx):
        for _ in range(120):
            for number in range(config.streams):
                bench.set_stream(ctx, number, StreamDescriptor())
            bench.set_regions(ctx, random_regions(rng, config))
            for _ in range(8):
                number = rng.randrange(config.streams)
                bench.set_stream(ctx, number, random_stream(rng, config))
                expected = bench.expected(number)
                assert await bench.judge(ctx, number) == expected, (number, bench.streams, bench.regions)
                verdicts[expected] += 1
                await ctx.tick()
                bench.check_used(ctx)
            if rng.random() < 0.1:
                ctx.set(bench.reset, 1)
                await ctx.tick()
                ctx.set(bench.reset, 0)

    bench.run(body)
    rare = 0 if config.streams == 1 else 20
    assert verdicts[None] > 100 and verdicts[RefusalKind.STREAM_RANGE] > 100
    assert verdicts[RefusalKind.STREAM_OVERLAP] >= rare


@pytest.mark.quick
def test_streams_between_each_other_share_no_block():
    """A fine stream inside a gap of a coarse one, and grids that never meet."""
    config = preset("tiny", streams=3)
    bench = Bench(config, seed=1)

    async def body(ctx):
        bench.set_regions(ctx, [Region(base=0, heads=config.heads), Region(base=0, heads=0, enabled=False)])
        bench.set_stream(ctx, 0, StreamDescriptor(base=3, length=4, stride=16))
        assert await bench.judge(ctx, 0) is None
        for stream, verdict in (
            (StreamDescriptor(base=4, length=15), None),
            (StreamDescriptor(base=4, length=16), RefusalKind.STREAM_OVERLAP),
            (StreamDescriptor(base=0, length=3), None),
            (StreamDescriptor(base=2, length=30, stride=2), None),
            (StreamDescriptor(base=1, length=30, stride=2), RefusalKind.STREAM_OVERLAP),
            (StreamDescriptor(base=52, length=12), None),
            (StreamDescriptor(base=51, length=1), RefusalKind.STREAM_OVERLAP),
        ):
            bench.set_stream(ctx, 1, stream)
            assert await bench.judge(ctx, 1) == verdict, stream

    bench.run(body)
