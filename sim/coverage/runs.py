"""Runs for coverage: hosts that cache and race, in the batch form, with every message recorded."""

from dataclasses import dataclass, replace

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.front.address import hint_address
from kv_endpoint.golden.front.hints import pack_hint
from kv_endpoint.golden.host.operations import wait, write
from kv_endpoint.golden.host.regions import regions_writes
from kv_endpoint.golden.registers.rules import pack, reset_regions
from kv_endpoint.sim.bench.batch import run_checked
from kv_endpoint.tb.checks.bins_hit import Coverage
from kv_endpoint.tb.checks.golden_endpoint import COVERAGE_FILES
from kv_endpoint.tb.checks.recorded import TRACE
from kv_endpoint.tb.runs.batch import BatchSettings
from kv_endpoint.tb.runs.build import SimulationFailed
from kv_endpoint.tb.runs.tops import batch_top
from kv_endpoint.tb.stimuli.caching import Action, CachingHosts

__all__ = ["RUNS", "CoverageRun", "play"]

#: clocks that a message may take
PATIENCE = 200_000
STEP_CLOCKS = 1500
#: clocks between two changes of COHERENCY: usually nothing is asked back, now and then everything
RECALL_CLOCKS = 20_000
TIMEOUT = 2000


@dataclass(frozen=True)
class CoverageRun:
    """`hosts` of the build, `mode` of the cached region; with several hosts they share it.

    `more`: other fields of `CachingHosts`, `batch`: of `BatchSettings`. `recalls`: RECALL_ALL is set now and then.
    """

    name: str
    hosts: int
    mode: Mode
    requests: int
    more: dict
    batch: dict
    recalls: bool = False


#: few lines, which hosts meet on, and shares in favour of what hosts do to each other
_MEETING = {"blocks": 4, "lines": 8, "block_step": 1}
_OWNERS = {"shares": {**CachingHosts(1, 0, 1).shares, Action.READ_CURRENT: 24, Action.READ_OWN: 40, Action.OWN: 20}}
#: clean lines are given up while they are asked for
_GIVING = {"shares": {**CachingHosts(1, 0, 1).shares, Action.FORGET: 60, Action.READ_OWN: 60}}
_PAUSES = {"pause_seed": 7, "burst_clocks": 300}

RUNS = (
    CoverageRun("shared", 2, Mode.EXACT, 30_000, {"blocks": 32, "block_step": 2, "snoop_max": 400}, {}),
    CoverageRun("meeting", 2, Mode.EXACT, 25_000, _MEETING | _OWNERS | {"snoop_max": 400}, {}, recalls=True),
    CoverageRun("stalled", 2, Mode.EXACT, 30_000, _MEETING | _GIVING | {"link_max": 200}, _PAUSES, recalls=True),
    CoverageRun("alone", 1, Mode.EXACT, 15_000, {"blocks": 32, "block_step": 2}, _PAUSES, recalls=True),
    CoverageRun("lossy", 1, Mode.MXINT8, 25_000, _MEETING | {"snoop_max": 400}, {}, recalls=True),
)


def _hints(config, region, steps):
    """Steps that announce a few blocks of a head, in turns."""
    for step in range(1, steps + 1):
        head = region.first_head + step % region.heads
        blocks = sorted({(step + 3 * i) % config.blocks_per_head for i in range(5)})
        yield write(hint_address(config, region, head), pack_hint(step, [(block, 1000) for block in blocks]))
        yield wait(STEP_CLOCKS)


def _settings(run, config, region, seed):
    hosts = CachingHosts(
        **{"requests": run.requests, "base": 0, "lines": 8, "seed": seed, "snoop_max": 100, "link_max": 60}
        | {"shared": run.hosts > 1}
        | run.more
    )
    rest = [pack("COHERENCY", TIMEOUT=TIMEOUT)] * 5
    rounds = [[("COHERENCY", word)] for word in (*rest, pack("COHERENCY", TIMEOUT=TIMEOUT, RECALL_ALL=1))]
    return BatchSettings(
        registers=[
            *regions_writes((region, *reset_regions(config)[1:])),
            *((name, config.pool_frames_min_cached) for name in ("POOL_FRAMES", "POOL_FRAMES_MX")),
            ("COHERENCY", TIMEOUT),
        ],
        rounds=rounds if run.recalls else [],
        poll_clocks=RECALL_CLOCKS,
        flash_read_clocks=100,
        flash_program_clocks=150,
        hosts=hosts,
        record_data=False,
        record_trace=True,
        message_clocks=PATIENCE,
        watchdog_clocks=PATIENCE,
        **run.batch,
    )


def play(run, folder, *, seed, verilog):
    """Play a run in `folder`, which then holds its coverage. With `verilog` it leaves Verilator's coverage too.

    The records are counted by whom they are checked by, if the environment says so (`tb.checks.golden_endpoint`).
    Raises `SimulationFailed`.
    """
    config = preset("tiny", hosts=run.hosts)
    region = replace(reset_regions(config)[0], cached=True, hosts=(1 << run.hosts) - 1, mode=run.mode)
    given = _settings(run, config, region, seed)
    built = batch_top("verilator", config, coverage=verilog)
    outcome, verdict = run_checked(built, config, _hints(config, region, run.requests // 500), given, folder, seed=seed)
    if verdict.mismatch is not None:
        raise SimulationFailed(f"coverage run {run.name}, seed {seed}: {verdict.mismatch}")
    coverage = Coverage()
    coverage.read_trace(folder / TRACE)
    coverage.conflicts(outcome["hosts"]["early"], outcome["hosts"]["late"])
    coverage.write(folder / f"messages{COVERAGE_FILES[1:]}")
    for file in folder.iterdir():
        if file.suffix == ".txt":
            file.unlink()
    return outcome
