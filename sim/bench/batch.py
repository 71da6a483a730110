"""Batch runs as the benches need them: with the golden lock-step in a process beside the simulator, and timed."""

import multiprocessing
import threading
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from kv_endpoint.sim.results.statistics import Statistics
from kv_endpoint.sim.run.checker import Checker
from kv_endpoint.tb.checks.recorded import EVENTS, MESSAGES
from kv_endpoint.tb.runs import batch
from kv_endpoint.tb.runs.build import SimulationFailed

__all__ = ["LockStep", "clocks_per_second", "run_checked"]

#: seconds between two looks at a run's counters
WATCH_SECONDS = 0.2
_context = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class LockStep:
    """What the golden lock-step said of a run; `observer` is what it was given, after the last record."""

    checked: int
    mismatch: str | None
    statistics: Statistics
    observer: object


def _check(config, path, ended, observer, pipe):
    """Body of the process: sends a `LockStep`, or the text of a traceback."""
    try:
        checker = Checker(config, observer=observer)
        checker.run(path, ended.is_set, lambda: None)
        pipe.send(LockStep(checker.checked, checker.mismatch, checker.statistics, observer))
    except Exception:
        pipe.send(traceback.format_exc())


@contextmanager
def _watched(folder, watch):
    """Meanwhile, call `watch` with the counters of the run in `folder`, in a thread."""
    ended = threading.Event()

    def look():
        while not ended.wait(WATCH_SECONDS):
            counters = batch.counters(folder)
            if counters is not None:
                watch(counters)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()


def run_checked(built, config, operations, given, folder, *, seed=None, observer=None, watch=lambda counters: None):
    """Play `operations` and compare every record meanwhile; returns (outcome of the run, `LockStep`).

    `observer(lane, fields)`, if given, sees every record that was found right; `watch(counters)` is called now and then
    with what `tb.runs.batch.counters` says. Raises `SimulationFailed`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (EVENTS, MESSAGES, batch.PROGRESS):
        (folder / name).unlink(missing_ok=True)
    verdicts, told = _context.Pipe(duplex=False)
    ended = _context.Event()
    checking = _context.Process(target=_check, args=(config, folder / EVENTS, ended, observer, told))
    checking.start()
    told.close()
    try:
        with _watched(folder, watch):
            outcome = batch.run(built, operations, given, folder, seed=seed)
            ended.set()
            verdict = verdicts.recv()
    except EOFError:
        raise SimulationFailed("the process of the golden lock-step has died") from None
    finally:
        checking.kill()
        checking.join()
    if isinstance(verdict, str):
        raise SimulationFailed(f"the golden lock-step failed:\n{verdict}")
    return outcome, verdict


def clocks_per_second(folder):
    """Clocks of 1 ns a second that the cocotb test of a run in `folder` took, without the start of the simulator."""
    case = ElementTree.parse(Path(folder) / "results.xml").getroot().find(".//testcase")
    values = {node.get("name"): node.get("value") for node in case.iter("property")}
    return float(values["sim_time_duration"]) / float(case.get("time"))
