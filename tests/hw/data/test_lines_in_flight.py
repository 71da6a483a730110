"""Lines in flight: conflicts and sets in use, against a dictionary."""

import random

import pytest
from amaranth.sim import Simulator

from kv_endpoint.golden.common.config import preset
from kv_endpoint.hw.data.lines_in_flight import LinesInFlight

CONFIG = preset("tiny", read_slots=8, write_slots=8, sidecar_cache_rows=4)


SETS = CONFIG.sidecar_cache_rows


def place(rng):
    """(mode, frame, line); few, so that lines and sets meet."""
    return rng.randrange(2), rng.randrange(4), rng.choice((0, 1, 64))


def set_place(ctx, signal, where):
    for name, value in zip(("mode", "frame", "line"), where, strict=True):
        ctx.set(signal[name], value)


@pytest.mark.quick
@pytest.mark.parametrize("until_issued", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_conflicts_and_sets_in_use_are_those_of_the_operations_in_the_table(seed, until_issued):
    print("seed", seed)
    rng = random.Random(seed)
    dut = LinesInFlight(config=CONFIG, count=8, until_issued=until_issued)
    # number -> place: all that entered, and those of them that are issued
    entered, issued = {}, {}
    seen = {"conflict": set(), "in_use": set()}

    async def bench(ctx):
        candidate = None
        for _ in range(1500):
            free = [number for number in range(8) if number not in entered]
            enter = rng.choice(free) if free and rng.random() < 0.6 else None
            waiting = [number for number in entered if number not in issued]
            issue = rng.choice(waiting) if waiting and rng.random() < 0.5 else None
            leave = rng.choice(list(issued)) if issued and rng.random() < 0.4 else None
            # As in the datapath, an issue comes with the load of the next candidate.
            load = issue is not None or rng.random() < 0.3
            where, loaded = place(rng), place(rng)
            set_ = rng.randrange(SETS)
            for name, number in (("enter", enter), ("issue", issue), ("leave", leave)):
                ctx.set(dut.__dict__[name].valid, number is not None)
                ctx.set(dut.__dict__[name].id, number or 0)
            set_place(ctx, dut.enter.place, where)
            ctx.set(dut.load, load)
            set_place(ctx, dut.candidate, loaded)
            ctx.set(dut.set, set_)

            if candidate is not None:
                conflict = candidate in issued.values()
                assert ctx.get(dut.conflict) == conflict
                seen["conflict"].add(conflict)
            users = [where for number, where in entered.items() if not (until_issued and number in issued)]
            in_use = any(CONFIG.sidecar_row(*user) % SETS == set_ for user in users)
            assert ctx.get(dut.in_use) == in_use
            seen["in_use"].add(in_use)
            await ctx.tick()
            if issue is not None:
                issued[issue] = entered[issue]
            if enter is not None:
                entered[enter] = where
            if leave is not None:
                del entered[leave], issued[leave]
            if load:
                candidate = loaded

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == {"conflict": {False, True}, "in_use": {False, True}}


def test_a_count_that_numbers_cannot_reach_is_refused():
    with pytest.raises(ValueError, match="count must be 1 to 8, not 9"):
        LinesInFlight(config=CONFIG, count=9, until_issued=True)
