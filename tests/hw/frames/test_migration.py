"""Demotions in lock-step with the golden rules (`tests/support/residency.py`), and what failing flash does to them."""

from random import Random

import pytest

from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.events.port import EngineKind, ErrorKind
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind, State
from tests.support.residency import Access, World, random_accesses, scarce


def errors(world):
    return [record["key"] for record in world.kinds(EngineKind.ERROR)]


@pytest.mark.parametrize("write", [False, True])
def test_an_access_cancels_a_demotion_and_nothing_is_freed(write):
    """Each block that turns demoting is accessed while its page is being written."""
    config = scarce()
    world = World(config, seed=1, flash_latency=(100, 100), policy=Policy(bypass=False))
    blocks = [Access(True, 0, block, 0, block + 1) for block in range(11)]
    seen = []

    def script(world):
        demoted = world.kinds(SlotKind.DEMOTE)
        if len(demoted) > len(seen) and len(seen) < 6:
            block = demoted[len(seen)]["block"]
            seen.append(Access(write, 0, block, 1, 100 + len(seen)))
            world.urgent.append(seen[-1])

    reads = [Access(False, 0, block, line, barrier=block == line == 0) for line in (0, 1) for block in range(11)]
    world.run([*blocks, *reads], script=script)
    ignored = [record for record in world.kinds(SlotKind.EVICT) if record["outcome"] == Outcome.IGNORED]
    assert len(ignored) >= 3
    assert all(record["state_after"] == State.WARM for record in ignored)


def test_a_frame_is_given_up_when_what_went_before_is_done():
    """The datapath is slow, so that operations are still under way when their block turns demoting."""
    config = scarce()
    world = World(config, seed=7, slow=120, stall=0, policy=Policy(bypass=False))
    world.run(random_accesses(Random(7), config, 120, heads=1, blocks=12), outstanding=12)
    assert len(world.kinds(SlotKind.DEMOTE)) > 10


def test_a_clean_block_leaves_without_a_page_write():
    world = World(scarce(), seed=2, policy=Policy(bypass=False))
    reads = [Access(False, 0, block, 0, barrier=True) for _ in range(3) for block in range(10)]
    world.run([*(Access(True, 0, block, 0, block + 1) for block in range(10)), *reads])
    clean = [record for record in world.kinds(SlotKind.DEMOTE) if not record["flags_before"] & 1]
    assert len(clean) > 5
    assert len(world.kinds(EngineKind.PAGE_WRITE)) == len(world.kinds(SlotKind.DEMOTE)) - len(clean)


def test_a_block_whose_page_write_fails_stays_and_is_tried_again():
    config = scarce()
    rng = Random(3)
    world = World(config, seed=3, fails=lambda write, page: write and rng.random() < 0.3)
    world.run(random_accesses(Random(3), config, 120, writes=0.6), steps=3)
    assert world.kinds(SlotKind.RESTORE)
    failed = [record for record in world.kinds(EngineKind.PAGE_WRITE_DONE) if record["aux"] & 1]
    assert errors(world).count(ErrorKind.PAGE_WRITE) == len(failed)
    assert ErrorKind.FLASH_UNWRITABLE not in errors(world)


def test_a_page_without_its_sidecar_line_is_not_written():
    """A dirty block stays, as if its page could not be written; a clean one leaves."""
    rng = Random(9)
    world = World(scarce(flash_failure_limit=100), seed=9, refuses=lambda frame: rng.random() < 0.3)
    world.run(random_accesses(Random(9), world.config, 160, writes=0.4), steps=4)
    failed = [record for record in world.kinds(EngineKind.PAGE_WRITE_DONE) if record["aux"] & 1]
    assert len(failed) > 3 and len(world.kinds(EngineKind.PAGE_WRITE)) > len(failed) + 3
    assert errors(world).count(ErrorKind.PAGE_WRITE) == len(failed)


def test_page_reads_and_writes_that_fail_at_random():
    config = scarce(flash_failure_limit=100)
    rng = Random(4)
    world = World(config, seed=4, fails=lambda write, page: rng.random() < 0.2)
    world.run(random_accesses(Random(4), config, 120), steps=5)
    assert {ErrorKind.PAGE_READ, ErrorKind.PAGE_WRITE} == set(errors(world))


@pytest.mark.parametrize("bypass", [False, True])
def test_unwritable_flash_answers_everything(bypass):
    """From some clock on no page can be written: writes that need a frame are dropped, reads go on."""
    config = scarce(flash_failure_limit=4)
    world = World(config, seed=5, policy=Policy(bypass=bypass))
    world.fails = lambda write, page: write and world.clock > 1500
    accesses = world.run(random_accesses(Random(5), config, 160), steps=6)
    assert errors(world).count(ErrorKind.FLASH_UNWRITABLE) == 1
    at = next(r["clock"] for r in world.kinds(EngineKind.ERROR) if r["key"] == ErrorKind.FLASH_UNWRITABLE)
    failed = [r for r in world.kinds(EngineKind.PAGE_WRITE_DONE) if r["aux"] & 1 and r["clock"] < at]
    assert len(failed) == config.flash_failure_limit
    assert "unwritable" in [access.result for access in accesses]
    assert all(access.result is not None for access in accesses)
    last = max(record["clock"] for record in world.kinds(EngineKind.ERROR))
    assert not [record for record in world.kinds(SlotKind.DEMOTE) if record["clock"] > last]
    assert [record for record in world.kinds(SlotKind.BYPASS_READ) if record["clock"] > last]


@pytest.mark.quick
def test_reads_of_a_block_whose_writes_are_dropped_are_served():
    """With unwritable flash, reads and writes of few blocks: reads left behind by a dropped write open a new miss."""
    config = scarce(flash_failure_limit=1, pool_blocks=5, demotion_slots=2)
    world = World(config, seed=8, fails=lambda write, page: write and world.clock > 800, stall=0)
    old = [Access(True, 0, block, 0, block + 1) for block in range(8)]
    accesses = world.run([*old, *random_accesses(Random(8), config, 200, heads=1, blocks=8)], steps=2)
    assert [access.result for access in accesses].count("unwritable") > 20


def test_flash_that_recovers_in_time_stays_writable():
    """One failure less than the limit, then a success: the count starts again."""
    config = scarce(flash_failure_limit=2)
    outcomes = []

    def fails(write, page):
        if not write:
            return False
        outcomes.append(len(outcomes) % 2 == 0)
        return outcomes[-1]

    world = World(config, seed=6, fails=fails, policy=Policy(bypass=False))
    world.run(random_accesses(Random(6), config, 40, writes=0.8))
    assert len(outcomes) > 8
    assert ErrorKind.FLASH_UNWRITABLE not in errors(world)
