"""Fixed-point arithmetic of the scores: rounding, 2^-x and log2. `golden/common/fixed.py` defines the numbers."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import EMA_BITS
from kv_endpoint.golden.common.fixed import (
    EXP2_TABLE,
    FACTOR_BITS,
    FRACTION_BITS,
    LOG2_TABLE,
    MANTISSA_BITS,
    SEGMENT_BITS,
)

__all__ = ["round_even", "Exp2", "Log2"]

#: width of the number of zeros above the highest bit set of an EMA
LEADING_BITS = (EMA_BITS - 1).bit_length()


def round_even(value, shift):
    """`value / 2^shift`, `shift` >= 2 constant, to the nearest integer, ties to even: combinational, one bit wider."""
    if shift < 2:
        raise ValueError(f"shift must be at least 2, not {shift!r}")
    kept = value[shift:]
    return kept + (value[shift - 1] & (value[: shift - 1].any() | kept[0]))


def _normalise(value, powers):
    """(value shifted left by 2^k for each k where its top 2^k bits are zero, sum of the shifts): combinational."""
    zeros = [Const(0, 1)] * LEADING_BITS
    for power in powers:
        shift = 1 << power
        zeros[power] = ~value[-shift:].any()
        value = Mux(zeros[power], value << shift, value)[: len(value)]
    return value, Cat(*zeros)


def _tables(table):
    """(values at the start of each segment, how far it is to the next) as arrays to be indexed by segment."""
    return Array(table[:-1]), Array(abs(end - start) for start, end in zip(table, table[1:], strict=False))


class Exp2(wiring.Component):
    """2^-(fraction / 2^20) with `FACTOR_BITS` fraction bits, by table and linear interpolation
    (`golden.common.fixed.exp2`).

    Latency 2 clocks (table, interpolation), one a clock, no stall. The input is not registered before the table.
    """

    def __init__(self):
        super().__init__({"fraction": In(FRACTION_BITS), "factor": Out(FACTOR_BITS + 1)})

    @property
    def latency(self):
        """Clocks from input to output."""
        return 2

    def elaborate(self, platform):
        m = Module()
        rest_bits = FRACTION_BITS - SEGMENT_BITS
        starts, falls = _tables(EXP2_TABLE)
        segment = self.fraction[rest_bits:]

        start = Signal(range(max(EXP2_TABLE) + 1))
        fall = Signal(range(EXP2_TABLE[0] - EXP2_TABLE[1] + 1))
        rest = Signal(rest_bits)
        m.d.sync += [start.eq(starts[segment]), fall.eq(falls[segment]), rest.eq(self.fraction)]
        m.d.sync += self.factor.eq(start - (fall * rest)[rest_bits:])
        return m


class Log2(wiring.Component):
    """log2(value / 2^20) with 20 fraction bits, from -20.0 to just below 0 (`golden.common.fixed.log2`); undefined
    for 0.

    Latency 3 clocks (coarse normalisation, fine normalisation and table, interpolation), one a clock, no stall. The
    input is not registered before the normalisation.
    """

    def __init__(self):
        # Five bits hold how far the highest bit set is below the top; a sign above them, the fraction below.
        super().__init__({"value": In(EMA_BITS), "result": Out(signed(1 + LEADING_BITS + FRACTION_BITS))})

    @property
    def latency(self):
        """Clocks from input to output."""
        return 3

    def elaborate(self, platform):
        m = Module()
        rest_bits = MANTISSA_BITS - SEGMENT_BITS
        starts, rises = _tables(LOG2_TABLE)

        # The first clock shifts by 16, 8 and 4, the second by 2 and 1.
        coarse = Signal(EMA_BITS)
        coarse_zeros = Signal(LEADING_BITS)
        value, zeros = _normalise(self.value, (4, 3, 2))
        m.d.sync += [coarse.eq(value), coarse_zeros.eq(zeros)]

        value, zeros = _normalise(coarse, (1, 0))
        segment = value[rest_bits:MANTISSA_BITS]
        leading = Signal(LEADING_BITS)
        start = Signal(range(max(LOG2_TABLE[:-1]) + 1))
        rise = Signal(range(LOG2_TABLE[1] - LOG2_TABLE[0] + 1))
        rest = Signal(rest_bits)
        m.d.sync += [
            leading.eq(coarse_zeros | zeros),
            start.eq(starts[segment]),
            rise.eq(rises[segment]),
            rest.eq(value),
        ]

        fraction = Signal(FRACTION_BITS)
        m.d.comb += fraction.eq(start + (rise * rest)[rest_bits:])
        # The integer part is -1 - leading, which is the complement of `leading` under a sign bit.
        m.d.sync += self.result.eq(Cat(fraction, ~leading, Const(1, 1)).as_signed())
        return m
