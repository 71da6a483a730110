"""A run of the RTL: the batch form in one process, the golden lock-step in another, the data check after them."""

import contextlib
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import wait

from kv_endpoint.golden.common.config import LINE_BYTES
from kv_endpoint.golden.common.messages import DevLoad
from kv_endpoint.golden.common.mode import FRAMES, Mode
from kv_endpoint.golden.events.port import EngineKind
from kv_endpoint.golden.front.address import Target, decode
from kv_endpoint.golden.host.operations import READS
from kv_endpoint.golden.registers.rules import pack
from kv_endpoint.sim.host.regions import placed
from kv_endpoint.sim.run.checker import check
from kv_endpoint.sim.run.data_check import check_messages
from kv_endpoint.sim.run.measured import Measured
from kv_endpoint.tb.checks.recorded import EVENTS, MESSAGES, TRACE
from kv_endpoint.tb.runs import batch
from kv_endpoint.tb.runs.batch import BatchSettings
from kv_endpoint.tb.runs.build import SimulationFailed
from kv_endpoint.tb.runs.tops import batch_top

__all__ = ["SimulationFailed", "pool_register", "register_writes", "run_rtl"]

#: folder of the simulator's own files below the run's
FOLDER = "simulation"
WAVES = "waves.vcd"
#: what a run writes: what it keeps, and what it needs until its end
FILES = (EVENTS, TRACE, WAVES, *(f"{FOLDER}/{name}" for name in batch.FILES))
#: clocks between two looks at the simulation: some tenths of a second
POLL_CLOCKS = {"verilator": 20_000, "icarus": 200}
WAIT_SECONDS = 0.2
_context = multiprocessing.get_context("fork")


def pool_register(mode):
    """The register that has the size of the pool of `mode`."""
    return "POOL_FRAMES_MX" if mode == Mode.MXINT8 else "POOL_FRAMES"


def register_writes(policy, frames, quotas, mode=Mode.EXACT, *, cached=False):
    """[(register, value)] that bring an endpoint from reset to one pool of `mode` in region 0, which has all heads."""
    writes = []
    if mode != Mode.EXACT or cached:
        fields = {"ENABLED": 1, "MODE": mode, "CACHED": int(cached), "HOSTS": 1}
        writes.append(("REGION[0].CTRL", pack("REGION[0].CTRL", **fields)))
    return writes + _settings_writes(policy, {mode: frames}, quotas)


def _settings_writes(policy, pools, quotas):
    """[(register, value)] of the policy, of the pools {mode: frames} and of the quotas {head: (minimum, maximum)}."""
    writes = [
        (
            "POLICY",
            pack(
                "POLICY",
                PRIORITY=policy.priority,
                SCORE=policy.score,
                PROTECT=int(policy.protect),
                BYPASS=int(policy.bypass),
            ),
        ),
        ("ALPHA", policy.alpha),
        ("LAMBDA", policy.lam),
        *((pool_register(mode), frames) for mode, frames in pools.items()),
    ]
    prefetch = {
        "ANNOUNCED": policy.prefetch_announced,
        "WINDOW": policy.prefetch_window,
        "STREAMS": policy.prefetch_streams,
    }
    if any(prefetch.values()):
        fields = {field: int(on) for field, on in prefetch.items()}
        writes.append(("PREFETCH", pack("PREFETCH", DEPTH=policy.prefetch_depth, **fields)))
    for head, (minimum, maximum) in quotas.items():
        writes += [
            ("HEAD_SELECT", head),
            ("QUOTA_MIN", minimum),
            ("QUOTA_MAX", maximum),
            ("COMMAND", pack("COMMAND", QUOTA=1)),
        ]
    return writes


def _simulate(built, operations, given, folder, seed, pipe):
    """Body of the simulating process, the leader of a group of its own so that all of it can be stopped."""
    os.setsid()
    started = time.monotonic()
    try:
        outcome = batch.run(built, operations, given, folder, seed=seed)
        pipe.send((outcome, time.monotonic() - started, None))
    except Exception as error:
        pipe.send((None, time.monotonic() - started, str(error)))


def _stop(process):
    if process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.join()


def run_rtl(
    operations, *, config, regions, policy, pools, quotas, first_step, progress, apart, simulator, timing, out, waves,
    seed, throttle, snoop_clocks, trace,
):  # fmt: skip
    """Play the operations that `operations()` gives; returns `Measured`. The first mismatch stops the simulation.

    `apart`: heads whose blocks are counted by themselves.

    Raises `tb.runs.build.SimulationFailed` where it cannot be built or does not come to its end.
    """
    progress.say(f"{simulator}: building preset {config.name}, unless it has been built before")
    built = batch_top(simulator, config, waves=waves)
    folder = out / FOLDER
    given = BatchSettings(
        registers=placed(config, regions) + _settings_writes(policy, pools, quotas),
        memory_latency=timing.ddr_clocks,
        flash_read_clocks=timing.flash_read_clocks,
        flash_program_clocks=timing.flash_program_clocks,
        max_reads=config.read_slots,
        max_writes=config.write_slots,
        throttle=throttle,
        snoop_clocks=snoop_clocks,
        record_trace=trace,
        poll_clocks=POLL_CLOCKS[simulator],
    )
    results, sent = _context.Pipe(duplex=False)
    verdicts, told = _context.Pipe(duplex=False)
    ended = _context.Event()
    simulating = _context.Process(target=_simulate, args=(built, operations(), given, folder, seed, sent))
    checking = _context.Process(target=check, args=(config, folder / EVENTS, ended, told, apart))
    progress.say(f"{simulator}: running")
    progress.start()
    try:
        simulating.start()
        checking.start()
        simulated, checked = _watch((simulating, results), (checking, verdicts), ended, folder, first_step, progress)
    finally:
        _stop(simulating)
        checking.kill()
        checking.join()
    measured = _measured(simulated, checked, operations, config, regions, folder)
    if measured.complaints:
        measured.complaints.append(f"the simulator's files are in {folder}")
    else:
        _keep(folder, out)
    return measured


def _watch(simulating, checking, ended, folder, first_step, progress):
    """Show progress until both (process, pipe) are done, or the checker has found a difference."""
    (simulator, results), (checker, verdicts) = simulating, checking
    simulated = checked = None
    step, hit_rate, count = first_step, None, 0
    while checked is None or (simulated is None and checked[-1] is None):
        dead = [process for process in (simulator, checker) if not process.is_alive()]
        ready = wait([results, verdicts], WAIT_SECONDS)
        if results in ready:
            simulated = results.recv()
            ended.set()
        elif simulator in dead and simulated is None:
            raise SimulationFailed("the simulating process died without a word")
        if verdicts in ready:
            kind, *about = verdicts.recv()
            if kind == "progress":
                step, hit_rate, count = about
            elif kind == "crash":
                raise SimulationFailed(f"the golden lock-step failed:\n{about[0]}")
            else:
                checked = about
        elif checker in dead:
            raise SimulationFailed("the process of the golden lock-step died without a word")
        counters = batch.counters(folder)
        cycles = counters["clocks"] if counters else 0
        progress.show(step=step - first_step, hit_rate=hit_rate, checked=count, cycles=cycles)
    return simulated, checked


def _keep(folder, out):
    """Keep the event log, the trace and the waves, and nothing else of the simulator's files."""
    (folder / EVENTS).replace(out / EVENTS)
    if (folder / TRACE).exists():
        (folder / TRACE).replace(out / TRACE)
    for waves in folder.glob("*.vcd"):
        waves.replace(out / WAVES)
    for name in batch.FILES:
        (folder / name).unlink(missing_ok=True)
    # What somebody else has put there stays.
    with contextlib.suppress(OSError):
        folder.rmdir()


def _page_bytes(statistics, kind, regions):
    """Bytes of the pages that notes of a kind tell of; a page of a mode is as large as a frame of it."""
    kv, *others = regions
    pages = {kv.mode: statistics.engine[kind] - statistics.others.engine[kind]}
    for region in others:
        pages[region.mode] = pages.get(region.mode, 0) + statistics.others.engine[kind]
    return sum(LINE_BYTES * FRAMES[mode].lines * count for mode, count in pages.items())


def _measured(simulated, checked, operations, config, regions, folder):
    statistics, count, victims, mismatch = checked
    outcome, seconds, error = simulated or (None, 0.0, None)
    measured = Measured(statistics, seconds, checked=count, exact_victims=victims, mismatch=mismatch)
    if error is not None:
        if mismatch is None:
            raise SimulationFailed(error)
        measured.errors["simulation"] += 1
        measured.complaints.append(error)
    if mismatch is not None:
        measured.complaints.append(f"golden lock-step: {mismatch}")
        return measured
    measured.cycles = outcome["clocks"]
    measured.port_bytes_read = LINE_BYTES * outcome["lines_read"]
    measured.port_bytes_written = LINE_BYTES * outcome["lines_written"]
    # A page goes from flash to DDR5, or back, past the endpoint.
    measured.ddr_bytes_read = measured.port_bytes_read + _page_bytes(statistics, EngineKind.PAGE_WRITE, regions)
    measured.ddr_bytes_written = measured.port_bytes_written + _page_bytes(statistics, EngineKind.PAGE_READ, regions)
    measured.coherency = outcome["coherency"]
    measured.loads = dict(zip(DevLoad, outcome["loads"], strict=True))
    for operation in operations():
        if operation.channel and decode(config, regions, operation.address).target == Target.BLOCK:
            measured.host_reads += operation.op in READS
            measured.host_writes += operation.op not in READS
    measured.reads_compared, measured.latencies, difference = check_messages(
        folder / MESSAGES, operations, config, regions
    )
    if difference is not None:
        measured.errors["read_data"] += 1
        measured.complaints.append(difference)
    return measured
