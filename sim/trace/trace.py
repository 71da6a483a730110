"""`python -m sim trace DIR`: the messages of a run with --trace, one a line, with the states of their lines.

Exit code 0: shown; 1: the records differ from the golden model, and states are missing from there on; 2: bad input.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from kv_endpoint.golden.common.config import ConfigError, preset
from kv_endpoint.sim.results.results import NAME
from kv_endpoint.sim.trace.rows import Filter, rows, write_csv
from kv_endpoint.tb.checks.recorded import EVENTS, TRACE, read_trace
from kv_endpoint.tb.lib.record_order import SequenceError

__all__ = ["main", "table"]

FAILED = 1
BAD_INPUT = 2
_COLUMNS = ("clock", "channel", "opcode", "host", "address", "block", "tag", "before", "after", "about")
EPILOG = (
    "States, a letter for each line of the sector: I, S, A as in MetaValue, T a copy that memory would not give back; "
    "a dot: not concerned. A request's states are those before its first slot and after its last one."
)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")


def _number(text):
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, such as 64 or 0x40, not {text!r}") from None


def _parser():
    parser = _Parser(prog="python -m sim trace", description=__doc__.splitlines()[0], epilog=EPILOG, allow_abbrev=False)
    option = parser.add_argument
    option("folder", type=Path, metavar="DIR", help="folder of a run with --trace")
    option("--line", type=_number, metavar="ADDR", help="only of the line with this host physical address")
    option("--tag", type=_number, metavar="N", help="only requests with this tag, and their responses")
    option("--bi-tag", type=_number, metavar="N", help="only snoops with this BITag, and their answers")
    option("--first", type=_number, metavar="CLOCK", help="from this clock on")
    option("--last", type=_number, metavar="CLOCK", help="up to this clock")
    option("--csv", type=Path, metavar="FILE", help="write the same as a table too")
    option("--preset", metavar="NAME", help="of the run, where the folder has no results")
    option("--hosts", type=_number, default=1, metavar="N", help="of the run")
    return parser


def _cells(row):
    """A row's texts, column by column."""
    where = "" if row.head is None else f"{row.head}/{row.block}/{row.line}"
    tag = f"BI {row.bi_tag}" if row.bi_tag is not None else "" if row.tag is None else str(row.tag)
    address = "" if row.address is None else f"{row.address:#x}"
    return (
        str(row.clock),
        row.channel,
        row.opcode,
        str(row.host),
        address,
        where,
        tag,
        row.before,
        row.after,
        row.about,
    )


def table(made):
    """The lines of text of rows, under a line of headings."""
    lines = [_COLUMNS, *map(_cells, made)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _config(options):
    """The configuration of the run. Raises OSError, `ConfigError`, ValueError."""
    if options.preset:
        return preset(options.preset, hosts=options.hosts)
    result = json.loads((options.folder / NAME).read_text())
    name = result.get("preset") if isinstance(result, dict) else None
    if not isinstance(name, str):
        raise ValueError(f"{NAME} must be an object that names its preset")
    return preset(name, hosts=options.hosts)


def main(arguments=None):
    """Show a trace; returns the exit code."""
    options = _parser().parse_args(arguments)

    def fail(message):
        print(f"python -m sim trace: {message}", file=sys.stderr)
        return BAD_INPUT

    try:
        config = _config(options)
        made, mismatch = rows(config, options.folder / EVENTS, read_trace(options.folder / TRACE))
        wanted = Filter(options.line, options.tag, options.bi_tag, options.first, options.last)
        chosen = [row for row in made if wanted(row)]
        if options.csv is not None:
            write_csv(options.csv, chosen)
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}; {options.folder} must be the folder of a run with --trace")
    except ConfigError as error:
        return fail(error)
    except (ValueError, KeyError, SequenceError, RecursionError) as error:
        return fail(f"{options.folder}: is not as a run leaves it: {error}")
    try:
        for line in table(chosen):
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough; what is still in the buffer must not complain at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if mismatch is not None:
        print(f"records and golden model differ, states end there: {mismatch}", file=sys.stderr)
        return FAILED
    return 0
