"""A reset in the middle of traffic: the endpoint starts clean, answers nothing stale and shows nothing of before."""

import pytest

from kv_endpoint.golden.common.config import LINES_PER_BLOCK, preset
from kv_endpoint.golden.events.port import EngineKind
from kv_endpoint.golden.front.address import encode, hint_address
from kv_endpoint.golden.front.hints import pack_hint
from kv_endpoint.golden.host.operations import fence_all, read, write
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.tb.stimuli.random_traffic import random_operations
from tests.support.lockstep import Lockstep

CONFIG = preset("tiny", hosts=2)
REGISTERS = [("POOL_FRAMES", 8)]


def traffic(bench, seed, *, steps=3):
    return random_operations(CONFIG, bench.region, seed=seed, steps=steps, accesses=40, blocks=6)


@pytest.mark.parametrize("seed", range(2))
def test_traffic_after_resets_at_any_moment_is_as_after_the_first(seed):
    """Whatever was under way (misses, page moves, hints, register writes) is gone: lock-step and data begin anew."""
    bench = Lockstep(CONFIG, seed=seed, registers=REGISTERS, stall=0.2)
    moments = [bench.rng.randrange(100, 900) for _ in range(4)]
    cut = [(traffic(bench, 10 * seed + number), moment) for number, moment in enumerate(moments)]
    bench.run(traffic(bench, 10 * seed + 9), cut=cut)
    assert bench.kinds(EngineKind.VICTIM) and bench.image.checked > 30


def test_no_line_written_before_a_reset_can_be_read_after_it():
    bench = Lockstep(CONFIG, seed=5, registers=REGISTERS)
    blocks = range(8)

    def lines(numbers):
        return [encode(CONFIG, bench.region, 0, block, number) for block in blocks for number in numbers]

    step = [write(hint_address(CONFIG, bench.region, 0), pack_hint(1, [])), fence_all()]
    before = [*step, *(write(line, 0xBAD << 8 | number) for number, line in enumerate(lines(range(4))))]
    # After the reset one line of each block is written, so that all blocks have frames, and its neighbours are read.
    after = [
        *step,
        *(write(line, 1) for line in lines([LINES_PER_BLOCK - 1])),
        fence_all(),
        *map(read, lines(range(4))),
    ]
    bench.run(after, cut=[(before, 2000)])
    outcomes = {record["outcome"] for record in bench.kinds(SlotKind.READ)}
    assert outcomes == {Outcome.HIT} and bench.image.checked == 4 * len(blocks)
