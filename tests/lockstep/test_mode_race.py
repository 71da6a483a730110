"""A message that was decoded before its region got another mode, and commits after it."""

from dataclasses import replace

import pytest
from amaranth.hdl import ResetInserter

from kv_endpoint.golden.common.config import LINE_BYTES, preset
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.front.address import Region, region_lines
from kv_endpoint.golden.host.operations import read, write
from kv_endpoint.golden.registers.rules import address, control
from tests.support.lockstep import Lockstep
from tests.support.native import simulate

TINY = preset("tiny", hosts=2)
FIRST = Region(base=0, heads=TINY.heads // 2)
SECOND = Region(base=region_lines(TINY, FIRST) * LINE_BYTES, heads=TINY.heads - FIRST.heads, first_head=FIRST.heads)


class LateWrite(Lockstep):
    """Offers the first write of FIRST a number of clocks after a register write began."""

    countdown = None

    async def _tick(self, ctx):
        if self.countdown is None:
            return await super()._tick(ctx)
        self.countdown -= 1
        if self.countdown < 0:
            self._offer(ctx, self.late)
        offered = [name for name in ("req", "rwd") if self._offered[name] is not None]
        taken = [name for name in offered if ctx.get(getattr(self.dut, name).ready)]
        await super()._tick(ctx)
        for name in taken:
            self._offered[name] = None
        if self.countdown < 0:
            self._offer(ctx, self.late)


@pytest.mark.parametrize("clocks", range(8))
def test_a_write_under_way_goes_where_its_region_is_when_it_commits(clocks):
    dut = LateWrite(TINY, seed=1, regions=(FIRST, SECOND))
    ours = SECOND.base // LINE_BYTES
    refused = []

    async def bench(ctx):
        await dut._write_registers(ctx)
        await dut._serve(ctx, [write(ours, 0x12345)], 5000)
        dut.late = [(100, write(0, 0x777))]
        dut.countdown = clocks
        dut.regions = (replace(FIRST, mode=Mode.MXINT8), SECOND)
        try:
            await dut._write_register(ctx, address("REGION[0].CTRL"), control(dut.regions[0]))
        except AssertionError:
            # The write has committed first, so the region has a block.
            refused.append(True)
            dut.regions = (FIRST, SECOND)
        for _ in range(10):
            await dut._tick(ctx)
        dut.countdown = None
        await dut._serve(ctx, [], 5000)
        # The other head's block is what it was: a frame of one pool is none of the other.
        await dut._serve(ctx, [read(ours)], 5000)

    simulate(ResetInserter(dut._reset)(dut.dut), bench)
    assert refused or clocks > 2
