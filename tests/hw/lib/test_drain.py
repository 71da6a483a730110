"""Drain: granted when the work of before the request is gone, and not a clock earlier or later."""

import random

import pytest
from amaranth.sim import Simulator

from kv_endpoint.hw.lib.drain import Drain


@pytest.mark.quick
@pytest.mark.parametrize("seed", range(3))
def test_a_drain_is_granted_when_all_work_accepted_before_its_request_has_finished(seed):
    print("seed", seed)
    rng = random.Random(seed)
    capacity = 6
    dut = Drain(capacity=capacity)
    waited_for = set()

    async def bench(ctx):
        # Work is (epoch, request number since which it counts as late); `early` is what the drain waits for.
        work, early, request, granted = [], None, False, 0
        for _ in range(3000):
            if not request and rng.random() < 0.1:
                request = True
            elif request and granted and rng.random() < 0.5:
                request, early = False, None
            accept = len(work) < capacity and rng.random() < 0.7
            finish = rng.choice(work) if work and rng.random() < 0.5 else None
            ctx.set(dut.hold.request, request)
            ctx.set(dut.accepted, accept)
            ctx.set(dut.finished, finish is not None)
            ctx.set(dut.finished_epoch, finish[0] if finish else 0)
            granted = ctx.get(dut.hold.granted)
            assert granted == (early is not None and not early)
            if accept:
                work.append((ctx.get(dut.epoch), object()))
            if finish:
                work.remove(finish)
            await ctx.tick()
            if early is not None:
                early -= {finish}
            elif request:
                early = set(work)
                waited_for.add(len(early))

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert max(waited_for) == capacity


def test_a_capacity_of_nothing_is_refused():
    with pytest.raises(ValueError, match="capacity must be a positive integer, not 0"):
        Drain(capacity=0)
