"""Which stream descriptors the register block accepts."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.events.port import RefusalKind

__all__ = ["DescriptorRules"]

_WORD_BITS = 32
#: widths of REGION.HEADS and REGION.FIRST_HEAD, whatever the configuration
_COUNT_BITS, _FIRST_BITS = 13, 12


class DescriptorRules(wiring.Component):
    """Judges a stream before it is enabled: in one region, and apart from all others
    (`golden.registers.rules.refusal`).

    Two streams share a block where their bases are congruent modulo the smaller stride, and the first block of the
    coarser one that is not before either base is not behind either end. All numbers are judged at their full width of
    32 bits, so nothing wraps.

    At most `index_bits` + `regions` + 4 x `streams` + 6 clocks from `start` to `done`.

    Members
    -------
    streams : In(array of {base 32, length 32, stride 32, enabled 1})
        The registers.
    regions : In(array of {count 13, first 12, enabled 1})
        Heads, first head and enable bit of each region.
    start : In(1), number : In
        Judge this stream. Registers do not change until `done`.
    done, refused, reason : Out
        `done` for one clock, the others hold until the next start.
    apply : In(1)
        The stream that was judged is enabled in this clock.
    region_of : Out(array)
        The region in which each stream lies, if it is enabled.
    used : Out(regions)
        A stream that is enabled lies in this region.
    """

    def __init__(self, *, config):
        self._config = config
        stream = data.StructLayout({"base": _WORD_BITS, "length": _WORD_BITS, "stride": _WORD_BITS, "enabled": 1})
        region = data.StructLayout({"count": _COUNT_BITS, "first": _FIRST_BITS, "enabled": 1})
        region_number = max(1, (config.regions - 1).bit_length())
        super().__init__(
            {
                "streams": In(data.ArrayLayout(stream, config.streams)),
                "regions": In(data.ArrayLayout(region, config.regions)),
                "start": In(1),
                "number": In(range(config.streams)),
                "done": Out(1),
                "refused": Out(1),
                "reason": Out(4),
                "apply": In(1),
                "region_of": Out(data.ArrayLayout(region_number, config.streams)),
                "used": Out(config.regions),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        index_bits = config.index_bits

        number = Signal.like(self.number)
        base, length, stride = (Signal(_WORD_BITS, name=name) for name in ("base", "length", "stride"))
        #: distance of the last block from the first, worked out by doubling, and what is left to double
        reach = Signal(index_bits)
        doublings = Signal(index_bits + 1)
        outside = Signal()
        last = Signal(index_bits + 1)
        lasts = Array(Signal(index_bits, name=f"last_{of}") for of in range(config.streams))
        region = Signal(range(config.regions))
        other = Signal(range(config.streams))
        own = self.streams[self.number]

        def refuse(reason):
            m.d.sync += [self.refused.eq(1), self.reason.eq(reason)]
            m.next = "DONE"

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += number.eq(self.number)
                m.d.sync += [base.eq(own.base), length.eq(own.length), stride.eq(own.stride)]
                with m.If(self.start):
                    m.d.sync += [region.eq(0), other.eq(0), self.refused.eq(0)]
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [
                    outside.eq(
                        (base >= config.blocks)
                        | (length == 0)
                        | (length > config.blocks)
                        | (stride == 0)
                        | ((stride & (stride - 1)) != 0)
                        | (stride > 1 << index_bits)
                    ),
                    reach.eq(length - 1),
                    doublings.eq(stride),
                ]
                m.next = "REACH"
            with m.State("REACH"):
                m.d.sync += last.eq(base[:index_bits] + reach)
                with m.If(outside):
                    refuse(RefusalKind.STREAM_RANGE)
                with m.Elif(doublings[0]):
                    m.next = "REGION"
                with m.Else():
                    m.d.sync += [doublings.eq(doublings >> 1), reach.eq(reach << 1), outside.eq(reach[-1])]
            with m.State("REGION"):
                heads = self.regions[region]
                first_head, last_head = base[config.block_bits : index_bits], last[config.block_bits :]
                is_inside = heads.enabled & (first_head >= heads.first) & (last_head < heads.first + heads.count)
                with m.If(is_inside):
                    m.next = "OTHER"
                with m.Elif(region == config.regions - 1):
                    refuse(RefusalKind.STREAM_RANGE)
                with m.Else():
                    m.d.sync += region.eq(region + 1)
            meets = self._compare(m, base, last, stride, lasts, other)
            with m.State("OTHER"):
                m.next = "BOTH"
            with m.State("BOTH"):
                m.next = "FIRST"
            with m.State("FIRST"):
                m.next = "MEET"
            with m.State("MEET"):
                with m.If(meets & (other != number)):
                    refuse(RefusalKind.STREAM_OVERLAP)
                with m.Elif(other == config.streams - 1):
                    m.next = "DONE"
                with m.Else():
                    m.d.sync += other.eq(other + 1)
                    m.next = "OTHER"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"

        with m.If(self.apply):
            m.d.sync += [lasts[number].eq(last), self.region_of[number].eq(region)]
        for of in range(config.regions):
            lies = [
                stream.enabled & (in_region == of)
                for stream, in_region in zip(self.streams, self.region_of, strict=True)
            ]
            m.d.comb += self.used[of].eq(Cat(lies).any())
        return m

    def _compare(self, m, base, last, stride, lasts, other):
        """Whether the stream shares a block with stream `other`, 3 clocks after that was chosen."""
        index_bits = self._config.index_bits
        indices = data.StructLayout({"base": index_bits, "last": index_bits, "stride": index_bits + 1})
        its, enabled = Signal(indices), Signal()
        chosen = self.streams[other]
        m.d.sync += [
            enabled.eq(chosen.enabled),
            its.base.eq(chosen.base),
            its.last.eq(lasts[other]),
            its.stride.eq(chosen.stride),
        ]

        # Both ends of what both cover, and the grids
        low, high, grid_base = Signal(index_bits), Signal(index_bits), Signal(index_bits)
        fine, coarse = Signal(index_bits + 1), Signal(index_bits + 1)
        congruent = Signal()
        its_is_coarser = its.stride > stride[: index_bits + 1]
        m.d.sync += [
            low.eq(Mux(base[:index_bits] > its.base, base[:index_bits], its.base)),
            high.eq(Mux(last[:index_bits] < its.last, last[:index_bits], its.last)),
            grid_base.eq(Mux(its_is_coarser, its.base, base[:index_bits])),
            fine.eq(Mux(its_is_coarser, stride[: index_bits + 1], its.stride)),
            coarse.eq(Mux(its_is_coarser, its.stride, stride[: index_bits + 1])),
        ]

        # The first block of the coarser grid from `low` on
        distance = Signal(index_bits)
        m.d.sync += [
            congruent.eq(((base[:index_bits] ^ its.base) & (fine - 1)[:index_bits]) == 0),
            distance.eq((grid_base - low)[:index_bits] & (coarse - 1)[:index_bits]),
        ]
        return enabled & congruent & (low + distance <= high)
