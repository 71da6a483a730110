"""MXINT8 in the golden model: how much is left of a signal, of Gaussian values and of the workload's own K and V."""

import numpy as np

from kv_endpoint.golden.data.mxint8 import VALUES, compress_array, decompress_array, sqnr_db
from kv_endpoint.sim.bench.row import Row
from kv_endpoint.sim.workload.load import load
from kv_endpoint.sim.workload.steps import WorkloadError

__all__ = ["codec", "lines_of"]

BENCH = "codec"
GAUSSIAN_LINES = 20_000
SIGMAS = (0.5, 1.0, 2.0)
REQUIRED_DB = 41.6
#: of the bundled trace, token by token, as measured with a codec of another make
YARDSTICK_DB = {"attention-a": (39.9, 41.6)}


def _quality_db(values):
    return sqnr_db(values, decompress_array(*compress_array(values)))


def lines_of(values):
    """Values [token, layer, KV head, value] as lines: 32 consecutive values of one head, token by token."""
    streams = np.moveaxis(values, 0, 2).reshape(values.shape[1] * values.shape[2], -1)
    whole = streams.shape[1] // VALUES * VALUES
    return streams[:, :whole].reshape(-1, VALUES)


def codec(folder, *, workload="attention-a"):
    """Signal-to-quantisation-noise ratio of lines that are stored and read back: rows in dB."""
    rows, rng = [], np.random.default_rng(1)
    for sigma in SIGMAS:
        values = rng.normal(0, sigma, (GAUSSIAN_LINES, VALUES)).astype(np.float16)
        name = f"SQNR of Gaussian values, sigma {sigma:g}"
        rows.append(Row(BENCH, name, _quality_db(values), "dB", ">=", REQUIRED_DB))
    trace = load(workload)
    if not hasattr(trace, "kv"):
        raise WorkloadError(f"--workload {workload}: must be an attention trace, which has values of its own")
    for plane, name in enumerate("KV"):
        name = f"SQNR of {name} of {trace.name}, token by token"
        # The yardstick has one decimal.
        quality = round(_quality_db(lines_of(trace.kv[:, :, :, plane])), 1)
        yardstick = YARDSTICK_DB.get(trace.name.removesuffix(".npz"))
        required = () if yardstick is None else (">=", yardstick[plane])
        rows.append(Row(BENCH, name, quality, "dB", *required))
    return rows
