"""The whole endpoint in golden lock-step under random traffic."""

import pytest

from kv_endpoint.golden.common.config import LINES_PER_BLOCK, preset
from kv_endpoint.golden.common.messages import DRSOpcode, NDROpcode
from kv_endpoint.golden.common.policy import Priority
from kv_endpoint.golden.events.port import EngineKind, ErrorKind
from kv_endpoint.golden.front.address import encode, hint_address
from kv_endpoint.golden.front.hints import pack_hint
from kv_endpoint.golden.host.operations import fence_all, read, write
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.golden.registers.rules import pack
from kv_endpoint.tb.stimuli.random_traffic import random_operations
from tests.support.lockstep import Lockstep, quota_writes
from tests.support.simulation import simulate

CONFIG = preset("tiny", hosts=2)
POOL_FRAMES = 8


def traffic(bench, *, seed, steps, accesses, blocks):
    return random_operations(CONFIG, bench.region, seed=seed, steps=steps, accesses=accesses, blocks=blocks)


def test_reads_outside_every_region_get_no_completion_and_the_window_reads_as_zero():
    bench = Lockstep(CONFIG, seed=4)
    window = hint_address(CONFIG, bench.region, 0)
    outside = window + CONFIG.heads
    line = encode(CONFIG, bench.region, 1, 2, 3)
    bench.run([write(line, 7), fence_all(), read(line), read(window), read(outside), write(outside, 1)], limit=500)
    completed, data = {"ndr": NDROpcode.CMP}, {"drs": DRSOpcode.MEM_DATA}
    assert bench.answers == {
        0: completed,
        2: completed | data,
        3: completed | data,
        4: {"drs": DRSOpcode.MEM_DATA_NXM},
        5: completed,
    }


def test_a_new_block_reads_as_zeros_where_it_was_not_written():
    bench = Lockstep(CONFIG, seed=5)
    lines = [encode(CONFIG, bench.region, 1, 2, line) for line in range(8)]
    bench.run([write(lines[0], 7), fence_all(), *map(read, lines)], limit=1000)
    assert bench.image.checked == len(lines)


def test_a_frame_is_given_up_when_the_reads_under_way_have_ended():
    """Block 0 leaves while slow reads of it are under way; the page of another block comes into its frame."""
    registers = [("POOL_FRAMES", CONFIG.pool_frames_min), ("POLICY", pack("POLICY", PRIORITY=Priority.LRU))]
    bench = Lockstep(CONFIG, seed=6, registers=registers, memory_latency=(1, 3), flash_latency=(1, 2))
    slow, quick = range(4), 9
    bench.memory.slow.update(frame * LINES_PER_BLOCK + number for frame in range(CONFIG.frames) for number in slow)
    new = range(CONFIG.pool_frames_min)
    old = range(8, 8 + len(new))

    def step(number):
        return [write(hint_address(CONFIG, bench.region, 0), pack_hint(number, [])), fence_all()]

    def lines(blocks, numbers):
        return [encode(CONFIG, bench.region, 0, block, number) for block in blocks for number in numbers]

    operations = step(1)
    operations += [write(line, line) for line in lines(old, (*slow, quick))]
    operations += step(2)
    operations += [write(line, line) for line in lines(new, slow)]
    operations += [fence_all(), *map(read, lines([0], slow)), *map(read, lines(old, [quick]))]
    bench.run(operations, limit=6000)
    frame = next(record["frame"] for record in bench.kinds(EngineKind.VICTIM) if record["block"] == 0)
    assert frame in {record["frame"] for record in bench.kinds(EngineKind.PAGE_READ)}, "its frame was not used again"


def test_the_step_counter_stops_before_its_end():
    """With 17 bits it may not reach 2^16: the hint that would is answered, and reported, but moves nothing."""
    config = preset("tiny", step_bits=17)
    bench = Lockstep(config, seed=7, simulate=simulate)
    window = hint_address(config, bench.region, 2)
    headers = (0xFFFE, 0xFFFF, 0, 1, 0xFFFF)
    operations = [step for header in headers for step in (write(window, pack_hint(header, [])), fence_all())]
    bench.run(operations, limit=1000)
    assert [record["aux"] for record in bench.kinds(EngineKind.STEP)] == [0xFFFE, 0xFFFF]
    errors = bench.kinds(EngineKind.ERROR)
    assert [(record["key"], record["aux"]) for record in errors] == [(ErrorKind.STEP_EXHAUSTED, aux) for aux in (0, 1)]
    answered = [Outcome.HINT_DONE] * 2 + [Outcome.HINT_EXHAUSTED] * 2 + [Outcome.HINT_DONE]
    assert [record["outcome"] for record in bench.kinds(SlotKind.ANSWER)] == answered


@pytest.mark.quick
def test_decisions_and_data_are_right_while_a_small_pool_overflows():
    bench = Lockstep(CONFIG, seed=1, registers=[("POOL_FRAMES", POOL_FRAMES)])
    bench.run(traffic(bench, seed=1, steps=8, accesses=60, blocks=6))
    for kind in (EngineKind.VICTIM, EngineKind.BYPASS, EngineKind.PAGE_READ, EngineKind.PAGE_WRITE):
        assert bench.kinds(kind), f"no {kind.name}"
    assert any(record["outcome"] == Outcome.HIT for record in bench.kinds(SlotKind.READ))
    assert bench.image.checked > 100


def test_quotas_hold_and_ports_may_stall():
    registers = [("POOL_FRAMES", 12), ("POLICY", pack("POLICY", PRIORITY=Priority.LRU, PROTECT=1, BYPASS=0))]
    for head, quotas in enumerate(((2, 4), (0, 5), (1, 64), (3, 64))):
        registers += quota_writes(head, *quotas)
    bench = Lockstep(CONFIG, seed=2, registers=registers, stall=0.3, memory_latency=(1, 30))
    bench.run(traffic(bench, seed=2, steps=4, accesses=50, blocks=8))
    assert len(bench.kinds(EngineKind.QUOTA)) == CONFIG.heads
    evicted = [(record["aux"] >> 8, record["head"]) for record in bench.kinds(EngineKind.VICTIM)]
    assert any(requester == head for requester, head in evicted)
    assert any(requester != head for requester, head in evicted)


def test_failing_pages_are_poison_or_stay():
    bench = None

    def fails(write, page):
        return bench.rng.random() < 0.15

    bench = Lockstep(CONFIG, seed=3, registers=[("POOL_FRAMES", POOL_FRAMES)], page_fails=fails)
    bench.run(traffic(bench, seed=3, steps=5, accesses=50, blocks=6))
    assert bench.kinds(SlotKind.RESTORE) and bench.kinds(EngineKind.ERROR)
