"""A block in migration is no victim, also where nothing was committed that the victim engine could have seen."""

import pytest

from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.pipeline.metadata import SlotKind
from kv_endpoint.golden.victims.search import Domain
from tests.hw.victims.test_engine import TINY, Bench, run


@pytest.mark.quick
@pytest.mark.parametrize("domain", list(Domain))
def test_a_miss_of_a_warm_block_protects_it_without_a_commit(domain):
    bench = Bench(TINY, Policy(), seed=1)

    async def victim():
        answer = await bench.request(1, domain)
        assert answer["found"]
        return answer["head"], answer["block"]

    async def life():
        await bench.idle(20)
        for where in ((1, 3), (1, 5)):
            await bench.slot(SlotKind.ALLOCATE, where)
        # The engine knows by now which one is the first to leave.
        await bench.idle(200)
        assert await victim() == (1, 3)
        bench.migrating.add((1, 3))
        assert await victim() == (1, 5)
        await bench.end_migration((1, 3))
        assert await victim() == (1, 3)

    run(bench, life)
