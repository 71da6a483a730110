"""How fast each way of running is: clocks and records a second, and how they compare within this run."""

import time

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.registers.rules import reset_regions
from kv_endpoint.sim.bench.batch import clocks_per_second
from kv_endpoint.sim.bench.row import Row
from kv_endpoint.sim.run.checker import Checker
from kv_endpoint.sim.run.run import prepare
from kv_endpoint.sim.settings import Settings
from kv_endpoint.sim.workload.load import load
from kv_endpoint.tb.checks.recorded import EVENTS
from kv_endpoint.tb.runs.batch import BatchSettings
from kv_endpoint.tb.runs.batch import run as run_batch
from kv_endpoint.tb.runs.build import run as run_tests
from kv_endpoint.tb.runs.tops import batch_top, interactive_top
from kv_endpoint.tb.scenarios.endpoint import FLASH_CLOCKS
from kv_endpoint.tb.stimuli.random_traffic import random_operations

__all__ = ["speed"]

BENCH = "speed"
WORKLOAD = "attention-a"
WORKLOAD_STEPS = 100
#: random traffic at `tiny`; the longer one where a run of the shorter takes less than a second
TRAFFIC = {"seed": 1, "steps": 4, "accesses": 120, "blocks": 6}
LONGER = TRAFFIC | {"steps": 100}
POOL_FRAMES = 8


def _batch(simulator, config, traffic, folder):
    given = BatchSettings(registers=[("POOL_FRAMES", POOL_FRAMES)], poll_clocks=10_000, **FLASH_CLOCKS)
    operations = random_operations(config, reset_regions(config)[0], **traffic)
    run_batch(batch_top(simulator, config), operations, given, folder)
    return clocks_per_second(folder)


def _interactive(simulator, config, folder):
    settings = TRAFFIC | {"preset": config.name, "pool_frames": POOL_FRAMES}
    built = interactive_top(simulator, config)
    run_tests(
        built, module="kv_endpoint.tb.scenarios.endpoint", testcase="random_traffic", folder=folder, settings=settings
    )
    return clocks_per_second(folder)


def _golden(folder):
    """Records a second of the golden model alone, and of the lock-step on records that are there already."""
    config, workload, settings = preset("small"), load(WORKLOAD), Settings(steps=WORKLOAD_STEPS)
    common = {"config": config, "workload": workload, "settings": settings, "waves": False}
    alone, _ = prepare(**common, simulator="golden", out=folder / "golden").execute()
    prepare(**common, simulator="verilator", out=folder / "checked").execute()
    checker = Checker(config)
    started = time.monotonic()
    checker.run(folder / "checked" / EVENTS, lambda: True, lambda: None)
    return alone["events"] / alone["provenance"]["wall_seconds"], checker.checked / (time.monotonic() - started)


def speed(folder):
    """Clocks a second of both forms on both simulators, records a second of the golden model: rows."""
    config = preset("tiny")
    rates = {
        "Verilator, batch": _batch("verilator", config, LONGER, folder / "verilator-batch"),
        "Verilator, interactive": _interactive("verilator", config, folder / "verilator-interactive"),
        "Icarus, batch": _batch("icarus", config, TRAFFIC, folder / "icarus-batch"),
        "Icarus, interactive": _interactive("icarus", config, folder / "icarus-interactive"),
    }
    fastest = rates["Verilator, batch"]
    rows = [Row(BENCH, f"tiny: {name}", rate, "clocks/s") for name, rate in rates.items()]
    rows += [
        Row(BENCH, f"tiny: Verilator, batch, to {name}", fastest / rate, "times")
        for name, rate in rates.items()
        if rate is not fastest
    ]
    alone, lock_step = _golden(folder)
    return [
        *rows,
        Row(BENCH, "small: golden model alone", alone, "records/s"),
        Row(BENCH, "small: golden lock-step", lock_step, "records/s"),
    ]
