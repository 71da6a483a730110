"""cocotb tests of what snoops that are never answered cost the traffic beside them.

Settings, besides those of `tb/scenarios/coherency.py`: `reads` in a measurement; `one_set`: all of them meet one set of
the filter; `cause`, why the endpoint asks again and again: `nothing` (it does not), `recall`, a request that needs the
frame of a covered block, `scrub`, copies that differ from memory, or `recall_all`, the register. The file `pace.json`
then holds the clocks that the reads took.
"""

import json
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles

from kv_endpoint.golden.coherency.filter import set_of
from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK, Access
from kv_endpoint.golden.events.port import EngineKind, Lane
from kv_endpoint.golden.front.address import encode
from kv_endpoint.golden.host.operations import read, write
from kv_endpoint.tb.lib.cocotb_run import settings
from kv_endpoint.tb.scenarios.coherency import coherent_bench

#: the head that wants a frame, and how many it may have
HEAD, FRAMES = 0, 2
#: clocks until a cause shows
CAUSE_CLOCKS = 2000


def _lines(tb, *, one_set):
    """A line of each sector of a block of other heads, so few that all their sidecar rows stay in the cache."""
    config, region = tb.config, tb.host.regions[0]
    block, lines = 0, []
    for head in range(HEAD + 1, HEAD + 3):
        for local in range(SECTORS_PER_BLOCK):
            sector = (head * config.blocks_per_head + block) * SECTORS_PER_BLOCK + local
            if not one_set or set_of(config, sector) == 0:
                lines.append(encode(config, region, head, block, local * SECTOR_LINES))
    return lines


async def _cause(tb, cause):
    """Has the endpoint ask for lines, and nobody answer. Returns the request that waits for it, None if none does."""
    region, agent = tb.host.regions[0], tb.caches[0].snoops
    cold, *held = (encode(tb.config, region, HEAD, block, 0) for block in range(FRAMES + 1))
    await tb.csr.command("QUOTA", head=HEAD, minimum=0, maximum=FRAMES)
    for address in (cold, *held):
        await tb.cache_agent.request(0, Access.WRITE_THROUGH, address, data=0)
    for address in (*held, held[0] + 1):
        await tb.cache_agent.request(0, Access.READ_OWN, address)
    agent.muted = lambda tag: True
    waiting = None
    if cause == "recall":
        waiting = cocotb.start_soon(tb.cache_agent.request(0, Access.READ_SHARED, cold))
    elif cause == "scrub":
        # The second copy becomes stale while its sector is asked for the first one, and has to wait for it.
        for address in (held[0], held[0] + 1):
            tb.caches[0].store(address, 0)
            await tb.cache_agent.request(0, Access.WRITE_KEEP, address)
            await ClockCycles(tb.dut.clk, CAUSE_CLOCKS)
    elif cause == "recall_all":
        await tb.csr.write("COHERENCY", RECALL_ALL=1)
    await ClockCycles(tb.dut.clk, CAUSE_CLOCKS)
    assert bool(agent.open) == (cause != "nothing")
    return waiting


@cocotb.test()
async def reads_beside_a_snoop_that_is_never_answered(dut):
    given = settings()
    tb = await coherent_bench(dut, given)
    lines = _lines(tb, one_set=given["one_set"])
    waiting = await _cause(tb, given["cause"])
    # The blocks get frames; what is read was never written, so that memory sets no pace.
    await tb.host.play([write(line + 1, 0) for line in lines])
    await tb.host.play([read(line) for line in lines])
    start = tb.clocks.now
    await tb.host.play(read(lines[number % len(lines)]) for number in range(given["reads"]))
    clocks = tb.clocks.now - start
    assert waiting is None or not waiting.done()
    asked = [
        fields["kind"]
        for lane, fields in tb.scoreboard.records
        if lane == Lane.ENGINE and fields["kind"] in (EngineKind.BI_RECALL, EngineKind.BI_SCRUB)
    ]
    assert bool(asked) == (given["cause"] != "nothing")
    tb.log.info("%d clocks", clocks)
    Path("pace.json").write_text(json.dumps({"clocks": clocks}))
    await tb.csr.write("COHERENCY", RECALL_ALL=0)
    tb.caches[0].snoops.muted = lambda tag: False
    if waiting is not None:
        await waiting
    await tb.finish()
