"""The registers around a block that is placed and routed, and what the command refuses."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.area import LOAD_BITS, Between, main
from tests.support.simulation import simulate


class Adder(wiring.Component):
    def __init__(self):
        super().__init__({"terms": In(data.StructLayout({"a": 4, "b": 3})), "total": Out(5), "b_is_odd": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.total.eq(self.terms.a + self.terms.b), self.b_is_odd.eq(self.terms.b[0])]
        return m


@pytest.mark.parametrize("bit", [0, 1])
def test_bits_go_through_the_block_and_come_out(bit):
    dut = Between(Adder())
    rounds = 1 << LOAD_BITS

    async def bench(ctx):
        ctx.set(dut.bit_in, bit)
        await ctx.tick().repeat(3 * rounds)
        seen = []
        for _ in range(rounds):
            seen.append(ctx.get(dut.bit_out))
            await ctx.tick()
        # The results leave lowest bit first, between zeros.
        result = sum(value << place for place, value in enumerate(seen))
        expected = 15 + 7 | 1 << 5 if bit else 0
        assert result == expected << (result & -result).bit_length() - (expected & -expected).bit_length()

    simulate(dut, bench)


def test_an_unknown_block_or_preset_is_refused(capsys):
    assert main(["nothing"]) == 2
    assert "block 'nothing': must be one of compressor" in capsys.readouterr().err
    assert main(["--preset", "nothing"]) == 2
