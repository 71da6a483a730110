"""Workloads: what the host does, step by step, read from a file and checked before anything runs.

Any defect is refused with the file, the line or the array element, the value and the rule; nothing is guessed.
"""

from pathlib import Path

from kv_endpoint.sim.workload.access_trace import load_accesses
from kv_endpoint.sim.workload.attention_trace import load_attention
from kv_endpoint.sim.workload.steps import WorkloadError

__all__ = ["BUNDLED", "check_fits", "load"]

BUNDLED = Path(__file__).parents[1] / "data"
#: the step counter refuses to advance this far before its end
COUNTER_MARGIN = 1 << 16


def load(name):
    """The workload in file `name`, or the bundled one of that name. Raises `WorkloadError`."""
    path = Path(name)
    bundled = {file.stem: file for file in sorted(BUNDLED.glob("*.npz"))}
    try:
        if not path.exists():
            path = bundled.get(name.removesuffix(".npz"))
            if path is None:
                raise WorkloadError(f"workload {name!r}: must be a file that exists, or bundled: {', '.join(bundled)}")
        if not path.is_file():
            raise WorkloadError(f"workload {name!r}: must be a file, not a directory or a device")
        if path.name.endswith(".npz"):
            return load_attention(path)
        if path.name.endswith((".csv", ".csv.gz")):
            return load_accesses(path)
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
