"""`python -m sim coverage`: which bins of `tb/checks/coverage_bins.py` runs hit, and what they reached of the Verilog.

Exit code 0: enough of the bins; 1: not enough, a bin that cannot be, or a run that failed; 2: bad input.
"""

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

from kv_endpoint.sim.coverage.runs import RUNS, play
from kv_endpoint.sim.results.folder import claimed
from kv_endpoint.sim.settings import SettingsError
from kv_endpoint.tb.checks.bins_hit import Coverage
from kv_endpoint.tb.checks.coverage_bins import GROUPS
from kv_endpoint.tb.checks.golden_endpoint import COVERAGE_FILES, COVERAGE_FOLDER
from kv_endpoint.tb.runs.build import SimulationFailed
from kv_endpoint.tb.runs.verilator_coverage import FILE, KINDS, VerilogCoverage

__all__ = ["main", "report", "verilog_report"]

FAILED = 1
BAD_INPUT = 2
#: file of the folder: points of the Verilog that were not reached
MISSED = "verilog_missed.txt"
NONE = "none"
_NAMES = tuple(run.name for run in RUNS)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")


def _share(text):
    try:
        share = float(text)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, not {text!r}")
    return share


def _runs(text):
    names = [] if text == NONE else text.split(",")
    for name in names:
        if name not in _NAMES:
            raise argparse.ArgumentTypeError(f"must be {NONE} or some of {','.join(_NAMES)}, not {name!r}")
    return names


def _parser():
    parser = _Parser(prog="python -m sim coverage", description=__doc__.splitlines()[0], allow_abbrev=False)
    option = parser.add_argument
    option("folders", nargs="*", type=Path, metavar="DIR", help="folders with coverage of other runs")
    option("--runs", type=_runs, default=_NAMES, metavar="NAMES",
           help=f"runs to play before, with commas between, or {NONE} (default: {','.join(_NAMES)})")  # fmt: skip
    option("--out", type=Path, default=Path("out/coverage"), metavar="DIR", help="folder of these runs")
    option("--seed", type=int, default=1, metavar="N", help="of these runs")
    option(
        "--verilog", action="store_true", help="line and toggle coverage of the Verilog too, of the runs of two hosts"
    )
    option("--at-least", type=_share, default=1.0, metavar="SHARE", help="of the bins (default: %(default)s)")
    return parser


def report(coverage):
    """The lines that say what was hit and what was not."""
    legal = sum(len(group.legal) for group in GROUPS.values())
    hit = legal - sum(len(coverage.missed(name)) for name in GROUPS)
    yield f"{hit} of {legal} bins hit ({hit / legal:.1%})"
    for name, group in GROUPS.items():
        missed, count = coverage.missed(name), len(group.legal)
        yield f"{name:10} {count - len(missed):4} of {count:4}  {group.meaning}"
        for names in missed:
            yield f"    missed: {' / '.join(names)}"
    for name, names, why in coverage.impossible():
        yield f"IMPOSSIBLE and hit: {name}: {' / '.join(names)} ({why})"


def verilog_report(verilog):
    """The lines that say what was reached of the Verilog, by kind and by block of the endpoint."""
    shares = {kind: verilog.shares(kind) for kind in KINDS.values()}
    yield f"{'Verilog':28}" + "".join(f"{kind:>26}" for kind in shares)
    blocks = {kind: Counter() for kind in shares}
    alls = {kind: Counter() for kind in shares}
    for kind, modules in shares.items():
        for module, (reached, count) in modules.items():
            # As in endpoint.csr.counters; a name may end in $ and a number.
            block = ".".join(module.split(".")[:2]).split("$")[0]
            for name in ("all", block):
                blocks[kind][name] += reached
                alls[kind][name] += count
    for name in sorted(set().union(*alls.values()), key=lambda name: (name != "all", name)):
        cells = (_cell(blocks[kind][name], alls[kind][name]) for kind in shares)
        yield f"{name:28}" + "".join(f"{cell:>26}" for cell in cells)


def _cell(reached, count):
    return f"{reached} of {count} {reached / count:6.1%}" if count else "-"


def main(arguments=None):
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    for folder in options.folders:
        if not folder.is_dir():
            print(f"python -m sim coverage: {folder} must be a folder", file=sys.stderr)
            return BAD_INPUT
    try:
        if not options.runs:
            return _told(options, VerilogCoverage())
        with claimed(str(options.out), [MISSED]):
            return _played(options)
    except SettingsError as error:
        print(f"python -m sim coverage: {error}", file=sys.stderr)
        return BAD_INPUT


def _played(options):
    """Play the runs and tell what came of all; the exit code. Raises `SettingsError`."""
    for file in options.out.rglob(COVERAGE_FILES):
        raise SettingsError(f"--out {options.out}: coverage of a run that did not end would count: remove {file}")
    # The processes that check the records of a run leave their coverage there.
    os.environ[COVERAGE_FOLDER] = str(options.out.resolve() / "records")
    verilog = VerilogCoverage()
    try:
        for run in RUNS:
            if run.name in options.runs:
                counted = options.verilog and run.hosts > 1
                print(f"run {run.name}: seed {options.seed}", flush=True)
                play(run, options.out / run.name, seed=options.seed, verilog=counted)
                if counted:
                    file = options.out / run.name / FILE
                    verilog.read(file)
                    file.unlink()
    except SimulationFailed as error:
        print(f"python -m sim coverage: {error}", file=sys.stderr)
        return FAILED
    return _told(options, verilog)


def _told(options, verilog):
    """Print what was hit and what was not; the exit code."""
    coverage = Coverage()
    for folder in dict.fromkeys((options.out, *options.folders)):
        for file in sorted(folder.rglob(COVERAGE_FILES)):
            coverage.add(Coverage.read(file))
    for line in report(coverage):
        print(line)
    if verilog.points:
        for line in verilog_report(verilog):
            print(line)
        missed = (f"{kind} {module} {where}" for kind in KINDS.values() for module, where in verilog.missed(kind))
        (options.out / MISSED).write_text("".join(f"{line}\n" for line in missed))
        print(f"what was not reached: {options.out / MISSED}")
    enough = coverage.share >= options.at_least and not any(coverage.impossible())
    if not enough:
        print(f"needed: at least {options.at_least:.1%} of the bins, and none that cannot be", file=sys.stderr)
    return 0 if enough else FAILED
