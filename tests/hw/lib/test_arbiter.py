"""The arbiter loses nothing, keeps each source's order and serves waiting sources in turn."""

import random

import pytest

from kv_endpoint.hw.lib.arbiter import Arbiter
from tests.support.simulation import simulate


@pytest.mark.quick
def test_arbiter_is_lossless_ordered_and_fair():
    rng = random.Random(11)
    dut = Arbiter(16, count=3)
    sent, seen = [[], [], []], []

    async def bench(ctx):
        offered = [None] * 3
        last = None
        for clock in range(3000):
            for number, source in enumerate(dut.sources):
                if offered[number] is None and rng.random() < 0.6:
                    offered[number] = clock * 3 % 20000 * 3 + number
                    ctx.set(source.payload, offered[number])
                ctx.set(source.valid, offered[number] is not None)
            ctx.set(dut.output.ready, rng.random() < 0.6)
            valid, ready, payload = (
                ctx.get(dut.output.valid),
                ctx.get(dut.output.ready),
                ctx.get(dut.output.payload),
            )
            if last is not None:
                assert valid and payload == last, "an offered payload changed before it was taken"
            last = payload if valid and not ready else None
            for number, source in enumerate(dut.sources):
                if offered[number] is not None and ctx.get(source.ready):
                    sent[number].append(offered[number])
                    offered[number] = None
            if valid and ready:
                seen.append(payload)
            await ctx.tick()

    simulate(dut, bench)
    for number in range(3):
        assert [value for value in seen if value % 3 == number] == sent[number]
    counts = [len(values) for values in sent]
    assert min(counts) > 0.9 * max(counts) > 300
