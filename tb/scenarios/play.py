"""The cocotb test of the batch form: steers one run of the bench, whose agents are Verilog."""

import json
from itertools import cycle
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, First, RisingEdge, SimTimeoutError, Timer, ValueChange, with_timeout

from kv_endpoint.golden.common.messages import DevLoad
from kv_endpoint.golden.registers import rules as registers
from kv_endpoint.tb.agents.registers import Csr, Refused
from kv_endpoint.tb.lib.cocotb_run import PERIOD_STEPS, RESET_CLOCKS, TABLE_READY_POLL_CLOCKS, settings
from kv_endpoint.tb.runs.batch import COHERENCY, ERRORS, OUTCOME, PROGRESS, BatchFailed, BatchSettings
from kv_endpoint.tb.stimuli import caching

#: width of a counter of the bench
COUNTER_BITS = 64
_NAMES = {registers.address(name): name for name in registers.NAMES}


def _counters(dut):
    return {
        "clocks": int(dut.clock.value),
        "issued": int(dut.issued.value),
        "answered": int(dut.answered.value),
        "records": int(dut.records.value),
        "slowest": int(dut.slowest.value),
        "lines_read": int(dut.lines_read.value),
        "lines_written": int(dut.lines_written.value),
        "loads": [int(dut.loads.value) >> COUNTER_BITS * level & (1 << COUNTER_BITS) - 1 for level in DevLoad],
        "coherency": {name: int(getattr(dut, name).value) for name in COHERENCY},
        "hosts": caching.counts_of(int(dut.hosts_counts.value)),
    }


def _write_json(path, value):
    """Whole files only: whoever polls never reads half of one."""
    temporary = Path(f"{path}.new")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


def _check(dut, given):
    """Raises `BatchFailed` if the run has stopped for a reason other than its end."""
    code = int(dut.error.value)
    if code:
        raise BatchFailed(f"clock {int(dut.clock.value)}: {ERRORS[code].format(tag=int(dut.error_tag.value))}")
    if dut.stuck.value == 1:
        raise BatchFailed(
            f"no response and no record for {given.watchdog_clocks} clocks; the oldest message has tag "
            f"{int(dut.oldest.value)}, {int(dut.answered.value)} are answered"
        )
    if dut.overdue.value == 1:
        raise BatchFailed(
            f"clock {int(dut.clock.value)}: the message with tag {int(dut.oldest.value)} has waited for "
            f"{given.message_clocks} clocks; {int(dut.answered.value)} are answered"
        )
    if int(dut.clock.value) > given.max_clocks:
        raise BatchFailed(
            f"not at its end after {given.max_clocks} clocks; {int(dut.answered.value)} messages are answered"
        )


async def _write_round(csr, writes, given):
    """Write registers under way; returns how many writes were refused."""
    refused = 0
    for name, value in writes:
        try:
            await with_timeout(csr.write(name, value), given.watchdog_clocks * PERIOD_STEPS, "step")
        except Refused:
            refused += 1
        except SimTimeoutError:
            raise BatchFailed(f"the write of {name} has had no answer for {given.watchdog_clocks} clocks") from None
    return refused


async def _write_of_stimulus(dut, csr, written):
    """Write the register that the stimulus has come to, its `written`-th; the player goes on then."""
    name = _NAMES[int(dut.register_address.value)]
    try:
        await csr.write(name, int(dut.register_data.value))
    except Refused as refusal:
        raise BatchFailed(f"stimulus: {refusal} was refused") from None
    dut.registers_written.value = written


@cocotb.test()
async def play(dut):
    """One batch run; its settings are in the run's folder."""
    read = settings()
    messages, signals = read.pop("messages"), read.pop("signals")
    given = BatchSettings(**read)
    cocotb.start_soon(Clock(dut.clk, PERIOD_STEPS, unit="step").start())
    csr = Csr(dut, dut.clk)
    dut.start.value = dut.registers_written.value = 0
    for name in (
        "max_reads", "max_writes", "throttle", "memory_latency", "flash_read_clocks", "flash_program_clocks",
        "pause_seed", "burst_clocks", "record_data", "record_clocks", "record_trace", "play_clocks", "quiet_clocks",
        "watchdog_clocks", "message_clocks", "error_seed", "read_errors", "write_errors", "page_read_errors",
        "page_write_errors", "snoop_clocks",
    ):  # fmt: skip
        getattr(dut, name).value = int(getattr(given, name))
    for name in caching.INPUTS:
        getattr(dut, name).value = signals.get(name, 0)
    dut.rst.value = 1
    await ClockCycles(dut.clk, RESET_CLOCKS)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 2)
    while not (await csr.read_fields("STATUS"))["TABLE_READY"]:
        await ClockCycles(dut.clk, TABLE_READY_POLL_CLOCKS)
    for name, value in given.registers:
        try:
            await csr.write(name, value)
        except Refused as refusal:
            raise BatchFailed(f"register settings: {refusal} was refused") from None
    dut.start.value = 1

    ends = [RisingEdge(dut.done), RisingEdge(dut.stuck), RisingEdge(dut.overdue), ValueChange(dut.registers)]
    rounds = cycle(given.rounds)
    refused = written = 0
    while dut.done.value != 1:
        if int(dut.registers.value) == written:
            await First(*ends, Timer(given.poll_clocks * PERIOD_STEPS, unit="step"))
        await ClockCycles(dut.clk, 2)
        if int(dut.registers.value) != written:
            written += 1
            await _write_of_stimulus(dut, csr, written)
            continue
        _check(dut, given)
        _write_json(PROGRESS, _counters(dut) | {"messages": messages})
        if dut.done.value != 1:
            refused += await _write_round(csr, next(rounds, ()), given)
    outcome = _counters(dut) | {"refused": refused}
    if given.play_clocks:
        messages = outcome["issued"]
    elif signals:
        messages += outcome["hosts"]["issued"]
    if outcome["answered"] != messages:
        raise BatchFailed(f"{outcome['answered']} of {messages} messages were answered")
    outcome["registers"] = {name: await csr.read(name) for name in given.read_back}
    _write_json(OUTCOME, outcome | {"messages": messages})
