"""Rows in flight: numbers in turn, and the row of each, against a dictionary."""

import random

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.hw.data.sidecar.rows_in_flight import RowsInFlight
from tests.support.simulation import simulate

CONFIG = preset("tiny")
COUNT = 4


@pytest.mark.quick
@pytest.mark.parametrize("seed", range(2))
def test_numbers_come_in_turn_and_each_keeps_its_row_until_it_ends(seed):
    print("seed", seed)
    rng = random.Random(seed)
    dut = RowsInFlight(config=CONFIG, count=COUNT)
    seen = set()

    async def bench(ctx):
        rows, next_number = {}, 0
        for _ in range(1000):
            assert ctx.get(dut.number) == next_number
            free = bool(ctx.get(dut.free))
            assert free == (next_number not in rows)
            seen.add(free)
            assert ctx.get(dut.under_way) == sum(1 << number for number in rows)
            under_way = ctx.get(dut.rows)
            assert all(under_way[number] == row for number, row in rows.items())
            start = free and rng.random() < 0.6
            row = rng.randrange(1 << CONFIG.row_bits)
            ctx.set(dut.start, start)
            ctx.set(dut.row, row)
            # Any may end first.
            ending = rng.choice(list(rows)) if rows else None
            end = ending is not None and rng.random() < 0.5
            ctx.set(dut.end.valid, end)
            if ending is not None:
                ctx.set(dut.end.id, ending)
                assert ctx.get(dut.ended_row) == rows[ending]
            await ctx.tick()
            if end:
                del rows[ending]
            if start:
                rows[next_number] = row
                next_number = (next_number + 1) % COUNT

    simulate(dut, bench)
    assert seen == {False, True}


@pytest.mark.parametrize("count", [0, 3, 64])
def test_a_count_that_is_no_power_of_two_or_beyond_the_numbers_is_refused(count):
    with pytest.raises(ValueError, match=f"count must be a power of two up to 32, not {count}"):
        RowsInFlight(config=CONFIG, count=count)
