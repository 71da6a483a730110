"""`python -m tests.formal`: every proof, as a table. Exit code 0: all hold."""

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kv_endpoint.sim.bench.row import Row, write_rows
from tests.formal.proofs import PROOFS
from tests.formal.prove import ProofError, prove

__all__ = ["main"]

FOLDER = Path("build/formal")
BENCH, COMMAND = "formal", "make formal"


def _judged(proof):
    try:
        result = prove(proof, FOLDER)
    except ProofError as error:
        return proof, None, 0.0, str(error)
    return proof, result.holds, result.seconds, result.report


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.formal", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these proofs")
    parser.add_argument("--short", action="store_true", help="run those that are part of the regression")
    parser.add_argument("--jobs", type=int, default=2, help="proofs at once (default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table to a file too")
    options = parser.parse_args(arguments)
    known = {proof.name: proof for proof in PROOFS}
    unknown = [name for name in options.only or () if name not in known]
    if unknown:
        parser.error(f"--only {' '.join(unknown)}: must be of {', '.join(known)}")
    chosen = [known[name] for name in options.only] if options.only else PROOFS
    chosen = [proof for proof in chosen if proof.short or not options.short]
    started, held, rows = time.monotonic(), 0, []
    print(f"{'proof':<28} {'properties':<14} {'method':<14} {'seconds':>7}  result", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        for proof, holds, seconds, report in pool.map(_judged, chosen):
            verdict = {True: "holds", False: "VIOLATED", None: "NO VERDICT"}[holds]
            method = f"{proof.method.value} {proof.depth}"
            print(
                f"{proof.name:<28} {proof.properties:<14} {method:<14} {seconds:>7.1f}  {verdict}: {proof.says}",
                flush=True,
            )
            if report:
                print(report, flush=True)
            held += holds is True
            rows.append(Row(BENCH, f"{proof.name}: {proof.says}", round(seconds, 1), "s", command=COMMAND))
    elapsed = time.monotonic() - started
    print(f"{len(chosen)} proofs, {len(chosen) - held} without success, {elapsed:.0f} s")
    if options.json:
        total = f"all of them, {options.jobs} at once"
        write_rows(
            options.json,
            [
                Row(BENCH, "proofs and traces that hold", held, f"of {len(chosen)}", "=", len(chosen), COMMAND),
                Row(BENCH, total, round(elapsed), "s", command=COMMAND),
                *rows,
            ],
        )
    return 0 if held == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
