"""Read and write slots: numbers are handed out once, come back, and what was stored is found."""

import random

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from kv_endpoint.golden.common.config import preset
from kv_endpoint.hw.front.request_slots import ReadSlots, WriteSlots

CONFIG = preset("tiny", read_slots=8, write_slots=4)
TABLES = {"read": (ReadSlots, CONFIG.read_slots), "write": (WriteSlots, CONFIG.write_slots)}


def run(dut, *testbenches):
    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    simulator.run()


def message(rng, table):
    values = {"tag": rng.getrandbits(16), "ld_id": rng.getrandbits(4)}
    if table == "write":
        values |= {"data": rng.getrandbits(512), "be": rng.getrandbits(64), "poison": rng.getrandbits(1)}
    return values


@pytest.mark.quick
@pytest.mark.parametrize("table", TABLES)
def test_every_number_is_handed_out_once_in_rising_order_after_reset(table):
    cls, count = TABLES[table]
    dut = cls(config=CONFIG)

    async def bench(ctx):
        ctx.set(dut.available.ready, 1)
        for number in range(count):
            assert ctx.get(dut.available.valid)
            assert ctx.get(dut.available.payload) == number
            await ctx.tick()
        for _ in range(4):
            assert not ctx.get(dut.available.valid)
            await ctx.tick()

    run(dut, bench)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("table", TABLES)
def test_stored_messages_are_found_and_numbers_never_have_two_holders(table, seed):
    print("seed", seed)
    rng = random.Random(seed)
    cls, count = TABLES[table]
    dut = cls(config=CONFIG)

    async def bench(ctx):
        held, most, asked, asked_data = {}, 0, None, None
        for _ in range(2000):
            if asked is not None:
                assert (ctx.get(dut.found.tag), ctx.get(dut.found.ld_id)) == (asked["tag"], asked["ld_id"])
            if asked_data is not None:
                seen = {name: ctx.get(dut.contents[name]) for name in ("data", "be", "poison")}
                assert seen == {name: asked_data[name] for name in seen}
            # A look-up's result stays while nothing else is looked up.
            look = held and rng.random() < 0.6
            ctx.set(dut.lookup.enable, bool(look))
            if look:
                number = rng.choice(list(held))
                ctx.set(dut.lookup.id, number)
                asked = held[number]
            if table == "write":
                look = held and rng.random() < 0.6
                ctx.set(dut.read.enable, bool(look))
                if look:
                    number = rng.choice(list(held))
                    ctx.set(dut.read.id, number)
                    asked_data = held[number]
            take = rng.random() < 0.6
            ctx.set(dut.available.ready, take)
            taken = take and ctx.get(dut.available.valid)
            ctx.set(dut.store.enable, taken)
            release = held and rng.random() < 0.5
            ctx.set(dut.release.valid, bool(release))
            if release:
                number = rng.choice(list(held))
                ctx.set(dut.release.id, number)
                del held[number]
            if taken:
                number = ctx.get(dut.available.payload)
                assert number not in held and number < count
                held[number] = message(rng, table)
                ctx.set(dut.store.id, number)
                for name, value in held[number].items():
                    ctx.set(dut.store[name], value)
            most = max(most, len(held))
            await ctx.tick()
            assert ctx.get(dut.used) == len(held)
        assert most == count

    run(dut, bench)


@pytest.mark.parametrize("table", TABLES)
def test_a_reset_in_the_middle_frees_every_number(table):
    cls, count = TABLES[table]
    dut = cls(config=CONFIG)
    reset = Signal()

    async def bench(ctx):
        ctx.set(dut.available.ready, 1)
        for cycle in range(3 * count):
            ctx.set(dut.release.valid, cycle == count or cycle == count + 2)
            ctx.set(dut.release.id, cycle % count)
            await ctx.tick()
        assert not ctx.get(dut.available.valid)
        ctx.set(dut.release.valid, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        assert ctx.get(dut.used) == 0
        for number in range(count):
            assert ctx.get(dut.available.valid) and ctx.get(dut.available.payload) == number
            await ctx.tick()
        assert not ctx.get(dut.available.valid)

    run(ResetInserter(reset)(dut), bench)
