"""Kept blocks: the RTL keeps what the golden model keeps; who is kept finds his block."""

import random

import pytest

from kv_endpoint.golden.coherency.kept_blocks import KeptBlocks as GoldenKeptBlocks
from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import Access, Retry
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.coherency.kept_blocks import KeptBlocks
from tests.support.simulation import set_payload, simulate

HELD = [outcome for outcome in Outcome if outcome.held]


def test_the_first_blocks_are_kept_until_their_last_read_has_come_again():
    kept = GoldenKeptBlocks(preset("tiny", read_slots=2))
    for block in (1, 2, 1, 3):
        kept.held((0, block), again=False)
    assert kept.blocks == {(0, 1): 2, (0, 2): 1}
    # Held again: one that is kept counts as it did, one that found no place still finds none.
    kept.held((0, 1), again=True)
    kept.held((0, 3), again=True)
    kept.returns((0, 1))
    assert kept.blocks == {(0, 1): 1, (0, 2): 1}
    kept.returns((0, 1))
    kept.held((0, 3), again=True)
    assert kept.blocks == {(0, 2): 1, (0, 3): 1}
    kept.returns((0, 9))
    assert len(kept.blocks) == 2


@pytest.mark.quick
@pytest.mark.parametrize("read_slots", [2, 8, 32])
@pytest.mark.parametrize("seed", [1, 2])
def test_it_keeps_what_the_golden_model_keeps(seed, read_slots):
    print("seed", seed)
    rng = random.Random(seed)
    config = preset("tiny", heads=4, blocks_per_head=4, read_slots=read_slots)
    dut, golden, reads = KeptBlocks(config=config), GoldenKeptBlocks(config), {}
    full = 0

    def expected():
        return sum(golden.blocks.values())

    async def bench(ctx):
        nonlocal full
        waiting = []
        for _ in range(3000):
            again = waiting and (rng.random() < 0.4 or len(waiting) == read_slots)
            where = waiting.pop(rng.randrange(len(waiting))) if again else (rng.randrange(4), rng.randrange(4))
            held, valid = rng.random() < 0.75, again or rng.random() < 0.9
            # A release waits for no frame.
            kind = rng.choice((SlotKind.READ, SlotKind.REPLAY_READ, SlotKind.RELEASE)) if not again else SlotKind.READ
            outcome = rng.choice(HELD) if held else rng.choice((Outcome.HIT, Outcome.MISS, Outcome.ZEROS))
            retry = rng.choice((Retry.WAITED, Retry.SNOOPED)) if again else Retry.NO
            set_payload(ctx, dut.commit.slot, {
                "kind": kind, "head": where[0], "block": where[1], "access": Access.READ_SHARED, "retry": retry,
            })  # fmt: skip
            ctx.set(dut.commit.outcome, outcome)
            ctx.set(dut.commit.valid, bool(valid))
            before = expected()
            if valid and kind != SlotKind.RELEASE:
                if held:
                    golden.held(where, again=bool(again))
                    waiting.append(where)
                elif again:
                    golden.returns(where)
            full += len(golden.blocks) == config.kept_blocks
            covers = ctx.get(dut.covers)
            change = expected() - before
            assert (bool(covers.valid), change) in ((False, 0), (True, 1 if covers.up else -1))
            if change:
                assert covers.index == where[0] * 4 + where[1]
                reads[where] = reads.get(where, 0) + change
            assert {at: count for at, count in reads.items() if count} == golden.blocks
            await ctx.tick()

    simulate(dut, bench)
    assert full > 100
