"""A sidecar row that memory refused is written again until memory has it, or has refused it for good."""

import random

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.hw.data.sidecar.write_back import TRIES, WriteBacks
from tests.support.simulation import fields_of, set_payload, simulate

COUNT = 4


@pytest.mark.quick
@pytest.mark.parametrize("failures", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_each_write_back_is_done_once_and_with_its_own_row(failures, stall):
    rng = random.Random(f"write back {failures} {stall}")
    dut = WriteBacks(config=preset("tiny"), count=COUNT)
    attempts, done, given_up = 0, 0, 0

    async def bench(ctx):
        nonlocal attempts, done, given_up
        free, under_way, in_memory, refused = list(range(COUNT)), {}, [], [0] * COUNT
        request, offered = None, None
        for clock in range(3000):
            if request is None and free and clock < 2900:
                request = {"id": free.pop(0), "row_number": rng.randrange(512), "row": rng.getrandbits(512)}
                ctx.set(dut.requests.payload, request)
            ctx.set(dut.requests.valid, request is not None)
            ctx.set(dut.memory.ready, rng.random() >= stall)
            answer = in_memory.pop(0) if in_memory and rng.random() < 0.5 else None
            failed = clock < 2900 and rng.random() < failures
            ctx.set(dut.confirmed.valid, answer is not None)
            if answer is not None:
                set_payload(ctx, dut.confirmed, {"id": answer, "failed": failed})
            lost = False
            if answer is not None:
                refused[answer] = refused[answer] + 1 if failed else 0
                lost = refused[answer] == TRIES
            assert bool(ctx.get(dut.done.valid)) == (answer is not None and (not failed or lost))
            if ctx.get(dut.done.valid):
                assert ctx.get(dut.done.id) == answer
                assert ctx.get(dut.done.lost) == lost
                refused[answer] = 0
                given_up += lost
                del under_way[answer]
                free.append(answer)
                done += 1
            if ctx.get(dut.memory.valid):
                seen = fields_of(ctx.get(dut.memory.payload))
                assert offered is None or seen == offered, "an offered payload changed"
                offered = seen
                if ctx.get(dut.memory.ready):
                    offered = None
                    attempts += 1
                    in_memory.append(seen["id"])
                    if request is not None and ctx.get(dut.requests.ready):
                        assert seen == request
                        under_way[seen["id"]] = request
                        request = None
                    else:
                        assert seen == under_way[seen["id"]]
            else:
                assert offered is None
            await ctx.tick()
        assert not under_way and request is None

    simulate(dut, bench)
    assert done > 100
    assert (attempts > 1.5 * done) if failures else (attempts == done)
    assert (given_up > 50) == (failures > 0.9)
