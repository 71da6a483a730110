"""Workloads: what the host does, step by step, read from a file and checked before anything runs.

Any defect is refused with the file, the line or the array element, the value and the rule; nothing is guessed.
"""

import hashlib
from pathlib import Path

from kv_endpoint.sim.workload.access_trace import load_accesses
from kv_endpoint.sim.workload.attention_trace import load_attention
from kv_endpoint.sim.workload.steps import WorkloadError

__all__ = ["BUNDLED", "check_fits", "digest", "load"]

BUNDLED = Path(__file__).parents[1] / "data"
#: the step counter refuses to advance this far before its end
COUNTER_MARGIN = 1 << 16


def _path_of(name):
    """The file `name`, or the bundled one of that name. Raises `WorkloadError`."""
    path = Path(name)
    bundled = {file.stem: file for file in sorted(BUNDLED.glob("*.npz"))}
    if not path.exists():
        path = bundled.get(name.removesuffix(".npz"))
        if path is None:
            raise WorkloadError(f"workload {name!r}: must be a file that exists, or bundled: {', '.join(bundled)}")
    if not path.is_file():
        raise WorkloadError(f"workload {name!r}: must be a file, not a directory or a device")
    return path


def digest(name):
    """SHA-256 of the file that `load(name)` reads, in hexadecimal digits. Raises `WorkloadError`, OSError."""
    return hashlib.sha256(_path_of(name).read_bytes()).hexdigest()


def load(name, *, renumber=False, idle_heads=False):
    """The workload in file `name`, or the bundled one of that name. Raises `WorkloadError`.

    `renumber`, `idle_heads`: what `load_accesses` does about layers and heads that an access trace leaves out.
    """
    try:
        path = _path_of(name)
        if path.name.endswith(".npz"):
            for option, given in (("--renumber", renumber), ("--idle-heads", idle_heads)):
                if given:
                    raise WorkloadError(f"{option}: must be left out with an attention trace, which has all its heads")
            return load_attention(path)
        if path.name.endswith((".csv", ".csv.gz")):
            return load_accesses(path, renumber=renumber, idle_heads=idle_heads)
    except OSError as error:
        raise WorkloadError(f"workload {name!r}: cannot be read: {error.strerror or error}") from None
    raise WorkloadError(f"{path}: must end in .npz (attention trace), .csv or .csv.gz (access trace)")


def check_fits(workload, config):
    """Raise `WorkloadError` unless the preset holds the workload."""
    for what, value, limit in (
        ("heads", workload.heads, config.heads),
        ("blocks per head", workload.blocks, config.blocks_per_head),
        ("steps from first to last", workload.last_step, (1 << config.step_bits) - COUNTER_MARGIN - 2),
    ):
        if value > limit:
            raise WorkloadError(f"workload {workload.name}: {value} {what}: preset {config.name!r} holds {limit}")
