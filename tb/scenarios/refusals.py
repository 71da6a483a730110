"""cocotb test: every reason for which a register write or a command is refused, one after the other."""

from dataclasses import replace

import cocotb
from cocotb.triggers import ClockCycles

from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import RefusalKind
from kv_endpoint.golden.front.address import encode
from kv_endpoint.golden.registers.rules import control, pack
from kv_endpoint.tb.agents.registers import Refused
from kv_endpoint.tb.lib.cocotb_run import settings
from kv_endpoint.tb.scenarios.coherency import coherent_bench

#: clocks between two looks at a register
POLL_CLOCKS = 20


async def _refused(tb, kind, writing):
    """The write that the coroutine makes is refused, for this reason, and the error is reported."""
    try:
        await writing
    except Refused:
        pass
    else:
        raise AssertionError(f"not refused for {kind.name}")
    status = await tb.csr.read_fields("COMMAND_STATUS")
    assert (status["REFUSED"], status["REASON"]) == (1, kind), f"{kind.name} expected, seen {status}"
    assert (await tb.csr.read_fields("ERROR"))["REFUSED_COMMAND"]
    await tb.csr.write("ERROR", REFUSED_COMMAND=1)


async def _recall_all(tb):
    await tb.csr.write("COHERENCY", RECALL_ALL=1)
    while await tb.csr.read("COVERED_SECTORS"):
        await ClockCycles(tb.dut.clk, POLL_CLOCKS)
    await tb.csr.write("COHERENCY", RECALL_ALL=0)


@cocotb.test()
async def every_refusal(dut):
    tb = await coherent_bench(dut, settings())
    config, shared = tb.config, tb.host.regions[0]
    ctrl, least = "REGION[0].CTRL", config.pool_frames_min_cached

    # Shared, cached, covered
    for region in (replace(shared, cached=False), replace(shared, mode=Mode.MXINT8)):
        await _refused(tb, RefusalKind.SHARED_MODE, tb.csr.write(ctrl, control(region)))
    await tb.cache_agent.request(0, Access.OWN, encode(config, shared, 1, 2, 3), data=4)
    for region in (replace(shared, enabled=False), replace(shared, hosts=1), replace(shared, hosts=1, cached=False)):
        await _refused(tb, RefusalKind.COVERED, tb.csr.write(ctrl, control(region)))
    await _refused(tb, RefusalKind.POOL_CACHED, tb.csr.write("POOL_FRAMES", least - 1))
    await _refused(tb, RefusalKind.POOL_SIZE, tb.csr.write("POOL_FRAMES", config.pool_frames_min - 1))
    await _recall_all(tb)
    plain = replace(shared, cached=False, hosts=1)
    await tb.set_regions((plain, *tb.host.regions[1:]))
    await tb.csr.write("POOL_FRAMES", least - 1)
    await _refused(tb, RefusalKind.POOL_CACHED, tb.csr.write(ctrl, control(replace(plain, cached=True))))

    # Modes and streams
    await tb.host.write(encode(config, plain, 0, 1, 2), 5)
    await _refused(tb, RefusalKind.MODE_BUSY, tb.csr.write(ctrl, control(replace(plain, mode=Mode.MXINT8))))
    await _refused(tb, RefusalKind.STREAM_RANGE, tb.csr.write("STREAM[0].CTRL", 1))
    for number in range(2):
        await tb.csr.write(f"STREAM[{number}].LENGTH", 2)
    await tb.csr.write("STREAM[0].CTRL", 1)
    await _refused(tb, RefusalKind.STREAM_OVERLAP, tb.csr.write("STREAM[1].CTRL", 1))
    await tb.csr.write("STREAM[0].CTRL", 0)

    # Commands to the allocator
    await _refused(tb, RefusalKind.QUOTA_RANGE, tb.csr.command("QUOTA", head=0, minimum=3, maximum=2))
    await _refused(tb, RefusalKind.QUOTA_SUM, tb.csr.command("QUOTA", head=0, minimum=least, maximum=least))
    await _refused(tb, RefusalKind.PIN_RANGE, tb.csr.command("PIN", head=config.heads))
    await tb.csr.command("QUOTA", head=1, minimum=0, maximum=2)
    await _refused(tb, RefusalKind.PIN_QUOTA, tb.csr.command("PIN", head=1))
    for block in range(config.pin_cap):
        await tb.csr.command("PIN", head=0, block=block)
    await _refused(tb, RefusalKind.PIN_CAP, tb.csr.command("PIN", head=0, block=config.pin_cap))
    assert await tb.csr.read("COMMAND_STATUS") == pack("COMMAND_STATUS", REFUSED=1, REASON=RefusalKind.PIN_CAP)
    await tb.finish()
