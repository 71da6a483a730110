"""Quiesce grants the pipeline to one holder at a time, only when it is idle, to everybody in turn."""

import random

import pytest

from kv_endpoint.hw.lib.hold_grants import Quiesce
from tests.support.simulation import simulate

ENGINE = 2


@pytest.mark.quick
def test_one_holder_at_a_time_and_only_when_idle():
    rng = random.Random(7)
    dut = Quiesce(count=3, engine=ENGINE, gap=4)
    grants = [0, 0, 0]

    async def bench(ctx):
        work = [0, 0, 0]
        free_clocks = 4
        in_flight = 0
        for _ in range(6000):
            for number, hold in enumerate(dut.holds):
                # A holder that is done lets go for at least a clock.
                ctx.set(hold.request, work[number] > 0)
                if not work[number] and rng.random() < 0.5:
                    work[number] = rng.randrange(1, 6)
            external, engine = ctx.get(dut.hold_external), ctx.get(dut.hold_engine)
            # A slot may issue in this clock only where it is not held; each stays in flight for some clocks.
            if not external and rng.random() < 0.7:
                in_flight = 7
            ctx.set(dut.idle, in_flight == 0)
            granted = [number for number, hold in enumerate(dut.holds) if ctx.get(hold.granted)]
            assert len(granted) <= 1
            if granted:
                assert external and in_flight == 0
                assert bool(engine) == (granted[0] != ENGINE)
                if ctx.get(dut.holds[granted[0]].request):
                    work[granted[0]] -= 1
                    grants[granted[0]] += not work[granted[0]]
            if external:
                assert free_clocks == 0 or free_clocks >= 4
                free_clocks = 0
            else:
                free_clocks += 1
            in_flight = max(0, in_flight - 1)
            await ctx.tick()

    simulate(dut, bench)
    assert min(grants) > 0.8 * max(grants) > 50
