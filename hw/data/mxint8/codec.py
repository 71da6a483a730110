"""MXINT8: 32 FP16 values to 32 INT8 elements with one scale, and back. `golden/data/mxint8.py` defines the numbers.

Both are free-running: inputs are taken at every clock, the result appears `latency` clocks later, nothing stalls and
nothing is kept. The owner carries whatever else belongs to a line alongside, whether there is one included; it also
sets the scale of poisoned lines.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.data.mxint8 import NAN, NOT_FINITE, SCALE_MAX, SCALE_MIN, VALUES, ZERO
from kv_endpoint.hw.lib.delay_line import delayed, registered

__all__ = ["Compressor", "Decompressor"]

VALUE_BITS = 16
FRACTION_BITS = 10
EXPONENT_BITS = 5
ELEMENT_BITS = 8
SCALE_BITS = 8
#: exponent field of infinities and NaNs
SPECIAL = (1 << EXPONENT_BITS) - 1
#: fraction bits that a significand of 11 bits has beyond an element of 7
EXTRA_BITS = 4
#: what an element is shifted left by so that bit 10 of a significand is its bit 16
HEADROOM = 6


def _larger(a, b):
    return Mux(a > b, a, b)


def _tree(operator, values):
    """All values combined pair by pair."""
    while len(values) > 1:
        values = [operator(*values[i : i + 2]) for i in range(0, len(values), 2)]
    return values[0]


def _shift_right(value, amount, by):
    """`value >> by` where the bit `amount` is set; bit 0 stays set when a bit set is shifted out."""
    return Mux(amount, Cat(value[: by + 1].any(), value[by + 1 :]), value)


class Compressor(wiring.Component):
    """Scale and elements of a line (`golden.data.mxint8.compress`).

    Latency 7 clocks, one line a clock.

    ```
    clock   0             1             2                3            4               5            6
            maximum of    maximum of    maximum,         scale,       shift by 8, 4   shift by     round,
            exponents: 8  exponents: 2  top fraction bit  distances                   2, 1         saturate, sign
    ```
    Where every value is subnormal, the highest bit set in any fraction takes the place of the largest exponent.
    """

    def __init__(self):
        super().__init__(
            {
                "line": In(VALUES * VALUE_BITS),
                "scale": Out(SCALE_BITS),
                "elements": Out(VALUES * ELEMENT_BITS),
            }
        )

    @property
    def latency(self):
        """Clocks from input to output."""
        return 7

    def elaborate(self, platform):
        m = Module()
        values = [self.line[i * VALUE_BITS :][:VALUE_BITS] for i in range(VALUES)]

        # clocks 0 and 1: groups of four
        fractions = [value[:FRACTION_BITS] for value in values]
        exponents = [value[FRACTION_BITS : VALUE_BITS - 1] for value in values]
        for clock in range(2):
            groups = range(0, len(exponents), 4)
            fractions = [registered(m, reduce(or_, fractions[i : i + 4]), f"fraction{clock}_{i}") for i in groups]
            exponents = [registered(m, _tree(_larger, exponents[i : i + 4]), f"exponent{clock}_{i}") for i in groups]

        # clock 2
        exponent = Signal(EXPONENT_BITS)
        nonzero = Signal()
        top = Signal(range(FRACTION_BITS))
        fraction = Signal(FRACTION_BITS)
        m.d.comb += fraction.eq(reduce(or_, fractions))
        m.d.sync += [exponent.eq(_larger(*exponents)), nonzero.eq(fraction.any())]
        for position in range(FRACTION_BITS):
            with m.If(fraction[position]):
                m.d.sync += top.eq(position)

        # clock 3
        subnormal = ~exponent.any()
        special = exponent == SPECIAL
        scale = Signal(SCALE_BITS)
        with m.If(special):
            m.d.sync += scale.eq(NOT_FINITE)
        with m.Elif(~subnormal):
            m.d.sync += scale.eq(exponent + (SCALE_MAX - (SPECIAL - 1)))
        with m.Elif(nonzero):
            m.d.sync += scale.eq(top + SCALE_MIN)
        with m.Else():
            m.d.sync += scale.eq(ZERO)
        m.d.comb += self.scale.eq(delayed(m, scale, self.latency - 4, "scale"))
        all_subnormal = registered(m, subnormal, "all_subnormal")

        for i, value in enumerate(values):
            value = delayed(m, value, 3, f"value{i}")

            # clock 3: how far below the largest value the significand starts
            field = value[FRACTION_BITS : VALUE_BITS - 1]
            distance = Signal(EXPONENT_BITS, name=f"distance{i}")
            m.d.comb += distance.eq(exponent - Mux(field.any(), field, 1))
            # An element of a value 2^8 times below the largest is 0.
            far = registered(m, Mux(subnormal, top[3], distance[3:].any() | special), f"far{i}")
            amount = registered(m, Mux(subnormal, top[:3], distance[:3]), f"amount{i}")
            significand = registered(m, Cat(value[:FRACTION_BITS], field.any()), f"significand{i}")
            sign = delayed(m, value[-1], 3, f"sign{i}")

            # clock 4: Where all are subnormal, they start 2^10 higher and are shifted by as much as is in them.
            start = Mux(
                all_subnormal,
                Mux(far, significand << 2, significand[:8] << FRACTION_BITS),
                Mux(far, 0, significand),
            )
            coarse = Signal(14, name=f"coarse{i}")
            m.d.sync += coarse.eq(_shift_right(start, amount[2], 4))
            amount = registered(m, amount[:2], f"fine_amount{i}")

            # clock 5
            fine = Signal(FRACTION_BITS + 1, name=f"fine{i}")
            m.d.sync += fine.eq(_shift_right(_shift_right(coarse, amount[1], 2), amount[0], 1))

            # clock 6: -(kept + up) is ~kept + 1 - up, so one adder rounds and negates.
            kept = fine[EXTRA_BITS:]
            up = fine[EXTRA_BITS - 1] & (fine[: EXTRA_BITS - 1].any() | kept[0]) & ~kept.all()
            m.d.sync += self.elements[i * ELEMENT_BITS :][:ELEMENT_BITS].eq(
                (Cat(kept, 0) ^ sign.replicate(ELEMENT_BITS)) + (up ^ sign)
            )
        return m


class Decompressor(wiring.Component):
    """The line that a scale and its elements read as (`golden.data.mxint8.decompress`).

    Latency 4 clocks, one line a clock.

    ```
    clock   0           1                       2        3
            magnitude   highest bit, distances  shift    exponent, codes
    ```
    A magnitude is shifted left until its highest bit is a significand's, or as far as the scale allows: what remains of
    the scale is then the exponent, and where nothing remains the value is subnormal.
    """

    def __init__(self):
        super().__init__(
            {
                "scale": In(SCALE_BITS),
                "elements": In(VALUES * ELEMENT_BITS),
                "line": Out(VALUES * VALUE_BITS),
            }
        )

    @property
    def latency(self):
        """Clocks from input to output."""
        return 4

    def elaborate(self, platform):
        m = Module()

        # clock 0
        room = Signal(range(SCALE_MAX - SCALE_MIN + 1))
        zero = Signal()
        readable = Signal()
        m.d.sync += [
            room.eq(self.scale - SCALE_MIN),
            zero.eq(self.scale == ZERO),
            readable.eq((self.scale >= SCALE_MIN) & (self.scale <= SCALE_MAX)),
        ]
        zero = delayed(m, zero, 2, "zero")
        readable = delayed(m, readable, 2, "readable")

        for i in range(VALUES):
            element = self.elements[i * ELEMENT_BITS :][:ELEMENT_BITS]
            sign = element[-1]
            magnitude = Signal(ELEMENT_BITS - 1, name=f"magnitude{i}")
            m.d.sync += magnitude.eq((element[:-1] ^ sign.replicate(ELEMENT_BITS - 1)) + sign)
            sign = delayed(m, sign, 3, f"sign{i}")

            # clock 1: Zero has no highest bit and stays subnormal.
            reach = Signal(len(room), init=~0, name=f"reach{i}")
            for position in range(len(magnitude)):
                with m.If(magnitude[position]):
                    m.d.comb += reach.eq(FRACTION_BITS + HEADROOM - position)
            shift = Signal(range(FRACTION_BITS + HEADROOM + 1), name=f"shift{i}")
            rest = Signal(EXPONENT_BITS, name=f"rest{i}")
            with m.If(room > reach):
                m.d.sync += [shift.eq(reach), rest.eq(room - reach)]
            with m.Else():
                m.d.sync += [shift.eq(room), rest.eq(0)]
            magnitude = registered(m, magnitude, f"magnitude_late{i}")

            # clock 2
            significand = Signal(FRACTION_BITS + 1, name=f"significand{i}")
            m.d.sync += significand.eq((magnitude << shift)[HEADROOM:])
            rest = registered(m, rest, f"rest_late{i}")

            # clock 3: the highest bit of a significand counts in the exponent.
            value = self.line[i * VALUE_BITS :][:VALUE_BITS]
            m.d.sync += value.eq(Cat(significand[:FRACTION_BITS], (rest + significand[-1])[:EXPONENT_BITS], sign))
            with m.If(zero):
                m.d.sync += value.eq(0)
            with m.Elif(~readable):
                m.d.sync += value.eq(NAN)
        return m
