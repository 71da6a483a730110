"""cocotb tests: what random traffic of hosts that cache hardly ever comes to."""

import cocotb
from cocotb.triggers import ClockCycles

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.common.messages import BIRspOpcode, NDROpcode
from kv_endpoint.golden.front.address import encode
from kv_endpoint.tb.agents.caching_host import MESSAGES
from kv_endpoint.tb.checks.coherent_image import Mesi
from kv_endpoint.tb.lib.cocotb_run import settings
from kv_endpoint.tb.scenarios.coherency import coherent_bench
from kv_endpoint.tb.stimuli.faults import MediaFaults

#: clocks in which a snoop of every set of the filter is on its way
RECALL_CLOCKS = 300
#: an advance of the step counter that no hint may make
FAR_STEPS = 1 << 15


@cocotb.test()
async def corners(dut):
    """Two hosts; a host that is asked keeps what it may, and says so in block form."""
    tb = await coherent_bench(dut, settings() | {"manners": {"keep": 1.0, "block": 1.0}})
    first, second = tb.caches
    sector = [encode(tb.config, tb.host.regions[0], 1, 2, line) for line in range(SECTOR_LINES)]

    # Four lines that a host owns, and keeps when another one reads what they hold.
    for address in sector:
        await tb.cache_agent.request(0, Access.READ_OWN, address)
    await tb.cache_agent.request(1, Access.READ_CURRENT, sector[0])
    assert tb.protocol.counts["birsp", BIRspOpcode.E_BLK] == 1
    assert all(first.state(address) == Mesi.E for address in sector)

    # A host that shares a line cannot write it back.
    await tb.cache_agent.request(1, Access.READ_SHARED, sector[1])
    before = tb.coherent.memory(sector[1])
    for access in (Access.WRITE_BACK, Access.WRITE_KEEP):
        dropped = await tb.host.raw("rwd", **MESSAGES[access], checked=False, address=sector[1], data=6, ld_id=1)
        assert dropped.ndr == NDROpcode.CMP
    assert await tb.csr.read("NOT_OWNER") == 2
    assert (await tb.cache_agent.request(0, Access.READ_CURRENT, sector[1])).contents == before

    # A host gives up a line that it does not hold, while the one that does is asked for it.
    await tb.cache_agent.request(1, Access.READ_OWN, sector[2])
    await tb.cache_agent.request(1, Access.READ_SHARED, sector[2] ^ SECTOR_LINES)
    second.snoops.muted = lambda tag: True
    await tb.csr.write("COHERENCY", RECALL_ALL=1)
    await ClockCycles(dut.clk, RECALL_CLOCKS)
    asked = [
        cocotb.start_soon(tb.host.raw("req", **MESSAGES[Access.FORGET], checked=False, address=address, ld_id=0))
        for address in (sector[2], sector[2] ^ SECTOR_LINES)
    ]
    await ClockCycles(dut.clk, RECALL_CLOCKS)
    assert await tb.csr.read("HELD_REQUESTS") == len(asked)
    await tb.csr.write("COHERENCY", RECALL_ALL=0)
    second.snoops.muted = lambda tag: False
    for each in asked:
        assert (await each).ndr == NDROpcode.CMP

    # Hints of a block that the head cannot have, and of a step that is too far ahead
    await tb.host.hint(0, 1, [(0, 1)])
    await tb.host.hint(0, 1, [(tb.config.blocks_per_head, 1)])
    await tb.host.hint(0, FAR_STEPS, [(0, 1)])
    assert await tb.csr.read("HINTS_MALFORMED") == await tb.csr.read("HINTS_STALE") == 1
    await tb.finish()


@cocotb.test()
async def writes_without_flash(dut):
    """Writes of blocks that get no frame, since no page can be written any more, are completed and dropped."""
    faults = MediaFaults(seed=1, PAGE_WRITE=1.0)
    tb = await coherent_bench(dut, settings(), unwritable_allowed=True, **faults.arguments)
    region = tb.host.regions[0]
    for number in range(tb.config.blocks):
        head, block = divmod(number, tb.config.blocks_per_head)
        address = encode(tb.config, region, head, block, number)
        answer = await tb.host.raw("rwd", **MESSAGES[Access.WRITE_THROUGH], checked=False, address=address, data=number)
        assert answer.ndr == NDROpcode.CMP
    refused = await tb.csr.read("UNWRITABLE")
    assert 0 < refused < tb.config.blocks - await tb.csr.read("POOL_FRAMES")
    assert (await tb.csr.read_fields("ERROR"))["FLASH_UNWRITABLE"]
    await tb.finish()
