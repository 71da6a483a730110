"""cocotb test of the codec on a file of lines with their results (tests/hdl/codec.v)."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from kv_endpoint.tb.lib.cocotb_run import PERIOD_STEPS, RESET_CLOCKS, settings


@cocotb.test()
async def every_line(dut):
    """Both directions and the second compression give what the file says, line by line."""
    lines = settings()["lines"]
    cocotb.start_soon(Clock(dut.clk, PERIOD_STEPS, unit="step").start())
    dut.lines.value = lines
    dut.rst.value = 1
    await ClockCycles(dut.clk, RESET_CLOCKS)
    dut.rst.value = 0
    await RisingEdge(dut.done)
    await ClockCycles(dut.clk, 1)
    wrong = {name: int(getattr(dut, f"{name}_wrong").value) for name in ("compressed", "read", "again")}
    assert not any(wrong.values()), f"lines with a difference: {wrong}; the first is line {int(dut.first_wrong.value)}"
    assert int(dut.compared.value) == lines
