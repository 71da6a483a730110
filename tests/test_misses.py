"""Misses, migration and allocator together, in lock-step with the golden rules."""

from random import Random

import pytest

from golden.policy import Policy
from tests.residency import World, random_accesses, scarce


@pytest.mark.parametrize("seed", range(2))
def test_every_request_is_answered_with_the_data_written_last(seed):
    config = scarce()
    world = World(config, seed=seed, policy=Policy())
    world.run(random_accesses(Random(seed), config, 300), steps=10)
