"""Fixed-point arithmetic of the scores: rounding, 2^-x and log2, in integers only.

Both functions cut their argument into 64 segments and interpolate linearly between table values, rounding down the
interpolated term; the integer part is a shift. Neighbouring segments share their end point, so both are monotone.
Error at most 2^-14 for every argument: linear interpolation of f over segments of h is off by h^2 / 8 x max |f''|, here
2^-16 and 2^-14.5, and table and rounding add less than two units of the last place. `hw/lib/fixed.py` computes the same
numbers from the same tables. Functions named `..._array` are the same for NumPy arrays.
"""

import math

import numpy as np

__all__ = [
    "FRACTION_BITS", "FACTOR_BITS", "MANTISSA_BITS", "SEGMENT_BITS", "EXP2_TABLE", "LOG2_TABLE", "round_even", "exp2",
    "exp2_array", "log2", "log2_array",
]  # fmt: skip

#: fraction bits of exponents and logarithms
FRACTION_BITS = 20
#: fraction bits of 2^-f: 1.0 and below fit one 18-bit multiplier operand
FACTOR_BITS = 17
#: fraction bits of a mantissa 1.m, a 20-bit number shifted until its highest bit is set
MANTISSA_BITS = 19
SEGMENT_BITS = 6
_SEGMENTS = 1 << SEGMENT_BITS

#: 2^-(i / 64) with `FACTOR_BITS`, i = 0 .. 64
EXP2_TABLE = tuple(round(2 ** (FACTOR_BITS - i / _SEGMENTS)) for i in range(_SEGMENTS + 1))
#: log2(1 + i / 64) with `FRACTION_BITS`, i = 0 .. 64
LOG2_TABLE = tuple(round(math.log2(1 + i / _SEGMENTS) * (1 << FRACTION_BITS)) for i in range(_SEGMENTS + 1))

_EXP2_REST_BITS = FRACTION_BITS - SEGMENT_BITS
_EXP2_REST_MASK = (1 << _EXP2_REST_BITS) - 1
_EXP2_FALL = tuple(EXP2_TABLE[i] - EXP2_TABLE[i + 1] for i in range(_SEGMENTS))
_LOG2_REST_BITS = MANTISSA_BITS - SEGMENT_BITS
_LOG2_REST_MASK = (1 << _LOG2_REST_BITS) - 1
_LOG2_RISE = tuple(LOG2_TABLE[i + 1] - LOG2_TABLE[i] for i in range(_SEGMENTS))
_MANTISSA_MASK = (1 << MANTISSA_BITS) - 1


def round_even(value, shift):
    """`value / 2^shift` to the nearest integer, ties to even. Also for NumPy arrays, of values and of shifts."""
    return (value + (((1 << shift) - 1 + (value >> shift & 1)) >> 1)) >> shift


def exp2(fraction):
    """2^-(fraction / 2^20) with `FACTOR_BITS` fraction bits, 0 <= fraction < 2^20; exactly 1.0 for 0."""
    segment = fraction >> _EXP2_REST_BITS
    return EXP2_TABLE[segment] - (_EXP2_FALL[segment] * (fraction & _EXP2_REST_MASK) >> _EXP2_REST_BITS)


def exp2_array(fraction):
    """`exp2` of each element."""
    fraction = np.asarray(fraction, dtype=np.int64)
    segment = fraction >> _EXP2_REST_BITS
    fall = np.array(_EXP2_FALL)[segment] * (fraction & _EXP2_REST_MASK)
    return np.array(EXP2_TABLE)[segment] - (fall >> _EXP2_REST_BITS)


def log2(value):
    """log2(value / 2^20) with 20 fraction bits, 0 < value < 2^20: from -20.0 to just below 0."""
    exponent = value.bit_length() - 1
    mantissa = value << (MANTISSA_BITS - exponent) & _MANTISSA_MASK
    segment = mantissa >> _LOG2_REST_BITS
    rise = _LOG2_RISE[segment] * (mantissa & _LOG2_REST_MASK) >> _LOG2_REST_BITS
    return ((exponent - FRACTION_BITS) << FRACTION_BITS) + LOG2_TABLE[segment] + rise


def log2_array(value):
    """`log2` of each element."""
    value = np.asarray(value, dtype=np.int64)
    exponent = np.frexp(value.astype(np.float64))[1].astype(np.int64) - 1
    mantissa = value << (MANTISSA_BITS - exponent) & _MANTISSA_MASK
    segment = mantissa >> _LOG2_REST_BITS
    rise = np.array(_LOG2_RISE)[segment] * (mantissa & _LOG2_REST_MASK) >> _LOG2_REST_BITS
    return ((exponent - FRACTION_BITS) << FRACTION_BITS) + np.array(LOG2_TABLE)[segment] + rise
