"""Where a result comes from, besides its seed and its input: program, revision, date and machine.

Nothing here names a user or a host.
"""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from kv_endpoint import __version__

__all__ = ["provenance", "revision"]

#: the checkout, or the folder that an installed package lies in
ROOT = Path(__file__).resolve().parents[2]
CPUINFO = Path("/proc/cpuinfo")


def revision(root=ROOT):
    """The commit of the checkout at `root`, with `-dirty` where files differ from it; None outside of one."""
    if not (root / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return described.stdout.strip() or None


def _processor():
    """The processor's name as Linux tells it, else what Python knows."""
    if CPUINFO.is_file():
        for line in CPUINFO.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def provenance():
    """{name: value}; `date` is UTC, to the second."""
    return {
        "version": __version__,
        "revision": revision(),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
