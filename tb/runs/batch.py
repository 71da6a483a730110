"""The batch form: a stimulus at simulator speed. `run` prepares and starts a run; the cocotb test steers it inside.

No Python runs while the simulation does, except to look at its counters now and then.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from itertools import cycle
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, First, RisingEdge, SimTimeoutError, Timer, ValueChange, with_timeout

from golden.common.messages import DevLoad
from golden.registers import rules as registers
from tb.agents.registers import Csr, Refused
from tb.interactive import PERIOD_STEPS, RESET_CLOCKS, TABLE_READY_POLL_CLOCKS, settings
from tb.runs import build
from tb.stimuli import caching
from tb.stimuli.operations import write_stimulus

__all__ = ["PROGRESS", "SLOTS", "BatchFailed", "BatchSettings", "counters", "run"]

STIMULUS = "stimulus.txt"
PROGRESS = "progress.json"
OUTCOME = "outcome.json"
#: width of a counter of the bench
COUNTER_BITS = 64
_NAMES = {registers.address(name): name for name in registers.NAMES}
#: outputs of the bench: BISnp, the most that were not answered at once, how many were, added up over the clocks;
#: BIConflicts answered before and after the completion of their request; requests that were held, and the clocks from
#: their first record to the one that let them go, all together and at most
COHERENCY = (
    "snoops", "snoops_most", "snoop_clocks_total", "conflicts_early", "conflicts_late", "held", "held_clocks",
    "held_longest",
)  # fmt: skip
#: the clock of each slot record
SLOTS = "slots.txt"
#: what the bench's `error` says (tb/hdl/player.v, tb/hdl/media.v); of tb/hdl/dropping_host.v as of the caching hosts
ERRORS = {
    1: "the stimulus cannot be opened",
    2: "the stimulus has a line that is no operation",
    3: "a response that is not due, with tag {tag}",
    4: "an AXI access that is not one line of memory",
    5: "a page command with a tag that is in use",
    6: "a page is read that was never programmed",
} | caching.ERRORS


class BatchFailed(AssertionError):
    """The run stopped: a broken protocol, no progress, or too many clocks."""


@dataclass(frozen=True)
class BatchSettings:
    """What a batch run needs besides its stimulus. Times are in clocks of 1 ns."""

    #: register writes before the start, (name, value) in order
    registers: list = field(default_factory=list)
    #: registers to read after the end
    read_back: list = field(default_factory=list)
    memory_latency: int = 20
    flash_read_clocks: int = 500
    flash_program_clocks: int = 500
    max_reads: int = 64
    max_writes: int = 32
    #: the host slows down on the load that responses say (tb/agents/throttle.py)
    throttle: bool = False
    #: 0: no port pauses; else all do, at random
    pause_seed: int = 0
    #: besides, with a seed: one port or none, chosen at random for so many clocks, pauses; 0: none does
    burst_clocks: int = 0
    #: 0: nothing fails; else so many accesses of 65,536 do, chosen by this seed: reads and writes of a line of DDR5,
    #: reads and programs of a page
    error_seed: int = 0
    read_errors: int = 0
    write_errors: int = 0
    page_read_errors: int = 0
    page_write_errors: int = 0
    #: lists of register writes as in `registers`, one list at each look at the counters, in turns; a refused write
    #: changes nothing
    rounds: list = field(default_factory=list)
    #: record the data of reads too, which the data check needs
    record_data: bool = True
    #: record the clock of each slot too; every message in full (`tb.runs.recorded.TRACE`)
    record_clocks: bool = False
    record_trace: bool = False
    #: 0, or the stimulus is played again and again, and for so many clocks only
    play_clocks: int = 0
    quiet_clocks: int = 200
    watchdog_clocks: int = 50_000
    #: clocks that one message may take; 0: any number
    message_clocks: int = 0
    #: the player's host drops what it may cache, and answers a BISnp after so many clocks
    snoop_clocks: int = 64
    #: hosts that cache and race beside the player, whose messages must then be fewer than 2^15
    hosts: caching.CachingHosts | None = None
    #: clocks between two looks at the counters
    poll_clocks: int = 100_000
    #: clocks after which the run is given up
    max_clocks: int = 1 << 31


def run(built, operations, given, folder, *, seed=None):
    """Play `operations` on a build of `bench` in `folder`; returns the outcome.

    The outcome is a dict: `clocks`, `messages`, `records`, `slowest`, the most clocks that a message took, `refused`,
    how many register writes of `rounds` were, `lines_read` and `lines_written`, what the endpoint's own accesses to
    DDR5 moved (pages not included), `loads`, the responses by the load that they say
    (`golden.common.messages.DevLoad`), `coherency`, what snoops and held requests came to, `hosts`, the
    `tb.stimuli.caching.COUNTS`, and `registers`, what was read back by name. The folder then holds the files of
    `tb/runs/recorded.py`; while it runs, progress.json there has the counters. Raises `build.SimulationFailed`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    messages = write_stimulus(folder / STIMULUS, operations)
    if given.play_clocks and not messages:
        raise ValueError("a stimulus that is played again and again must have a message")
    build.run(
        built,
        module="tb.runs.batch",
        testcase="play",
        folder=folder,
        settings=asdict(replace(given, hosts=None))
        | {"messages": messages, "signals": given.hosts.signals() if given.hosts else {}},
        seed=seed,
    )
    return json.loads((folder / OUTCOME).read_text())


def counters(folder):
    """What the run in `folder` has counted at the last look, named as in its outcome; None before the first."""
    try:
        return json.loads((Path(folder) / PROGRESS).read_text())
    except FileNotFoundError:
        return None


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
