"""MXINT8: a line of 32 FP16 values as 32 INT8 elements with one scale byte, lossy.

Values as in OCP Microscaling Formats (MX) v1.0: e = floor(log2 max |v|), element = round(v x 64 / 2^e), nearest, ties
to even, saturated to +-127 (the format's -128 is not used, so that both signs are alike), scale byte e + 127 (E8M0); a
value reads as element x 2^(e - 6). No subnormal is flushed: e goes down to -24. -0 reads as +0.

What a line reads as is exact in FP16 and compresses to the same bytes again. Value i of a line is bits 16 i to 16 i +
15, element i bits 8 i to 8 i + 7, two's complement. `hw/data/mxint8/codec.py` computes the same bits. Functions named
`..._array` are the same for NumPy arrays, whose last axis is a line.
"""

import math
import struct

import numpy as np

__all__ = [
    "VALUES", "ZERO", "POISONED", "NOT_FINITE", "SCALE_MIN", "SCALE_MAX", "ELEMENT_MAX", "NAN", "compress",
    "compress_array", "decompress", "decompress_array", "sqnr_db",
]  # fmt: skip

#: FP16 values of a line
VALUES = 32
#: scale of a line of zeros, and of a line never written: whatever its elements are
ZERO = 0x00
#: scale of a poisoned line: set by the owner of the scales, never by `compress`
POISONED = 0xFE
#: scale of a line that held a NaN or an infinity
NOT_FINITE = 0xFF
_BIAS = 127
#: e + 127 where the largest value of a line is the smallest subnormal, and where it is the largest number
SCALE_MIN = _BIAS - 24
SCALE_MAX = _BIAS + 15
ELEMENT_MAX = 127
#: what each value of a line without readable elements reads as: the quiet NaN of FP16 with no payload
NAN = 0x7E00

_VALUES_FORMAT = f"<{VALUES}e"
_ELEMENTS_FORMAT = f"<{VALUES}b"
_NAN_LINE = sum(NAN << 16 * i for i in range(VALUES))


def compress(line):
    """(scale, elements) of a line. Elements are 0 where the scale is `ZERO` or `NOT_FINITE`."""
    values = struct.unpack(_VALUES_FORMAT, line.to_bytes(2 * VALUES, "little"))
    if not all(map(math.isfinite, values)):
        return NOT_FINITE, 0
    largest = max(map(abs, values))
    if not largest:
        return ZERO, 0
    exponent = math.frexp(largest)[1] - 1
    rounded = (round(math.ldexp(value, 6 - exponent)) for value in values)
    elements = (max(-ELEMENT_MAX, min(ELEMENT_MAX, element)) for element in rounded)
    return exponent + _BIAS, int.from_bytes(struct.pack(_ELEMENTS_FORMAT, *elements), "little")


def compress_array(values):
    """(scales as uint8, elements as int8) of FP16 values."""
    values = np.asarray(values, np.float16).astype(np.float64)
    finite = np.isfinite(values).all(axis=-1)
    values = np.where(finite[..., None], values, 0.0)
    largest = np.abs(values).max(axis=-1)
    exponents = np.frexp(largest)[1] - 1
    elements = np.clip(np.rint(np.ldexp(values, 6 - exponents[..., None])), -ELEMENT_MAX, ELEMENT_MAX)
    scales = np.where(finite, np.where(largest > 0, exponents + _BIAS, ZERO), NOT_FINITE)
    return scales.astype(np.uint8), elements.astype(np.int8)


def decompress(scale, elements):
    """The line that a scale and its elements read as; NaNs for every scale that is neither `ZERO` nor of a number.

    For each pair that `compress` gives the result is exact. No other is ever read; below 2^-24 its bits would be cut
    off, and element -128 is not defined.
    """
    if scale == ZERO:
        return 0
    if not SCALE_MIN <= scale <= SCALE_MAX:
        return _NAN_LINE
    values = []
    for element in struct.unpack(_ELEMENTS_FORMAT, elements.to_bytes(VALUES, "little")):
        # in units of 2^-24, the smallest subnormal
        units = abs(element) << (scale - SCALE_MIN) >> 6
        values.append(math.ldexp(math.copysign(units, element), -24))
    return int.from_bytes(struct.pack(_VALUES_FORMAT, *values), "little")


def decompress_array(scales, elements):
    """FP16 values of scales and elements."""
    scales = np.asarray(scales).astype(np.int64)[..., None]
    readable = (scales >= SCALE_MIN) & (scales <= SCALE_MAX)
    shifts = np.where(readable, scales, SCALE_MIN) - SCALE_MIN - 6
    units = np.trunc(np.ldexp(np.asarray(elements).astype(np.float64), shifts))
    bits = np.ldexp(units, -24).astype(np.float16).view(np.uint16)
    return np.where(readable, bits, np.where(scales == ZERO, 0, NAN)).astype(np.uint16).view(np.float16)


def sqnr_db(exact, read):
    """Signal-to-quantisation-noise ratio in dB: energy of `exact` over energy of what `read` differs by."""
    exact, read = (np.asarray(values).astype(np.float64) for values in (exact, read))
    noise = np.square(read - exact).sum()
    return 10 * math.log10(np.square(exact).sum() / noise) if noise else math.inf
