"""Random lines of FP16 values: what a KV cache holds, and now and then what it should not."""

import struct

from kv_endpoint.golden.data.mxint8 import VALUES

__all__ = ["random_line"]

_FORMAT = f"<{VALUES}e"
_LARGEST = 65504.0
#: rounds to the smallest subnormals and zeros
_LEAST_EXPONENT = -26
_INFINITY = float("inf")
#: parts of all lines: zeros alone (as often of both signs), one value far above the others, a NaN or an infinity
ZEROS = 0.05
OUTLIER = 0.1
NOT_FINITE = 0.03


def random_line(rng):
    """A line as an integer: Gaussian values at a random scale, subnormal ones and saturating ones included, or a rare
    special one. `rng` is a `random.Random`.
    """
    kind = rng.random()
    if kind < ZEROS:
        return _pack([rng.choice((0.0, -0.0)) for _ in range(VALUES)])
    scale = 2.0 ** rng.choice((0, 0, 0, rng.randint(_LEAST_EXPONENT, 15)))
    values = [max(-_LARGEST, min(_LARGEST, rng.gauss(0, scale))) for _ in range(VALUES)]
    place = rng.randrange(VALUES)
    if kind < ZEROS + OUTLIER:
        values[place] = rng.choice((-_LARGEST, _LARGEST, 1000.0))
    elif kind < ZEROS + OUTLIER + NOT_FINITE:
        values[place] = rng.choice((float("nan"), _INFINITY, -_INFINITY))
    return _pack(values)


def _pack(values):
    return int.from_bytes(struct.pack(_FORMAT, *values), "little")
