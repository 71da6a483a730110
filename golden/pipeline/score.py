"""Scores of blocks: decay and increment of the EMA, and the key by which blocks leave.

EMA and score are UQ0.20, alpha and hint values UQ0.16, lambda UQ4.20. Each result is rounded once, to nearest, ties to
even. `hw/pipeline/score.py` computes the same bits.
"""

import math

from kv_endpoint.golden.common.config import EMA_BITS
from kv_endpoint.golden.common.fixed import FACTOR_BITS, FRACTION_BITS, exp2, log2, round_even
from kv_endpoint.golden.common.policy import ALPHA_BITS, Priority

__all__ = [
    "SHIFTED_OUT", "AGE_BITS", "RATE", "RATE_BITS", "PRODUCT_TAU_STEPS", "decay", "increment", "product_score", "key",
]  # fmt: skip

#: an EMA halved this often is below half an LSB: nothing is left of it
SHIFTED_OUT = EMA_BITS + 1
#: time constant of the product score
PRODUCT_TAU_STEPS = 1000
#: log2(e) / tau per step, as a fraction of `RATE_BITS` bits (18 of them significant)
RATE_BITS = 27
RATE = round(math.log2(math.e) / PRODUCT_TAU_STEPS * (1 << RATE_BITS))
#: ages saturate at this width: exp(-16383 / tau) is below the resolution of `exp2`
AGE_BITS = 14

_FRACTION_MASK = (1 << FRACTION_BITS) - 1
_AGE_MAX = (1 << AGE_BITS) - 1


def decay(ema, delta, lam):
    """`ema` after `delta` steps: ema x 2^-(delta x lam)."""
    exponent = delta * lam
    whole = exponent >> FRACTION_BITS
    if whole >= SHIFTED_OUT:
        return 0
    return round_even(ema * exp2(exponent & _FRACTION_MASK), FACTOR_BITS + whole)


def increment(alpha, value):
    """What a score of `value` adds to an EMA: alpha x value."""
    return round_even(alpha * value, 2 * ALPHA_BITS - EMA_BITS)


def product_score(ema, age):
    """(1 - ema) x (1 - exp(-age / tau)) in units of 2^-20, from 0 to 2^20; `age` in steps."""
    exponent = min(age, _AGE_MAX) * RATE >> (RATE_BITS - FRACTION_BITS)
    left = exp2(exponent & _FRACTION_MASK) >> (exponent >> FRACTION_BITS)
    return round_even(((1 << EMA_BITS) - ema) * ((1 << FACTOR_BITS) - left), FACTOR_BITS)


def key(config, priority, ema, step, now, lam):
    """Eviction key of an entry {ema, step} at step `now` >= step; the smaller key leaves first.

    A signed integer of `config.key_bits` with 20 fraction bits. DECAYED: log2(ema) + step x lambda, the same at every
    `now`; LRU: the step, as an integer; PRODUCT: minus the product score.
    """
    if priority == Priority.DECAYED:
        if ema == 0:
            return -1 << (config.key_bits - 1)
        return log2(ema) + step * lam
    if priority == Priority.PRODUCT:
        return -product_score(ema, now - step)
    return step
