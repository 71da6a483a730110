"""Scores of blocks: pipelines for EMA decay, EMA increment and eviction keys. `golden/pipeline/score.py` defines the
numbers.

All are free-running: inputs are taken at every clock, the result appears `latency` clocks later, nothing stalls. The
owner carries whatever else belongs to an operation alongside.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import EMA_BITS
from kv_endpoint.golden.common.fixed import FACTOR_BITS, FRACTION_BITS
from kv_endpoint.golden.common.policy import ALPHA_BITS, LAMBDA_BITS, Priority
from kv_endpoint.golden.pipeline.score import AGE_BITS, RATE, RATE_BITS
from kv_endpoint.hw.lib.delay_line import delayed
from kv_endpoint.hw.lib.fixed import Exp2, Log2, round_even

__all__ = ["Decay", "Increment", "Key"]

#: how a step difference is split between two multipliers: ECP5 multiplies 18 x 18, 18 x 24 in two
LOW_BITS = 18


class Decay(wiring.Component):
    """An EMA after `delta` steps: `ema x 2^-(delta x lam)`, rounded once (`golden.pipeline.score.decay`).

    Latency 5 clocks, one a clock. All three inputs are taken in the same clock.

    ```
    clock   0          1                  2                  3               4
            delta x    add, saturate,     table              ema x factor    shift,
            lam        table              interpolation                      round
    ```
    """

    def __init__(self, *, config):
        self.config = config
        super().__init__(
            {
                "ema": In(EMA_BITS),
                "delta": In(config.step_bits),
                "lam": In(LAMBDA_BITS),
                "output": Out(EMA_BITS),
            }
        )

    @property
    def latency(self):
        """Clocks from input to output."""
        return 5

    def elaborate(self, platform):
        m = Module()
        m.submodules.exp2 = exp2 = Exp2()

        # 32 halvings leave nothing of an EMA. So where the upper part of delta counts, only the seven lowest bits of
        # lambda do: any other product is 2^18 x 2^7 = 2^25 or more, which is 32 halvings.
        whole_bits = 5
        near_bits = FRACTION_BITS + whole_bits - LOW_BITS
        low = Signal(LOW_BITS + LAMBDA_BITS)
        high = Signal(self.config.step_bits - LOW_BITS + near_bits)
        far = Signal()
        m.d.sync += [
            low.eq(self.delta[:LOW_BITS] * self.lam),
            high.eq(self.delta[LOW_BITS:] * self.lam[:near_bits]),
            far.eq(self.delta[LOW_BITS:].any() & self.lam[near_bits:].any()),
        ]

        exponent = Cat(low[:LOW_BITS], low[LOW_BITS:] + high)
        m.d.comb += exp2.fraction.eq(exponent)
        halvings = Signal(whole_bits)
        m.d.sync += halvings.eq(exponent[FRACTION_BITS:])
        with m.If(far | exponent[FRACTION_BITS + whole_bits :].any()):
            m.d.sync += halvings.eq(~0)
        halvings = delayed(m, halvings, exp2.latency, "halvings")

        ema = delayed(m, self.ema, 1 + exp2.latency, "ema")
        # One bit less than the operands have together: the factor is at most 1.0.
        product = Signal(EMA_BITS + FACTOR_BITS)
        m.d.sync += product.eq(ema * exp2.factor)

        # Bit 0 of `guarded` is the first below the result as long as nothing is shifted.
        guarded = product[FACTOR_BITS - 1 :]
        shifted_out = Cat(bit & (halvings > position) for position, bit in enumerate(guarded))
        lost = product[: FACTOR_BITS - 1].any() | shifted_out.any()
        m.d.sync += self.output.eq(round_even(Cat(lost, guarded >> halvings), 2))
        return m


class Increment(wiring.Component):
    """What a score adds to an EMA: `alpha x value`, rounded (`golden.pipeline.score.increment`).

    Latency 2 clocks (product, rounding), one a clock. Both inputs are taken in the same clock.
    """

    def __init__(self):
        super().__init__({"alpha": In(ALPHA_BITS), "value": In(ALPHA_BITS), "output": Out(EMA_BITS)})

    @property
    def latency(self):
        """Clocks from input to output."""
        return 2

    def elaborate(self, platform):
        m = Module()
        product = Signal(2 * ALPHA_BITS)
        m.d.sync += product.eq(self.alpha * self.value)
        m.d.sync += self.output.eq(round_even(product, 2 * ALPHA_BITS - EMA_BITS))
        return m


class Key(wiring.Component):
    """The key by which a block leaves, smaller first, of an entry {ema, step} at step `now`
    (`golden.pipeline.score.key`).

    Latency 7 clocks, one a clock. `ema`, `step`, `now` and `lam` are taken in the same clock; `priority` is used in
    every clock and must be the same from the first to the last of a key. `step` must not be after `now`. Where
    `priority` is none of `Priority`, the key is as for LRU.

    ```
    clock            0              1        2            3             4          5            6
    DECAYED, log2    normalise      table    interpolate  add step x lam
    DECAYED, LRU     step x lam     add
    PRODUCT          age, 1 - ema   x rate   table        interpolate   1 - 2^-x   x (1 - ema)  round, select
    ```
    """

    def __init__(self, *, config):
        self.config = config
        super().__init__(
            {
                "priority": In(Priority),
                "ema": In(EMA_BITS),
                "step": In(config.step_bits),
                "now": In(config.step_bits),
                "lam": In(LAMBDA_BITS),
                "key": Out(signed(config.key_bits)),
            }
        )

    @property
    def latency(self):
        """Clocks from input to output."""
        return 7

    def elaborate(self, platform):
        m = Module()
        m.submodules.log2 = log2 = Log2()
        m.submodules.exp2 = exp2 = Exp2()

        # 1 - ema, for PRODUCT; where it is 1.0, the EMA is 0
        complement = Signal(EMA_BITS + 1)
        m.d.sync += complement.eq((1 << EMA_BITS) - self.ema)
        complement = delayed(m, complement, log2.latency - 1, "complement")

        # DECAYED and LRU, clocks 0 to 3
        low = Signal(LOW_BITS + LAMBDA_BITS)
        high = Signal(self.config.step_bits - LOW_BITS + LAMBDA_BITS)
        step = Signal(self.config.step_bits)
        m.d.sync += [
            low.eq(self.step[:LOW_BITS] * self.lam),
            high.eq(self.step[LOW_BITS:] * self.lam),
            step.eq(self.step),
        ]
        decayed = self.priority == Priority.DECAYED
        due = Signal(self.config.step_bits + LAMBDA_BITS)
        m.d.sync += due.eq(Mux(decayed, Cat(low[:LOW_BITS], low[LOW_BITS:] + high), step))
        due = delayed(m, due, log2.latency - 2, "due")
        m.d.comb += log2.value.eq(self.ema)
        static = Signal(signed(self.config.key_bits))
        with m.If(~decayed):
            m.d.sync += static.eq(due)
        with m.Elif(complement[EMA_BITS]):
            m.d.sync += static.eq(-1 << (self.config.key_bits - 1))
        with m.Else():
            m.d.sync += static.eq(due + log2.result)
        static = delayed(m, static, self.latency - 2 - log2.latency, "static")

        # PRODUCT, clocks 0 to 5
        age = Signal(self.config.step_bits)
        m.d.comb += age.eq(self.now - self.step)
        near_age = Signal(AGE_BITS)
        m.d.sync += near_age.eq(Mux(age[AGE_BITS:].any(), ~0, age))
        past = (near_age * RATE)[RATE_BITS - FRACTION_BITS :]
        exponent = Signal(len(past))
        m.d.sync += exponent.eq(past)
        m.d.comb += exp2.fraction.eq(exponent)
        halvings = delayed(m, exponent[FRACTION_BITS:], exp2.latency, "halvings")
        gone = Signal(FACTOR_BITS + 1)
        m.d.sync += gone.eq((1 << FACTOR_BITS) - (exp2.factor >> halvings))
        product = Signal(EMA_BITS + FACTOR_BITS + 1)
        complement = delayed(m, complement, self.latency - 2 - log2.latency, "complement_late")
        m.d.sync += product.eq(complement * gone)

        # clock 6
        with m.If(self.priority == Priority.PRODUCT):
            m.d.sync += self.key.eq(-round_even(product, FACTOR_BITS))
        with m.Else():
            m.d.sync += self.key.eq(static)
        return m
