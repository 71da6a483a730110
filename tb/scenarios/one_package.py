"""A cocotb test of the simulator's process: there too, each part of the project is loaded under one name."""

import sys

import cocotb

from kv_endpoint.tb.interactive import TB


@cocotb.test()
async def no_part_goes_by_a_second_name(dut):
    assert TB.__module__ == "kv_endpoint.tb.interactive"
    assert not {"golden", "hw", "tb", "sim"} & set(sys.modules)
