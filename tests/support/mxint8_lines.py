"""Lines of FP16 values that reach every part of the MXINT8 codec: special cases with their results, and random ones."""

import numpy as np

from kv_endpoint.golden.data.mxint8 import NOT_FINITE, SCALE_MAX, SCALE_MIN, VALUES, ZERO

__all__ = ["LEAST", "SPECIAL_CASES", "from_bits", "line_of", "pack", "random_lines", "special_lines"]

FP16_MAX = 65504.0
LEAST = 2.0**-24
#: scale of a line whose largest magnitude is in [1, 2)
SCALE_OF_ONE = 127


def line_of(values):
    """A line of FP16 numbers, zeros after the given ones."""
    return pack(np.array([*values, *[0.0] * (VALUES - len(values))], np.float16))


def pack(values):
    """FP16 values, or their elements, as one number."""
    return int.from_bytes(values.tobytes(), "little")


def from_bits(bits):
    return np.asarray(bits).astype(np.uint16).view(np.float16)


def random_lines(rng, count):
    """Finite lines, and some that are not, of distributions that each reach another part of the codec."""
    share = count // 8
    shape = (share, VALUES)
    signs = rng.integers(0, 2, shape) << 15
    gaussian = rng.standard_normal(shape) * np.exp2(rng.integers(-24, 14, (share, 1)))
    # All values of a line within 2^-8 of its largest, where each rounds differently.
    near = rng.integers(0, 22 << 10, (share, 1)) + rng.integers(0, 9 << 10, shape)
    outlier = rng.standard_normal(shape).astype(np.float16)
    outlier[np.arange(share), rng.integers(0, VALUES, share)] *= np.float16(500)
    # Lines in which most values lie half way between two elements: odd multiples of 2^(e - 7).
    odd = rng.integers(-128, 128, shape) * 2 + 1
    odd[np.arange(share), rng.integers(0, VALUES, share)] = 128 + rng.integers(0, 127, share)
    tie = np.ldexp(odd.astype(np.float64), rng.integers(-24, 7, (share, 1)))
    few_subnormals = rng.integers(0, 1 << 10, shape) >> rng.integers(0, 11, (share, 1))
    around_least_normal = rng.integers(0, 3 << 10, shape)
    return np.concatenate(
        [
            gaussian.astype(np.float16),
            from_bits(near | signs),
            outlier,
            tie.astype(np.float16),
            from_bits(few_subnormals | signs),
            from_bits(around_least_normal | signs),
            from_bits(rng.integers(0, 31 << 10, shape) | signs),
            # any bits, NaN and infinity rare enough for half of the lines to have none
            from_bits(np.minimum(rng.integers(0, 31 << 10, shape) + (rng.random(shape) < 0.02) * 2048, 0x7FFF) | signs),
        ]
    )


#: name: (values in front of zeros, scale, elements in front of zeros)
SPECIAL_CASES = {
    "zero": ([], ZERO, []),
    "negative zeros": ([-0.0] * VALUES, ZERO, []),
    "negative zero beside one": ([1.0, -0.0], SCALE_OF_ONE, [64]),
    "one": ([1.0], SCALE_OF_ONE, [64]),
    "both signs": ([1.5, -1.5], SCALE_OF_ONE, [96, -96]),
    "smallest subnormal": ([LEAST, -LEAST], SCALE_MIN, [64, -64]),
    "all subnormal": ([1023 * LEAST, -512 * LEAST, 8 * LEAST, 4 * LEAST, LEAST], SCALE_MIN + 9, [127, -64, 1]),
    "few subnormal bits": ([3 * LEAST, -LEAST], SCALE_MIN + 1, [96, -32]),
    "subnormal beside normal": ([2.0**-14, 1023 * LEAST, -LEAST * 24], SCALE_MIN + 10, [64, 64, -2]),
    "subnormal beside large": ([1.0, 1023 * LEAST], SCALE_OF_ONE, [64]),
    "largest": ([FP16_MAX, -FP16_MAX], SCALE_MAX, [127, -127]),
    "saturating": ([255 / 128, -255 / 128, 2047 / 1024, 254 / 128], SCALE_OF_ONE, [127, -127, 127, 127]),
    "just below saturating": ([2033 / 1024, -2033 / 1024], SCALE_OF_ONE, [127, -127]),
    "ties": (
        [1.0, *(n / 128 for n in (1, 3, 5, -1, -3, -5, 129, 131))],
        SCALE_OF_ONE,
        [64, 0, 2, 2, 0, -2, -2, 64, 66],
    ),
    "beside ties": ([1.0, 1025 / 131072, 1023 / 131072, -1025 / 131072], SCALE_OF_ONE, [64, 1, 0, -1]),
    "one outlier": ([32768.0, *[100.0] * 30, -600.0], SCALE_MAX, [64, *[0] * 30, -1]),
    "NaN": ([1.0, float("nan")], NOT_FINITE, []),
    "infinity": ([float("inf"), 1.0], NOT_FINITE, []),
    "negative infinity": ([*[0.0] * 31, float("-inf")], NOT_FINITE, []),
    "NaN beside zeros": ([float("nan")], NOT_FINITE, []),
}


def special_lines():
    return [line_of(values) for values, _, _ in SPECIAL_CASES.values()]
