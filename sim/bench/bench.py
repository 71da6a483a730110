"""`python -m sim bench`: the numbers of the README, measured. Exit code 0: all are reached; 1: some are not."""

import argparse
import tempfile
from functools import partial
from pathlib import Path

from kv_endpoint.sim.bench.cacheable import cacheable
from kv_endpoint.sim.bench.codec import codec
from kv_endpoint.sim.bench.coherency import coherency
from kv_endpoint.sim.bench.compression import compression
from kv_endpoint.sim.bench.hit_rates import hit_rates
from kv_endpoint.sim.bench.prefetch import prefetch
from kv_endpoint.sim.bench.progress import progress
from kv_endpoint.sim.bench.regress import regress
from kv_endpoint.sim.bench.resident import resident_reads
from kv_endpoint.sim.bench.row import write_rows
from kv_endpoint.sim.bench.speed import speed
from kv_endpoint.sim.bench.streams import layer_replay, prefix_replay, weights
from kv_endpoint.sim.bench.volume import lock_step
from kv_endpoint.sim.run.run import RunFailed
from kv_endpoint.sim.settings import SettingsError
from kv_endpoint.sim.workload.steps import WorkloadError
from kv_endpoint.tb.runs.build import SimulationFailed

__all__ = ["BENCHES", "main"]

#: short ones first
BENCHES = {
    "codec": codec,
    "resident_reads": resident_reads,
    "compression": compression,
    "coherency": coherency,
    "prefix_replay": prefix_replay,
    "layer_replay": layer_replay,
    "weights": weights,
    "speed": speed,
    "lock_step": lock_step,
    "hit_rates": hit_rates,
    "cacheable": cacheable,
    "progress": progress,
    "regress": regress,
    "prefetch": prefetch,
}
#: those that --workload is for
OF_WORKLOAD = ("codec", "prefetch")
#: those that --seed and --seeds are for
OF_SEED = ("regress",)
BAD_INPUT = 2
FAILED = 1


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")


def main(arguments=None):
    """Run the benches; returns the exit code."""
    parser = _Parser(prog="python -m sim bench", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--only", nargs="+", choices=BENCHES, metavar="NAME", help=f"of {', '.join(BENCHES)}")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help=f"first seed of {' and '.join(OF_SEED)}")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="how many seeds in a row")
    parser.add_argument("--workload", metavar="PATH", help=f"another workload for {' and '.join(OF_WORKLOAD)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to a file too")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the files of the runs there (some 100 MB)")
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error(f"--seeds {options.seeds}: must be at least 1")
    if options.json is not None and not options.json.resolve().parent.is_dir():
        parser.error(f"--json {options.json}: must be a file in a folder that exists")
    if options.json is not None and options.json.is_dir():
        parser.error(f"--json {options.json}: must be a file, not a folder")

    rows, broken = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        for name in options.only or BENCHES:
            bench = BENCHES[name]
            print(f"{name}: {bench.__doc__.splitlines()[0]}", flush=True)
            if options.workload is not None and name in OF_WORKLOAD:
                bench = partial(bench, workload=options.workload)
            if name in OF_SEED:
                bench = partial(bench, seed=options.seed, seeds=options.seeds)
            try:
                measured = bench(folder / name)
            except (SettingsError, WorkloadError) as error:
                parser.error(error)
            except (RunFailed, SimulationFailed, OSError) as error:
                broken.append(name)
                print(f"FAILED    {name}: {error}", flush=True)
                continue
            rows += measured
            for row in measured:
                print(f"  {row.text()}", flush=True)
            print(f"  command: {measured[0].command}", flush=True)
    if options.json is not None:
        write_rows(options.json, rows, broken)
    missed = sum(row.verdict == "FAILED" for row in rows)
    print(f"{len(rows)} numbers, {missed} not reached, {len(broken)} benches broken")
    return FAILED if missed or broken else 0
