"""The command line: `python -m sim run` and `waves`; `bench` is in `sim/bench/bench.py`, `trace` in
`sim/trace/trace.py`, `coverage` in `sim/coverage/coverage.py`.

Exit code 0: as it should be; 1: a mismatch or an error; 2: bad input.
"""

import argparse
import shlex
import signal
import sys
from importlib import import_module
from pathlib import Path

from kv_endpoint import __version__
from kv_endpoint.golden.common.config import PRESETS, ConfigError, preset
from kv_endpoint.sim.results.report import summary
from kv_endpoint.sim.results.results import NAME, failed
from kv_endpoint.sim.run.run import ENGINES, RunFailed, prepare
from kv_endpoint.sim.run.tools import require_extra
from kv_endpoint.sim.settings import (
    ANNOUNCE,
    MODES,
    POOLS,
    PREFETCH,
    PRIORITIES,
    SCORES,
    STREAM_ORDERS,
    Settings,
    SettingsError,
)
from kv_endpoint.sim.workload.load import digest, load
from kv_endpoint.sim.workload.steps import WorkloadError

__all__ = ["main"]

BAD_INPUT = 2
FAILED = 1
INTERRUPTED = 130
#: commands that need the RTL's tools -> the module that has them
OF_RTL = {
    "bench": "kv_endpoint.sim.bench.bench",
    "coverage": "kv_endpoint.sim.coverage.coverage",
    "trace": "kv_endpoint.sim.trace.trace",
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")


def _switch(text):
    if text not in ("on", "off"):
        raise argparse.ArgumentTypeError(f"must be on or off, not {text!r}")
    return text == "on"


def _whole(text):
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None


def _number(text):
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None


def _parser():
    default = Settings()
    parser = _Parser(prog="python -m sim", description="Simulate the endpoint on a workload.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"kv-endpoint {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    style = {"formatter_class": argparse.ArgumentDefaultsHelpFormatter, "allow_abbrev": False}
    what = "run a workload and check every decision of the RTL against the golden model"
    run = commands.add_parser("run", help=what, **style)
    _add_options(run, default)
    run.add_argument("--waves", action="store_true", help="write a VCD file too (large, slow)")
    run.add_argument("--trace", action="store_true", help="record every message, for: python -m sim trace")
    waves = commands.add_parser("waves", help="a short run as waves that people can read", **style)
    _add_options(waves, default)
    # Few frames, a prefill and announcements, so that a few steps show every block at work.
    waves.set_defaults(
        out="out/waves", steps=24, frames_share=0.0625, prefill=64, prefetch="all", announce_lead=200, waves=True
    )
    waves.set_defaults(trace=False)
    commands.add_parser("coverage", help="what runs of hosts that cache lines have seen (long)", add_help=False)
    commands.add_parser("trace", help="show the messages of a run that had --trace", add_help=False)
    commands.add_parser("bench", help="measure the numbers of the README (long)", add_help=False)
    return parser


def _add_options(command, default):
    option = command.add_argument
    option("--workload", default="attention-a", metavar="PATH", help="attention trace (.npz) or access trace (.csv, "
           ".csv.gz), or the name of a bundled one")  # fmt: skip
    option("--preset", default="small", metavar="NAME", help=f"size of the block: {', '.join(PRESETS)}")
    option("--simulator", default="verilator", choices=ENGINES, help="what runs; golden: the model alone, no clocks")
    option("--priority", default=default.priority, choices=PRIORITIES, help="which block leaves first")
    option("--pool", default=default.pool, choices=POOLS, help="one pool of frames, or a fixed share a head")
    option("--announce", default=default.announce, choices=ANNOUNCE, help="when hints are sent")
    option("--announce-lead", type=_whole, default=default.announce_lead, metavar="CLOCKS",
           help="what the host waits between the answers to its hints and its reads")  # fmt: skip
    option("--mode", default=default.mode, choices=MODES, help="how blocks are stored; mxint8 is lossy")
    option("--prefetch", default=default.prefetch, choices=PREFETCH, help="what is fetched ahead of its read")
    option("--prefill", type=_whole, default=default.prefill, metavar="TOKENS",
           help="so many tokens of an attention trace arrive in chunks before it decodes")  # fmt: skip
    option("--prefill-chunk", type=_whole, default=default.prefill_chunk, metavar="TOKENS", help="tokens of a chunk")
    option("--stream-order", default=default.stream_order, choices=STREAM_ORDERS,
           help="which way stream descriptors go, and a chunk of prefill reads: along each head, or with a block from "
           "head to head, layer after layer")  # fmt: skip
    option("--weights", type=_whole, default=default.weights, metavar="BLOCKS",
           help="blocks of weights a layer, written once and read in order and in full in every step, in heads and "
           "frames of their own")  # fmt: skip
    option("--frames-share", type=_number, default=default.frames_share, metavar="SHARE",
           help="frames a head as a share of the workload's blocks a head, at least 2 frames")  # fmt: skip
    option("--score", default=default.score, choices=SCORES, help="what a block's score is fed with")
    option("--alpha", type=_number, default=default.alpha, help="weight of a new score")
    option("--gain", type=_number, default=default.gain, help="a hint's score is mass x blocks / gain")
    option("--coverage", type=_number, default=default.coverage, metavar="SHARE",
           help="share of the attention mass that a step reads")  # fmt: skip
    option("--bypass", type=_switch, default="on", metavar="on|off", help="serve poor blocks past the pool")
    option("--protect", type=_switch, default="on", metavar="on|off", help="keep announced blocks until they are read")
    option("--throttle", type=_switch, default="off", metavar="on|off", help="the host slows down under reported load")
    option("--cacheable", type=_number, default=default.cacheable, metavar="SHARE",
           help="share of the reads after which the host may hold the line (MemRd Meta0 S)")  # fmt: skip
    option("--snoop-clocks", type=_whole, default=default.snoop_clocks, metavar="CLOCKS",
           help="what the host takes to answer a BISnp")  # fmt: skip
    option("--lines-per-read", type=_whole, default=default.lines_per_read, metavar="N",
           help="lines that one read of a block fetches, spread over it, another set each step")  # fmt: skip
    option(
        "--renumber", action="store_true", help="count the layers and KV heads of an access trace anew, without gaps"
    )
    option(
        "--idle-heads", action="store_true", help="an access trace may leave out heads, which get frames all the same"
    )
    option("--out", default="out", metavar="DIR", help="folder of the results")
    option("--seed", type=_whole, default=default.seed, metavar="N", help="of the payload that the workload lacks")
    option("--steps", type=_whole, metavar="N", help="take only the first N steps")


def _prepare(options, out, arguments):
    fields = Settings.__dataclass_fields__
    settings = Settings(**{name: value for name, value in vars(options).items() if name in fields})
    return prepare(
        config=preset(options.preset),
        workload=load(options.workload, renumber=options.renumber, idle_heads=options.idle_heads),
        settings=settings,
        simulator=options.simulator,
        out=out,
        waves=options.waves,
        trace=options.trace,
        source={
            "command": shlex.join(["python", "-m", "sim", *arguments]),
            "workload": options.workload,
            "workload_sha256": digest(options.workload),
        },
    )


def main(arguments=None):
    """Run the command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments

    def fail(code, message):
        print(f"python -m sim: {message}", file=sys.stderr)
        return code

    if arguments and arguments[0] in OF_RTL:
        try:
            require_extra(arguments[0], "rtl")
        except SettingsError as error:
            return fail(BAD_INPUT, error)
        # Here, since only these commands need Amaranth and cocotb, which take a second to import.
        return import_module(OF_RTL[arguments[0]]).main(arguments[1:])
    options = _parser().parse_args(arguments)

    # A run has children of its own to stop, so being terminated is to be interrupted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.command == "waves":
            require_extra("waves", "rtl")
            from kv_endpoint.sim.trace.waves import write_waves

            complaints = write_waves(lambda out: _prepare(options, out, arguments), preset(options.preset), options.out)
            failure = bool(complaints)
        else:
            run = _prepare(options, options.out, arguments)
            for note in run.notes:
                print(note, flush=True)
            result, complaints = run.execute()
            print(summary(result))
            print(f"results in {Path(run.out) / NAME}")
            failure = failed(result)
    except (ConfigError, SettingsError, WorkloadError) as error:
        return fail(BAD_INPUT, error)
    except RunFailed as error:
        return fail(FAILED, error)
    except OSError as error:
        return fail(BAD_INPUT, f"--out {options.out}: {error.strerror}")
    except KeyboardInterrupt:
        return fail(INTERRUPTED, "interrupted: no result was written")
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return FAILED if failure else 0
