"""What every cocotb run shares: the settings it was given, the clock, and the reset."""

import json
from pathlib import Path

__all__ = ["PERIOD_STEPS", "RESET_CLOCKS", "TABLE_READY_POLL_CLOCKS", "settings"]

#: simulation steps (picoseconds) of a clock: 1 ns
PERIOD_STEPS = 1000
RESET_CLOCKS = 4
TABLE_READY_POLL_CLOCKS = 50


def settings():
    """The settings that `tb.runs.build.run` was given for this run."""
    return json.loads(Path("settings.json").read_text())
