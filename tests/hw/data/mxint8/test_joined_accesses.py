"""Pairs: every operation ends once, the first of an access before the one that joined it."""

import random
from collections import deque

import pytest

from kv_endpoint.hw.data.mxint8.joined_accesses import Pairs
from tests.support.simulation import set_payload, simulate

BITS = 4


@pytest.mark.quick
@pytest.mark.parametrize("seed", range(3))
def test_both_operations_of_an_access_end_with_its_answer(seed):
    print("seed", seed)
    rng = random.Random(seed)
    dut = Pairs(number_bits=BITS, count=16, note=8)
    # numbers in use; access -> the operations (number, note) that end with it; what has to end next
    free, accesses, due = set(range(16)), {}, deque()
    joined_late = []

    async def bench(ctx):
        offered, ended = None, 0
        for clock in range(3000):
            opened = rng.choice(sorted(free)) if len(free) > 1 and rng.random() < 0.5 else None
            open_now = {}
            set_payload(ctx, dut.first, {"valid": 0})
            set_payload(ctx, dut.second, {"valid": 0})
            if opened is not None:
                note = rng.getrandbits(8)
                free.discard(opened)
                open_now[opened] = [(opened, note)]
                set_payload(ctx, dut.first, {"valid": 1, "number": opened, "note": note})
            # A second operation: of an older access, or of the one that opens in this clock.
            alone = [number for number, operations in (open_now or accesses).items() if len(operations) == 1]
            if alone and free and rng.random() < 0.6:
                access, number, note = rng.choice(alone), rng.choice(sorted(free)), rng.getrandbits(8)
                free.discard(number)
                (open_now or accesses)[access].append((number, note))
                set_payload(ctx, dut.second, {"valid": 1, "access": access, "number": number, "note": note})
                joined_late.append(offered is not None and access == offered[0])
            if offered is None and accesses and rng.random() < 0.7:
                offered = (rng.choice(sorted(accesses)), rng.random() < 0.2)
                set_payload(ctx, dut.answers.payload, dict(zip(("number", "failed"), offered, strict=True)))
            ctx.set(dut.answers.valid, offered is not None)
            ctx.set(dut.ended.ready, rng.random() < 0.8)
            accesses.update(open_now)
            if ctx.get(dut.ended.valid) and ctx.get(dut.ended.ready):
                ended += 1
                got = ctx.get(dut.ended.payload)
                assert (got.number, got.note, got.failed, got.joined) == due.popleft(), f"clock {clock}"
                free.add(got.number)
            if offered is not None and ctx.get(dut.answers.ready):
                access, failed = offered
                due.extend((number, note, failed, joined) for joined, (number, note) in enumerate(accesses.pop(access)))
                offered = None
            await ctx.tick()
        assert ended > 500

    simulate(dut, bench)
    assert any(joined_late), "no operation joined an access that was being answered"


def test_a_count_that_numbers_cannot_reach_is_refused():
    with pytest.raises(ValueError, match="count must be 1 to 16, not 17"):
        Pairs(number_bits=BITS, count=17, note=8)
