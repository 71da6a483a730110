"""`python -m kv_endpoint.sim.bench.measured FILE...`: `docs/measured.md` anew, with the rows of these files.

A file is what `--json` of `make bench`, `make regress`, `make formal` or `make mutants` has written. Its rows replace
all older rows of the same benches. `docs/measured.json` keeps the rows; the page is made of it alone.
"""

import argparse
import json
import sys
from pathlib import Path

from kv_endpoint.sim.bench.row import number

__all__ = ["KEPT", "PAGE", "main", "merged", "page"]

DOCS = Path(__file__).resolve().parents[2] / "docs"
KEPT = DOCS / "measured.json"
PAGE = DOCS / "measured.md"
BAD_INPUT = 2
HEADER = """# What was measured

Made by `make measured` from the rows of other commands: see `sim/bench/measured.py`.
Each section is one bench. Its command measures the numbers again.
A number without a bound is only reported.
"""


def merged(kept, measured):
    """The benches of `kept`, {name: {"provenance", "rows"}}, with those of the contents of a file in their place.

    Raises ValueError where a bench of the file was broken: its rows would be those of part of it.
    """
    if measured["broken"]:
        raise ValueError(f"broken: {', '.join(measured['broken'])}")
    benches = dict(kept)
    fresh = {}
    for row in measured["rows"]:
        fresh.setdefault(row["bench"], []).append(row)
    for bench, rows in fresh.items():
        benches[bench] = {"provenance": measured["provenance"], "rows": rows}
    return dict(sorted(benches.items()))


def page(benches):
    """The text of the page."""
    sections = [HEADER]
    for name, bench in benches.items():
        source, rows = bench["provenance"], bench["rows"]
        lines = [
            f"## {name}",
            "",
            f"- command: `{rows[0]['command']}`",
            f"- revision: `{source['revision']}`",
            f"- date: {source['date']}",
            f"- machine: {source['processor']}, {source['cores']} cores, {source['system']}, Python {source['python']}",
            "",
            "| what | measured | unit | bound | |",
            "|---|---|---|---|---|",
        ]
        for row in rows:
            bound, verdict = row["required"] or "", "" if row["verdict"] == "reported" else row["verdict"]
            lines.append(f"| {row['name']} | {number(row['measured'])} | {row['unit']} | {bound} | {verdict} |")
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


def main(arguments=None, kept=KEPT, target=PAGE):
    """Run the command; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m kv_endpoint.sim.bench.measured", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what --json of a command has written")
    options = parser.parse_args(arguments)
    benches = json.loads(kept.read_text()) if kept.exists() else {}
    for path in options.files:
        try:
            benches = merged(benches, json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"{path}: no rows of a bench: {error}", file=sys.stderr)
            return BAD_INPUT
    kept.write_text(json.dumps(benches, indent=1) + "\n")
    target.write_text(page(benches))
    return 0


if __name__ == "__main__":
    sys.exit(main())
