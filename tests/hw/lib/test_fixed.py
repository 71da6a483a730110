"""Accuracy of the fixed-point functions over every argument, and the RTL against them bit by bit."""

from fractions import Fraction

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from kv_endpoint.golden.common.fixed import FACTOR_BITS, FRACTION_BITS, exp2, exp2_array, log2, log2_array, round_even
from kv_endpoint.hw.lib import fixed as hw_fixed
from tests.support.free_running import run_every_argument

ALL = np.arange(1 << FRACTION_BITS)
ERROR_MAX = 2.0**-14


def test_round_even_is_nearest_with_ties_to_even():
    for shift in range(6):
        for value in range(-200, 200):
            assert round_even(value, shift) == round(Fraction(value, 1 << shift)), (value, shift)


def test_round_even_of_arrays_is_that_of_integers():
    values, shifts = np.meshgrid(np.arange(-200, 200), np.arange(6))
    expected = [round_even(int(value), int(shift)) for value, shift in zip(values.flat, shifts.flat, strict=True)]
    assert round_even(values, shifts).ravel().tolist() == expected


@pytest.mark.quick
def test_exp2_is_within_its_error_for_every_fraction():
    exact = 2.0 ** -(ALL / (1 << FRACTION_BITS))
    assert np.abs(exp2_array(ALL) / (1 << FACTOR_BITS) - exact).max() <= ERROR_MAX


def test_exp2_is_monotone_from_one_to_a_half():
    values = exp2_array(ALL)
    assert (np.diff(values) <= 0).all()
    assert values[0] == 1 << FACTOR_BITS
    assert values[-1] >= 1 << (FACTOR_BITS - 1)


def test_log2_is_within_its_error_for_every_ema():
    exact = np.log2(ALL[1:] / (1 << FRACTION_BITS))
    assert np.abs(log2_array(ALL[1:]) / (1 << FRACTION_BITS) - exact).max() <= ERROR_MAX


def test_log2_is_strictly_monotone_from_minus_twenty_to_below_zero():
    values = log2_array(ALL[1:])
    assert (np.diff(values) > 0).all()
    assert values[0] == -20 << FRACTION_BITS
    assert values[-1] < 0


def test_log2_of_powers_of_two_is_exact():
    for exponent in range(FRACTION_BITS):
        assert log2(1 << exponent) == (exponent - FRACTION_BITS) << FRACTION_BITS


def test_functions_of_integers_are_those_of_arrays():
    assert [exp2(fraction) for fraction in range(1 << FRACTION_BITS)] == exp2_array(ALL).tolist()
    assert [log2(value) for value in range(1, 1 << FRACTION_BITS)] == log2_array(ALL[1:]).tolist()


def test_rtl_exp2_is_the_golden_one_for_every_fraction():
    assert run_every_argument(hw_fixed.Exp2, "fraction", "factor") == exp2_array(ALL).tolist()


def test_rtl_log2_is_the_golden_one_for_every_ema():
    assert run_every_argument(hw_fixed.Log2, "value", "result")[1:] == log2_array(ALL[1:]).tolist()


@pytest.mark.parametrize("shift", [2, 3, 5])
def test_rtl_round_even_is_the_golden_one(shift):
    m = Module()
    value, result = Signal(9), Signal(10)
    m.d.comb += result.eq(hw_fixed.round_even(value, shift))

    async def bench(ctx):
        for number in range(1 << len(value)):
            ctx.set(value, number)
            assert ctx.get(result) == round_even(number, shift), number

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


def test_rtl_round_even_refuses_what_it_cannot_round():
    with pytest.raises(ValueError, match="shift must be at least 2, not 1"):
        hw_fixed.round_even(Signal(8), 1)
