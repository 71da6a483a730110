"""Breaks the RTL on purpose, one mutation at a time, and checks that the regression notices.

`python -m tests.mutants` applies each mutation of `tests/mutants/mutations.py` to a copy of the sources and runs the
tests that are to kill it; a survivor is a missing test, and makes the exit code 1. Verdicts are kept under
build/mutants with a hash of the sources, so that a run that was interrupted goes on where it stopped. `--only NAME`
runs some.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from kv_endpoint.sim.bench.row import Row, write_rows
from kv_endpoint.tb.runs.cache import link_builds
from tests.mutants.mutations import MUTATIONS
from tests.support.paths import ROOT

__all__ = ["MutationError", "Verdict", "apply", "run_mutation", "run_unmutated", "main"]

FOLDER = ROOT / "build" / "mutants"
BENCH, COMMAND = "mutants", "make mutants"
SOURCES = (
    "kv_endpoint",
    "golden",
    "hw",
    "tb",
    "sim",
    "tests",
    "docs",
    "scripts",
    "pyproject.toml",
    "constraints.txt",
    "README.md",
    "Makefile",
    "LICENSE",
)
#: of them, what no mutation changes and no verdict depends on
PROSE = ("docs", "README.md", "LICENSE")
#: the copy of the sources without a mutation, on which every test must pass
UNMUTATED = "unmutated"
#: seconds after which a mutant that hangs the regression counts as killed
TIMEOUT = 1800
#: what a mutant raises that was not built at all: such a failure proves nothing about the tests
BROKEN = (
    "SyntaxError",
    "NameError",
    "UnboundLocalError",
    "ImportError",
    "AttributeError",
    "TypeError",
    "DriverConflict",
)


class MutationError(Exception):
    """A mutation that does not fit the sources any more, makes no RTL, or is noticed by no check."""


@dataclass(frozen=True)
class Verdict:
    """`by`: the first test that failed and how, or what happened instead."""

    killed: bool
    seconds: float
    by: str


def apply(mutation, root):
    """Apply `mutation` to the sources below `root`. Its text must stand there exactly once."""
    path = root / mutation.file
    text = path.read_text()
    found = text.count(mutation.old)
    if found != 1:
        raise MutationError(f"{mutation.name}: {mutation.old!r} must stand once in {mutation.file}, not {found} times")
    path.write_text(text.replace(mutation.old, mutation.new))


def _copy_sources(target):
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)


def _run_tests(target, tests):
    """(exit code of pytest, seconds, its summary of the first failure) in a copy of the sources."""
    # COLUMNS: pytest cuts its summary to the width of the terminal.
    environment = os.environ | {"PYTHONPATH": str(target), "COLUMNS": "400"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=target, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return 1, TIMEOUT, "timeout"
    # 1: tests failed. 0: passed. Anything else means that the tests did not run.
    if done.returncode not in (0, 1):
        raise MutationError(f"pytest ended with {done.returncode}: {done.stdout[-2000:]}")
    # One space: the lines of a log, which pytest shows as well, pad ERROR to a column.
    failed = [line for line in done.stdout.splitlines() if re.match(r"(FAILED|ERROR) \S", line)]
    return done.returncode, time.monotonic() - started, failed[0] if failed else "all passed"


def run_mutation(mutation, folder=FOLDER):
    """The verdict on a mutation, reached in a copy of the sources below `folder`. Raises MutationError."""
    target = folder / mutation.name
    _copy_sources(target)
    apply(mutation, target)
    # Most mutations leave most builds as they are; what a mutant builds goes with its copy. How a simulation is built
    # does not show in its name.
    if not mutation.file.startswith("tb/runs/"):
        link_builds(target)
    code, seconds, by = _run_tests(target, mutation.tests)
    reason = by.partition(" - ")[2]
    if by.startswith("ERROR") or reason.split(":")[0].rpartition(".")[2] in BROKEN:
        raise MutationError(f"{mutation.name}: no check: {by}")
    shutil.rmtree(target)
    return Verdict(code == 1, seconds, by)


def run_unmutated(mutations, folder=FOLDER):
    """Run every test of `mutations` on a copy without a mutation. Raises MutationError for one that fails there."""
    target = folder / UNMUTATED
    _copy_sources(target)
    link_builds(target)
    code, seconds, by = _run_tests(target, sorted({test for mutation in mutations for test in mutation.tests}))
    if code:
        raise MutationError(f"the sources without a mutation: {by}")
    shutil.rmtree(target)
    return seconds


def _sources_hash():
    digest = hashlib.sha256()
    for name in (source for source in SOURCES if source not in PROSE):
        paths = sorted((ROOT / name).rglob("*")) if (ROOT / name).is_dir() else [ROOT / name]
        for path in paths:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _verdict_of(future, mutation):
    try:
        return future.result()
    except MutationError as error:
        return Verdict(False, 0.0, str(error))


def main(arguments=None, mutations=MUTATIONS, folder=FOLDER):
    """Run the command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these mutations")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at once (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write how many were killed, and the time, to a file")
    options = parser.parse_args(arguments)
    names = [mutation.name for mutation in mutations]
    for name in options.only or ():
        if name not in names:
            parser.error(f"--only {name!r}: must be one of {', '.join(names)}")
    chosen = [mutation for mutation in mutations if not options.only or mutation.name in options.only]

    folder.mkdir(parents=True, exist_ok=True)
    verdicts_file = folder / "verdicts.json"
    sources = _sources_hash()
    kept = json.loads(verdicts_file.read_text()) if verdicts_file.exists() else {}
    if kept.get("sources") != sources:
        kept = {"sources": sources, "killed": {}}
    verdicts = {name: Verdict(**verdict) for name, verdict in kept["killed"].items()}
    open_mutations = [mutation for mutation in chosen if mutation.name not in verdicts]
    print(f"{len(chosen) - len(open_mutations)} killed before, {len(open_mutations)} to run", flush=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        # A test that fails anyway would seem to kill everything.
        unmutated = pool.submit(run_unmutated, open_mutations, folder) if open_mutations else None
        futures = {pool.submit(run_mutation, mutation, folder): mutation for mutation in open_mutations}
        for number, future in enumerate(concurrent.futures.as_completed(futures), 1):
            mutation = futures[future]
            verdicts[mutation.name] = verdict = _verdict_of(future, mutation)
            word = "killed" if verdict.killed else "SURVIVED"
            print(f"[{number}/{len(futures)}] {mutation.name}: {word} in {verdict.seconds:.0f} s", flush=True)
            kept["killed"] = {name: asdict(verdict) for name, verdict in verdicts.items() if verdict.killed}
            verdicts_file.write_text(json.dumps(kept, indent=2))

    if unmutated is not None:
        try:
            print(f"without a mutation all tests pass, in {unmutated.result():.0f} s")
        except MutationError as error:
            print(error)
            verdicts_file.unlink(missing_ok=True)
            return 1
    survivors = [mutation for mutation in chosen if not verdicts[mutation.name].killed]
    print(f"{'mutation':<40} {'seconds':>7}  killed by")
    for mutation in chosen:
        verdict = verdicts[mutation.name]
        by = verdict.by.removeprefix("FAILED ").partition(" - ")[0] if verdict.killed else "nothing"
        print(f"{mutation.name:<40} {verdict.seconds:>7.0f}  {by}")
    for mutation in survivors:
        print(f"{mutation.name} survived: {mutation.why}: {verdicts[mutation.name].by}")
    killed = len(chosen) - len(survivors)
    print(f"{killed} of {len(chosen)} mutants killed")
    if options.json:
        seconds = round(sum(verdicts[mutation.name].seconds for mutation in chosen))
        write_rows(
            options.json,
            [
                Row(
                    BENCH,
                    "mutations that the regression notices",
                    killed,
                    f"of {len(chosen)}",
                    "=",
                    len(chosen),
                    COMMAND,
                ),
                Row(BENCH, f"time of their tests, {options.jobs} at once, added up", seconds, "s", command=COMMAND),
            ],
        )
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
