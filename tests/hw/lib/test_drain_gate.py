"""A drain reaches the datapath once all that was committed before it has left the FIFO, and not later."""

import random

import pytest

from kv_endpoint.hw.lib.drain_gate import DrainGate
from tests.support.simulation import simulate

DEPTH = 15


@pytest.mark.quick
@pytest.mark.parametrize("seed", range(4))
def test_the_request_passes_when_its_elders_have_left(seed):
    rng = random.Random(seed)
    dut = DrainGate(depth=DEPTH)
    passed = 0

    async def bench(ctx):
        nonlocal passed
        fifo, ahead, pause, since = [], None, 5, 0
        for clock in range(3000):
            taken = bool(fifo) and rng.random() < 0.4
            ctx.set(dut.level, len(fifo))
            ctx.set(dut.taken, taken)
            pause -= 1
            asking = pause <= 0
            ctx.set(dut.asker.request, asking)
            if asking and ahead is None:
                ahead, since = set(fifo), clock
            forwarded = bool(ctx.get(dut.datapath.request))
            if forwarded:
                assert asking and not ahead
                granted = rng.random() < 0.5
                ctx.set(dut.datapath.granted, granted)
                assert bool(ctx.get(dut.asker.granted)) == granted
                if granted:
                    pause, ahead = rng.randrange(2, 9), None
                    passed += 1
            else:
                # Two clocks to notice that nothing is ahead any more.
                assert not asking or ahead or clock - since <= 2
                ctx.set(dut.datapath.granted, 0)
            if taken:
                operation = fifo.pop(0)
                if ahead:
                    ahead.discard(operation)
                    since = clock
            if len(fifo) < DEPTH and rng.random() < 0.6:
                fifo.append(clock)
            await ctx.tick()

    simulate(dut, bench)
    assert passed > 60
