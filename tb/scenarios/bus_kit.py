"""cocotb tests of the bus kit against a register on a stream (tests/hdl/stream_pass.v)."""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles

from kv_endpoint.tb.lib.bus import Clocks, StreamSink, StreamSource, stalls
from kv_endpoint.tb.lib.payload import unpack

FIELDS = (("low", 8), ("high", 32))
PERIOD_STEPS = 1000


async def _start(dut, *, source_pauses=None, sink_pauses=None):
    cocotb.start_soon(Clock(dut.clk, PERIOD_STEPS, unit="step").start())
    source = StreamSource(dut, "i", dut.clk, fields=FIELDS, pauses=source_pauses)
    clocks, seen = Clocks(PERIOD_STEPS), []
    StreamSink(
        dut,
        "o",
        dut.clk,
        decode=lambda payload: unpack(FIELDS, payload),
        pauses=sink_pauses,
        callback=lambda transaction: seen.append((clocks.now, transaction)),
    )
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    return source, seen


@cocotb.test()
async def one_transaction_a_clock(dut):
    source, seen = await _start(dut)
    sent = [{"low": n, "high": n * 1000003 & 0xFFFFFFFF} for n in range(50)]
    for transaction in sent:
        source.append(transaction)
    await ClockCycles(dut.clk, 60)
    assert [transaction for _, transaction in seen] == sent
    clocks = [clock for clock, _ in seen]
    assert clocks == list(range(clocks[0], clocks[0] + 50)), f"bubbles: {clocks}"


@cocotb.test()
async def nothing_lost_or_doubled_under_stalls(dut):
    seed = cocotb.RANDOM_SEED
    cocotb.log.info("seed %s", seed)
    rng = random.Random(seed)
    source, seen = await _start(dut, source_pauses=stalls(f"{seed}/i"), sink_pauses=stalls(f"{seed}/o"))
    sent = [{"low": rng.getrandbits(8), "high": rng.getrandbits(32)} for _ in range(300)]
    for transaction in sent[:-1]:
        source.append(transaction)
    await source.send(sent[-1])
    await ClockCycles(dut.clk, 500)
    assert [transaction for _, transaction in seen] == sent
    assert seen[-1][0] - seen[0][0] > 350, "the stalls did not stall"
