"""The simulations that many tests share, built before the first of them: `python -m tests.support.builds`.

Each test would build what it lacks, too. But then the others of the same build would wait beside it, and a test would
seem to take a minute that is the compiler's.
"""

import concurrent.futures
import multiprocessing
import os
import sys
import time

from kv_endpoint.golden.common.config import preset
from kv_endpoint.tb.runs.tops import batch_top, interactive_top

__all__ = ["BUILDS", "main"]

#: (form, preset, its overrides), the longest first; two that share the endpoint's Verilog apart from each other
BUILDS = (
    ("bench", "small", {}),
    ("endpoint", "tiny", {}),
    ("endpoint", "tiny", {"hosts": 2}),
    ("bench", "tiny", {}),
    ("bench", "tiny", {"hosts": 2}),
)
_TOPS = {"bench": batch_top, "endpoint": interactive_top}


def _build(form, name, overrides):
    """Seconds that a build takes, or that it takes to find it."""
    started = time.monotonic()
    _TOPS[form]("verilator", preset(name, **overrides))
    return time.monotonic() - started


def main():
    """Make or find each of `BUILDS`, as many at once as there are cores; one line each. Raises `SimulationFailed`."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        futures = {pool.submit(_build, *build): build for build in BUILDS}
        for number, future in enumerate(concurrent.futures.as_completed(futures), 1):
            form, name, overrides = futures[future]
            about = "".join(f", {key} {value}" for key, value in overrides.items())
            print(f"build {number} of {len(BUILDS)}: {form} of {name}{about}: {future.result():.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
