"""The batch form: a stimulus at simulator speed. `run` prepares and starts a run; `tb/scenarios/play.py` steers it
inside.

No Python runs while the simulation does, except to look at its counters now and then.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from kv_endpoint.tb.checks.recorded import EVENTS, MESSAGES, TRACE
from kv_endpoint.tb.runs import build
from kv_endpoint.tb.stimuli import caching
from kv_endpoint.tb.stimuli.stimulus import write_stimulus

__all__ = [
    "COHERENCY", "ERRORS", "FILES", "OUTCOME", "PROGRESS", "SLOTS", "BatchFailed", "BatchSettings", "counters", "run",
]  # fmt: skip

STIMULUS = "stimulus.txt"
PROGRESS = "progress.json"
OUTCOME = "outcome.json"
#: outputs of the bench: BISnp, the most that were not answered at once, how many were, added up over the clocks;
#: BIConflicts answered before and after the completion of their request; requests that were held, and the clocks from
#: their first record to the one that let them go, all together and at most
COHERENCY = (
    "snoops", "snoops_most", "snoop_clocks_total", "conflicts_early", "conflicts_late", "held", "held_clocks",
    "held_longest",
)  # fmt: skip
#: the clock of each slot record
SLOTS = "slots.txt"
#: what a run may leave in its folder; `dump.vcd` where it has waves
FILES = (*build.RUN_FILES, STIMULUS, PROGRESS, OUTCOME, EVENTS, MESSAGES, TRACE, SLOTS, "dump.vcd")
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
    #: record the clock of each slot too; every message in full (`tb.checks.recorded.TRACE`)
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
    `tb/checks/recorded.py`; while it runs, progress.json there has the counters. Raises `build.SimulationFailed`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    messages = write_stimulus(folder / STIMULUS, operations)
    if given.play_clocks and not messages:
        raise ValueError("a stimulus that is played again and again must have a message")
    build.run(
        built,
        module="kv_endpoint.tb.scenarios.play",
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
