"""`python -m tests.formal`: every proof, as a table. Exit code 0: all hold."""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.formal.proofs import PROOFS
from tests.formal.prove import ProofError, prove

__all__ = ["main"]

FOLDER = Path("build/formal")


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
    parser.add_argument("--json", metavar="FILE", help="write the table to a file too")
    options = parser.parse_args(arguments)
    known = {proof.name: proof for proof in PROOFS}
    unknown = [name for name in options.only or () if name not in known]
    if unknown:
        parser.error(f"--only {' '.join(unknown)}: must be of {', '.join(known)}")
    chosen = [known[name] for name in options.only] if options.only else PROOFS
    chosen = [proof for proof in chosen if proof.short or not options.short]
    started, rows = time.monotonic(), []
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
            rows.append(
                {
                    "proof": proof.name, "says": proof.says, "properties": proof.properties,
                    "method": proof.method.value, "depth": proof.depth, "seconds": seconds, "holds": holds,
                }
            )  # fmt: skip
    failed = sum(not row["holds"] for row in rows)
    print(f"{len(rows)} proofs, {failed} without success, {time.monotonic() - started:.0f} s")
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
