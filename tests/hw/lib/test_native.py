# amaranth: UnusedElaboratable=no
"""The test support that runs a block as a program: as Amaranth's simulator would run it."""

import random

import pytest
from amaranth.hdl import Elaboratable, EnableInserter, Module, ResetInserter, Signal, signed
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from tests.support import native, simulation


class Kind(enum.Enum, shape=2):
    NONE = 0
    ADD = 1
    HOLD = 3


PAIR = data.StructLayout({"low": 5, "kind": Kind, "high": signed(7)})
#: more than one word of Verilator's, and no whole number of them
WIDE_BITS = 130


class Block(wiring.Component):
    """A counter that steps by a signed amount, and ports that show what others are set to, some a clock later."""

    enable: In(1)
    step: In(signed(9), init=-3)
    pair: In(PAIR)
    wide: In(WIDE_BITS)
    count: Out(signed(12))
    wide_later: Out(WIDE_BITS)
    pair_now: Out(PAIR)
    full: Out(1)

    def __init__(self):
        super().__init__()
        self.inner = Signal(6)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.enable):
            m.d.sync += [self.count.eq(self.count + self.step), self.inner.eq(self.inner + 1)]
        m.d.sync += self.wide_later.eq(self.wide)
        m.d.comb += [
            self.pair_now.low.eq(self.pair.high[:5]),
            self.pair_now.kind.eq(self.pair.kind),
            self.pair_now.high.eq(self.pair.high - self.pair.low),
            self.full.eq(self.inner == 5),
        ]
        return m


class Rig(Elaboratable):
    """Two blocks, each with its own inputs, and a reset of the first."""

    def __init__(self):
        self.first, self.second, self.reset = Block(), Block(), Signal()

    def elaborate(self, platform):
        m = Module()
        m.submodules.first, m.submodules.second = ResetInserter(self.reset)(self.first), self.second
        return m


def both(*benches, dut=Block, reads=lambda dut: ()):
    """What benches `bench(ctx, dut, seen)` append to `seen`, in either simulation; must be the same."""
    results = []
    for natively in (False, True):
        block, seen = dut(), []

        def testbench(bench, block=block, seen=seen):
            async def run(ctx):
                await bench(ctx, block, seen)

            return run

        testbenches = map(testbench, benches)
        if natively:
            native.simulate(block, *testbenches, reads=reads(block))
        else:
            simulation.simulate(block, *testbenches)
        results.append(seen)
    assert results[0] == results[1]
    return results[0]


@pytest.mark.quick
def test_a_block_does_the_same_in_every_clock_as_in_amaranths_simulator():
    async def bench(ctx, dut, seen):
        rng = random.Random(1)
        for _ in range(300):
            ctx.set(dut.enable, rng.getrandbits(1))
            ctx.set(dut.step, rng.randrange(-256, 256))
            ctx.set(dut.wide, rng.getrandbits(WIDE_BITS))
            pair = {"low": rng.getrandbits(5), "kind": rng.choice(list(Kind)), "high": rng.randrange(-64, 64)}
            ctx.set(dut.pair, pair)
            seen.append([ctx.get(port) for port in (dut.count, dut.wide_later, dut.full, dut.pair_now, dut.pair)])
            await ctx.tick()

    assert len({row[0] for row in both(bench)}) > 100


def test_an_input_holds_its_initial_value_until_it_is_set():
    async def bench(ctx, dut, seen):
        ctx.set(dut.enable, 1)
        await ctx.tick()
        seen.append((ctx.get(dut.step), ctx.get(dut.count)))
        ctx.set(dut.step, 7)
        await ctx.tick()
        seen.append((ctx.get(dut.step), ctx.get(dut.count)))

    assert both(bench) == [(-3, -3), (7, 4)]


def test_fields_slices_and_whole_structs_are_set_and_read_alike():
    async def bench(ctx, dut, seen):
        ctx.set(dut.pair, {"low": 3, "kind": Kind.HOLD, "high": -5})
        ctx.set(dut.pair.low, 31)
        ctx.set(dut.pair.high[6], 0)
        ctx.set(dut.wide[60:70], 0x3FF)
        await ctx.tick()
        pair = ctx.get(dut.pair)
        seen += [pair.low, pair.kind, pair.high, ctx.get(dut.pair.high), ctx.get(dut.pair_now.kind)]
        seen += [ctx.get(dut.wide_later), ctx.get(dut.wide_later[64:]), ctx.get(dut.pair_now.high)]

    expected = [31, Kind.HOLD, 59, 59, Kind.HOLD, 0x3FF << 60, 0x3F, 28]
    assert both(bench) == expected


def test_values_that_do_not_fit_are_cut():
    async def bench(ctx, dut, seen):
        ctx.set(dut.wide, (1 << WIDE_BITS) + 5)
        ctx.set(dut.step, 256)
        ctx.set(dut.enable, 1)
        await ctx.tick()
        seen += [ctx.get(dut.wide_later), ctx.get(dut.step), ctx.get(dut.count)]

    assert both(bench) == [5, -256, -256]


def test_a_tick_repeats_and_waits_for_a_condition_as_it_was_before_the_edge():
    async def bench(ctx, dut, seen):
        ctx.set(dut.step, 1)
        ctx.set(dut.enable, 1)
        await ctx.tick().repeat(3)
        seen.append(ctx.get(dut.count))
        await ctx.tick().until(dut.full)
        # It was full after five clocks; one more has passed.
        seen.append(ctx.get(dut.count))

    assert both(bench) == [3, 6]


def test_testbenches_run_side_by_side_until_all_have_returned():
    async def sets(ctx, dut, seen):
        ctx.set(dut.step, 1)
        for clock in range(6):
            ctx.set(dut.enable, clock % 2)
            await ctx.tick()

    async def looks(ctx, dut, seen):
        for _ in range(9):
            seen.append(ctx.get(dut.count))
            await ctx.tick()

    assert both(sets, looks) == [0, 0, 1, 1, 2, 2, 3, 4, 5]


@pytest.mark.parametrize(("inserter", "counts"), [(ResetInserter, [1, 2, 0, 1, 2]), (EnableInserter, [0, 0, 1, 1, 1])])
def test_the_signal_of_an_inserter_is_set_like_a_port(inserter, counts):
    control = Signal()

    async def bench(ctx, dut, seen):
        block = dut._elaboratable_
        ctx.set(block.step, 1)
        ctx.set(block.enable, 1)
        for clock in range(5):
            ctx.set(control, clock == 2)
            await ctx.tick()
            seen.append(ctx.get(block.count))

    assert both(bench, dut=lambda: inserter(control)(Block())) == counts


def test_blocks_of_a_module_have_ports_of_their_own():
    async def bench(ctx, dut, seen):
        for block, step in ((dut.first, 2), (dut.second, 5)):
            ctx.set(block.step, step)
            ctx.set(block.enable, 1)
        for clock in range(4):
            ctx.set(dut.reset, clock == 1)
            await ctx.tick()
            seen.append((ctx.get(dut.first.count), ctx.get(dut.second.count)))

    assert both(bench, dut=Rig) == [(2, 5), (0, 10), (2, 15), (4, 20)]


def test_a_second_block_of_the_same_build_starts_anew_and_runs_apart():
    counts = []

    def bench(dut, clocks):
        async def run(ctx):
            ctx.set(dut.step, clocks)
            ctx.set(dut.enable, 1)
            for _ in range(clocks):
                await ctx.tick()
            if clocks == 3:
                native.simulate(inner := Block(), bench(inner, 2))
            counts.append(ctx.get(dut.count))

        return run

    native.simulate(outer := Block(), bench(outer, 3))
    assert counts == [4, 9]


def test_an_inner_signal_is_seen_by_name_alone():
    async def bench(ctx, dut, seen):
        ctx.set(dut.enable, 1)
        await ctx.tick().repeat(2)
        seen.append(ctx.get(dut.inner))

    assert both(bench, reads=lambda dut: [dut.inner]) == [2]
    dut = Block()

    async def looks(ctx):
        ctx.get(dut.inner)

    with pytest.raises(LookupError, match="signal inner is not visible: name it in `reads`"):
        native.simulate(dut, looks)


def test_what_the_block_drives_cannot_be_set():
    dut = Block()

    async def bench(ctx):
        ctx.set(dut.count, 1)

    with pytest.raises(TypeError, match="signal count is driven by the block"):
        native.simulate(dut, bench)


def test_a_failed_testbench_ends_the_others():
    ended = []
    dut = Block()

    async def waits(ctx):
        try:
            while True:
                await ctx.tick()
        finally:
            ended.append(True)

    async def fails(ctx):
        await ctx.tick()
        raise AssertionError("as it should")

    with pytest.raises(AssertionError, match="as it should"):
        native.simulate(dut, waits, fails)
    assert ended == [True]
