"""cocotb tests of the interactive agents against a stand-in for the endpoint (tests/hdl/endpoint.v)."""

import json
import random
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles, Combine

from kv_endpoint.golden.front.address import encode
from kv_endpoint.tb.agents.registers import Refused
from kv_endpoint.tb.interactive import TB, configured
from kv_endpoint.tb.lib.cocotb_run import PERIOD_STEPS, settings
from kv_endpoint.tb.lib.watchdog import Stuck, Watchdog
from kv_endpoint.tb.stimuli.random_traffic import random_operations

#: the stand-in's registers: the one that breaks a rule, and the one that says the mode of pages
FAULT_REGISTER = "LEAP_CAP"
MODE_REGISTER = "PREFETCH"


def _bench(dut, **more):
    given = settings()
    return TB(dut, configured(), seed=given.get("seed", 0), share=given.get("share", 0.0), **more), given


@cocotb.test()
async def coroutines(dut):
    """Reads, writes and partial writes from many coroutines at once, with the data checked."""
    tb, given = _bench(dut)
    await tb.start()
    rng = random.Random(given["seed"])
    region = tb.host.regions[0]

    async def one(number):
        for _ in range(given["messages"]):
            address = encode(tb.config, region, number % 4, rng.randrange(4), rng.randrange(3))
            await tb.host.write(address, rng.getrandbits(512))
            await tb.host.write_partial(address, rng.getrandbits(512), rng.getrandbits(64))
            assert (await tb.host.read(address)).drs == 0

    await Combine(*(cocotb.start_soon(one(number)) for number in range(4)))
    await tb.finish()
    assert tb.host.image.checked == 4 * given["messages"]
    assert tb.flash.programs and tb.flash.reads == tb.flash.programs


@cocotb.test()
async def registers(dut):
    """Registers by name; an error response is raised."""
    tb, _ = _bench(dut)
    await tb.start()
    await tb.csr.write("ALPHA", 0x1234)
    assert await tb.csr.read_fields("ALPHA") == {"VALUE": 0x1234}
    await tb.csr.write("POLICY", PRIORITY=2, BYPASS=1)
    assert await tb.csr.read("POLICY") == 0x202
    try:
        await tb.csr.write("ID", 1)
    except Refused as refusal:
        assert "ID" in str(refusal)
    else:
        raise AssertionError("SLVERR was not raised")


@cocotb.test(expect_error=Stuck)
async def one_message_waits(dut):
    """A message that is never answered, while others are."""
    tb, _ = _bench(dut)
    watchdog = Watchdog(PERIOD_STEPS, limit=50, oldest=lambda: "the one")
    for _ in range(1000):
        await ClockCycles(tb.dut.clk, 20)
        watchdog.moved()


@cocotb.test()
async def play(dut):
    """A stimulus by the batch form's rules; what it gave goes to a file."""
    tb, given = _bench(
        dut,
        memory_latency=settings().get("memory_latency", 20),
        flash_read_clocks=70,
        flash_program_clocks=90,
        watchdog_clocks=2000,
    )
    await tb.start()
    if given.get("fault"):
        await tb.csr.write(FAULT_REGISTER, given["fault"])
    await tb.csr.write(MODE_REGISTER, given.get("mode", 0))
    operations = random_operations(
        tb.config,
        tb.host.regions[0],
        seed=given["seed"],
        steps=3,
        accesses=given["messages"],
        blocks=3,
        hints=False,
        waits=given.get("waits", 0.0),
    )
    await tb.host.play(
        operations, max_reads=given["max_reads"], max_writes=given["max_writes"], throttle=given.get("throttle", False)
    )
    await tb.finish()
    # The recorder writes the NDR of a clock first.
    responses = sorted(tb.host.responses, key=lambda response: (response[1], response[0] == "drs"))
    seen = {
        "records": [[int(lane), fields] for lane, fields in tb.scoreboard.records],
        "responses": [[channel, latency, fields] for channel, _, latency, fields in responses],
    }
    Path("seen.json").write_text(json.dumps(seen))
