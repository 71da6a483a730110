# amaranth: UnusedElaboratable=no
"""Scores against real numbers, and the pipelines against the golden scores bit by bit."""

import math
import random
from fractions import Fraction

import pytest
from amaranth.hdl import Elaboratable, Module

from kv_endpoint.golden.common.config import EMA_BITS, preset
from kv_endpoint.golden.common.policy import Policy, Priority, lambda_of
from kv_endpoint.golden.pipeline.score import (
    AGE_BITS,
    PRODUCT_TAU_STEPS,
    SHIFTED_OUT,
    decay,
    increment,
    key,
    product_score,
)
from kv_endpoint.hw.pipeline.score import Decay, Increment, Key
from tests.support.free_running import run_pipeline

ONE = 1 << 20
EMA_MAX = (1 << EMA_BITS) - 1
LAM_MAX = (1 << 24) - 1
CONFIG = preset("tiny")
# Step counters with and without an upper part beside the multiplier's 18 bits.
STEP_BITS = (17, 18, 24, 29)
KEY_STEP_BITS = (17, 29)
CONFIGS = [pytest.param(preset("tiny", step_bits=bits), id=f"{bits}bit") for bits in STEP_BITS]
SEEDS = [1]


def seeded(seed):
    print(f"seed {seed}")
    return random.Random(seed)


def any_size(rng, bits):
    """A number of at most `bits` bits, small ones as likely as large ones."""
    return rng.getrandbits(rng.randint(0, bits))


# Decay -----------------------------------------------------------------------------------------------------------


def test_no_step_no_decay():
    for ema in [*range(0, EMA_MAX, 1009), EMA_MAX]:
        for lam in (0, 1, lambda_of(0.2), LAM_MAX):
            assert decay(ema, 0, lam) == ema


def test_decay_by_whole_halvings_is_the_exact_quotient_rounded_to_even():
    for halvings in range(40):
        for ema in [*range(70), *range(0, EMA_MAX, 4093), EMA_MAX]:
            assert decay(ema, halvings, ONE) == round(Fraction(ema, 1 << halvings)), (ema, halvings)


def test_decay_to_nothing():
    assert decay(EMA_MAX, SHIFTED_OUT - 1, ONE) == 1
    assert decay(EMA_MAX, SHIFTED_OUT, ONE) == 0
    assert decay(EMA_MAX, (1 << 32) - 1, LAM_MAX) == 0


def test_decay_stays_within_its_error():
    rng = seeded(1)
    for _ in range(20_000):
        ema, delta, lam = rng.randint(0, EMA_MAX), any_size(rng, 12), any_size(rng, 24)
        exact = ema * 2.0 ** -(delta * lam / ONE)
        assert abs(decay(ema, delta, lam) - exact) <= 0.5 + exact * 2.0**-14, (ema, delta, lam)


def test_decay_never_raises_an_ema_and_keeps_the_order():
    for delta in (1, 2, 7):
        for lam in (1, 17, lambda_of(0.02), lambda_of(0.2), LAM_MAX):
            decayed = [decay(ema, delta, lam) for ema in range(0, EMA_MAX, 97)]
            assert decayed == sorted(decayed)
            assert all(after <= before for before, after in zip(range(0, EMA_MAX, 97), decayed, strict=True))


def test_decay_with_the_lambda_of_alpha_keeps_one_minus_alpha_a_step():
    alpha = Policy().alpha / 65536
    for delta in (1, 2, 5, 20):
        assert abs(decay(EMA_MAX, delta, Policy().lam) / ONE - (1 - alpha) ** delta) <= 2.0**-13


# Increment -------------------------------------------------------------------------------------------------------


def test_increment_is_the_exact_product_rounded_to_even():
    rng = seeded(2)
    pairs = [(any_size(rng, 16), any_size(rng, 16)) for _ in range(20_000)]
    # alpha x value = (2 n + 1) x 2^11 in units of 2^-32 is half way between two results
    ties = [(1 << 11, odd) for odd in range(1, 99, 2)]
    for alpha, value in pairs + ties:
        assert increment(alpha, value) == round(Fraction(alpha * value, 1 << 12)), (alpha, value)


def test_the_largest_increment_fits_an_ema():
    assert increment(0xFFFF, 0xFFFF) <= EMA_MAX


# Keys ------------------------------------------------------------------------------------------------------------


def test_decayed_keys_that_differ_order_as_real_numbers_do():
    """Pairs of entries whose real keys lie close together, on both sides of 2^-13."""
    rng = seeded(3)
    least = Fraction(1, 1 << 13)
    ordered = 0
    while ordered < 20_000:
        lam, ema, step = any_size(rng, 22), rng.randint(1, EMA_MAX), any_size(rng, 28)
        later = step + any_size(rng, 6)
        nearly = ema * 2.0 ** -((later - step) * lam / ONE + rng.uniform(-8, 8) * 2**-13)
        other = min(EMA_MAX, max(1, round(nearly)))
        # The steps' share exactly: 53 bits do not hold such a key and 2^-20 of it.
        apart = Fraction((later - step) * lam, ONE) + Fraction(math.log2(other) - math.log2(ema))
        keys_apart = key(CONFIG, Priority.DECAYED, other, later, later, lam) - key(
            CONFIG, Priority.DECAYED, ema, step, later, lam
        )
        if abs(apart) > least:
            assert (keys_apart > 0) == (apart > 0) and keys_apart != 0, (ema, step, other, later, lam)
            ordered += 1


def test_decayed_keys_are_within_their_error():
    rng = seeded(4)
    for _ in range(20_000):
        ema, step, lam = 1 + any_size(rng, EMA_BITS - 1), any_size(rng, 20), any_size(rng, 24)
        exact = Fraction(math.log2(ema / ONE)) + Fraction(step * lam, ONE)
        assert abs(Fraction(key(CONFIG, Priority.DECAYED, ema, step, step, lam), ONE) - exact) <= Fraction(1, 1 << 14)


def test_a_key_does_not_change_as_time_passes_unless_it_is_a_product():
    for now in (70, 71, 1 << 20):
        assert key(CONFIG, Priority.DECAYED, 1234, 70, now, 337_000) == 337_000 * 70 + key(
            CONFIG, Priority.DECAYED, 1234, 0, 0, 337_000
        )
        assert key(CONFIG, Priority.LRU, 1234, 70, now, 337_000) == 70
    products = [key(CONFIG, Priority.PRODUCT, 1234, 70, now, 337_000) for now in range(70, 20_000)]
    assert products == sorted(products, reverse=True) and products[0] > products[1]


@pytest.mark.parametrize("config", CONFIGS)
def test_an_empty_ema_has_the_smallest_key(config):
    last = (1 << config.step_bits) - 1
    empty = key(config, Priority.DECAYED, 0, last, last, LAM_MAX)
    assert empty == -(1 << (config.key_bits - 1))
    assert empty < key(config, Priority.DECAYED, 1, 0, last, 0)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_largest_key_fits(config):
    last = (1 << config.step_bits) - 1
    assert key(config, Priority.DECAYED, EMA_MAX, last, last, LAM_MAX) < 1 << (config.key_bits - 1)


def test_product_scores_of_the_worked_examples():
    assert abs(product_score(round(0.211 * ONE), 50) / ONE - 0.0385) <= 2.0**-13
    assert abs(product_score(round(0.08 * ONE), 2000) / ONE - 0.7955) <= 2.0**-13


def test_product_scores_are_within_their_error():
    rng = seeded(5)
    for _ in range(20_000):
        ema, age = any_size(rng, EMA_BITS), any_size(rng, 20)
        exact = (1 - ema / ONE) * -math.expm1(-age / PRODUCT_TAU_STEPS)
        assert abs(product_score(ema, age) / ONE - exact) <= 2.0**-14, (ema, age)


def test_product_scores_grow_with_age_and_fall_with_the_ema():
    for ema in (0, 1, 1000, ONE // 2, EMA_MAX):
        by_age = [product_score(ema, age) for age in range(1 << AGE_BITS)]
        assert by_age == sorted(by_age)
        assert by_age[0] == 0
        assert by_age[-1] == product_score(ema, (1 << 32) - 1) == ONE - ema
    for age in (0, 1, 50, 2000, 1 << 20):
        by_ema = [product_score(ema, age) for ema in range(0, EMA_MAX, 97)]
        assert by_ema == sorted(by_ema, reverse=True)


# RTL -------------------------------------------------------------------------------------------------------------


class Pipelines(Elaboratable):
    """All of them side by side, so that the tests share one build."""

    def __init__(self):
        self.increment = Increment()
        for bits in STEP_BITS:
            setattr(self, f"decay_{bits}", Decay(config=preset("tiny", step_bits=bits)))
        for bits in KEY_STEP_BITS:
            setattr(self, f"key_{bits}", Key(config=preset("tiny", step_bits=bits)))

    def elaborate(self, platform):
        m = Module()
        for name, pipeline in vars(self).items():
            if hasattr(pipeline, "elaborate"):
                m.submodules[name] = pipeline
        return m


def decay_vectors(config, rng):
    """(ema, delta, lam): corners of shift, saturation and rounding, then random ones."""
    last = (1 << config.step_bits) - 1
    emas = [0, 1, 2, 3, 5, 0x55555, 0x80000, 0x80001, 0xBFFFF, EMA_MAX - 1, EMA_MAX]
    # around each number of halvings, as many steps of a small lambda and as few steps of a large one
    pairs = [(halvings, ONE) for halvings in range(70)]
    pairs += [(halvings * ONE + off, 1) for halvings in range(35) for off in (-1, 0, 1)]
    pairs += [(delta, LAM_MAX + 1 - delta) for delta in (1, 2, 3)]
    # where the upper part of a wide delta begins to count, and where lambda is too large for it to matter
    pairs += [(delta, lam) for delta in ((1 << 18) - 1, 1 << 18, last) for lam in (0, 1, 2, 96, 127, 128, LAM_MAX)]
    pairs += [(0, lam) for lam in (0, 1, LAM_MAX)]
    corners = [(ema, delta, lam) for ema in emas for delta, lam in pairs if 0 <= delta <= last]
    sizes = [(any_size(rng, EMA_BITS), any_size(rng, config.step_bits), any_size(rng, 24)) for _ in range(8_000)]
    # half of the random ones decay by less than 22 halvings, whatever the step difference
    near = []
    for _ in range(8_000):
        delta = max(1, any_size(rng, config.step_bits))
        near.append((rng.randint(0, EMA_MAX), delta, min(LAM_MAX, rng.randrange(22 * ONE) // delta)))
    return corners + sizes + near


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("config", CONFIGS)
def test_rtl_decay_is_the_golden_one(config, seed):
    vectors = decay_vectors(config, seeded(seed))
    rig = Pipelines()
    dut = getattr(rig, f"decay_{config.step_bits}")
    results = run_pipeline(dut, (dut.ema, dut.delta, dut.lam), dut.output, vectors, rig=rig)
    for vector, result in zip(vectors, results, strict=True):
        assert result == decay(*vector), vector


@pytest.mark.quick
@pytest.mark.parametrize("seed", SEEDS)
def test_rtl_increment_is_the_golden_one(seed):
    rng = seeded(seed)
    vectors = [(alpha, value) for alpha in (0, 1, 0x800, 0x8000, 0xFFFF) for value in range(0, 0x10000, 251)]
    vectors += [(1 << 11, odd) for odd in range(1, 99, 2)]
    vectors += [(any_size(rng, 16), any_size(rng, 16)) for _ in range(20_000)]
    dut = Increment()
    results = run_pipeline(dut, (dut.alpha, dut.value), dut.output, vectors)
    for vector, result in zip(vectors, results, strict=True):
        assert result == increment(*vector), vector


def key_vectors(config, rng):
    """(ema, step, now, lam), `step` never after `now`."""
    last = (1 << config.step_bits) - 1
    emas = (0, 1, 2, 3, 0x7FFFF, 0x80000, 0x80001, EMA_MAX)
    steps = (0, 1, (1 << 17) - 1, min(last, (1 << 18) - 1), min(last, 1 << 18), last)
    age_max = (1 << AGE_BITS) - 1
    ages = (0, 1, 50, 2000, age_max - 1, age_max, age_max + 1, last)
    vectors = [
        (ema, step, min(last, step + age), lam)
        for ema in emas
        for step in steps
        for age in ages
        for lam in (0, 1, lambda_of(0.2), LAM_MAX)
    ]
    for _ in range(10_000):
        now = any_size(rng, config.step_bits)
        age = min(now, any_size(rng, config.step_bits))
        vectors.append((any_size(rng, EMA_BITS), now - age, now, any_size(rng, 24)))
    for _ in range(10_000):
        age = any_size(rng, AGE_BITS)
        step = rng.randint(0, last - age)
        vectors.append((rng.randint(0, EMA_MAX), step, step + age, rng.randint(0, LAM_MAX)))
    return vectors


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("config", [config for config in CONFIGS if config.values[0].step_bits in KEY_STEP_BITS])
@pytest.mark.parametrize("priority", [*Priority, 3])
def test_rtl_key_is_the_golden_one(config, priority, seed):
    vectors = key_vectors(config, seeded(seed))
    rig = Pipelines()
    dut = getattr(rig, f"key_{config.step_bits}")
    inputs = (dut.priority, dut.ema, dut.step, dut.now, dut.lam)
    results = run_pipeline(dut, inputs, dut.key, [(priority, *vector) for vector in vectors], rig=rig)
    for vector, result in zip(vectors, results, strict=True):
        assert result == key(config, priority, *vector), vector
