"""Requests that are neither granted nor refused: reads that are held cover their blocks; regions stay as they are."""

import random
from collections import Counter

import pytest

from kv_endpoint.golden.coherency.kept_blocks import KeptBlocks
from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import Access, Retry
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.coherency.unit import Coherency
from tests.support.simulation import set_payload, simulate

CONFIG = preset("tiny", heads=2, blocks_per_head=4)
HELD = [outcome for outcome in Outcome if outcome.held]
RELEASES = (Access.FLUSH, Access.FORGET)
READS = [access for access in Access if not access.is_write and access not in (Access.PLAIN, *RELEASES)]


class Requests:
    """Commits of requests from their first slot to their last, among others that do not matter.

    `open`: (access, block, state) of those that are not answered; the state is the `Retry` with which a held one comes
    again, or None of one that waits for its miss.
    """

    def __init__(self, seed):
        print("seed", seed)
        self.rng = random.Random(seed)
        self.open = []
        self.kept = KeptBlocks(CONFIG)
        self.seen = Counter()

    def slot(self):
        """(slot fields, outcome) of the next commit."""
        rng = self.rng
        pick = rng.random()
        if pick < 0.2:
            return self.other()
        if self.open and (pick < 0.6 or len(self.open) == CONFIG.read_slots):
            return self.again(self.open.pop(rng.randrange(len(self.open))))
        access, block = rng.choice((*READS, *RELEASES)), rng.randrange(CONFIG.blocks)
        kind = SlotKind.RELEASE if access in RELEASES else SlotKind.READ
        outcomes = [*HELD, Outcome.DONE] if access in RELEASES else [*HELD, Outcome.MISS, Outcome.HIT, Outcome.ZEROS]
        return self.comes(kind, access, block, Retry.NO, rng.choice(outcomes))

    def again(self, request):
        access, block, state = request
        rng = self.rng
        if access in RELEASES:
            return self.comes(SlotKind.RELEASE, access, block, state, rng.choice([*HELD, Outcome.DONE]))
        if state:
            return self.comes(SlotKind.READ, access, block, state, rng.choice([*HELD, Outcome.MISS, Outcome.HIT]))
        if access.caches and rng.random() < 0.3:
            self.seen[Outcome.UNWRITABLE] += 1
            return {"kind": SlotKind.ANSWER, "access": Access.PLAIN, "rwd": 0}, Outcome.UNWRITABLE
        if not access.caches and rng.random() < 0.3:
            return self.comes(SlotKind.BYPASS_READ, access, block, Retry.NO, Outcome.DONE)
        return self.comes(SlotKind.REPLAY_READ, access, block, Retry.NO, rng.choice([*HELD, Outcome.HIT]))

    def comes(self, kind, access, block, retry, outcome):
        self.seen[kind, outcome] += 1
        if access not in RELEASES and outcome in HELD:
            self.kept.held(block, again=bool(retry))
        elif access not in RELEASES and retry:
            self.kept.returns(block)
        if outcome in HELD:
            self.open.append((access, block, self.rng.choice((Retry.WAITED, Retry.SNOOPED))))
        elif outcome == Outcome.MISS:
            self.open.append((access, block, None))
        return self.fields(kind, access, block, retry), outcome

    def other(self):
        """What asks the filter for nothing, or is a write."""
        plain, write = Access.PLAIN, Access.WRITE_THROUGH
        kind, access, outcome = self.rng.choice((
            (SlotKind.READ, plain, Outcome.MISS), (SlotKind.REPLAY_READ, plain, Outcome.HIT),
            (SlotKind.BYPASS_READ, plain, Outcome.DONE), (SlotKind.WRITE, write, Outcome.MISS),
            (SlotKind.REPLAY_WRITE, write, Outcome.HIT), (SlotKind.ANSWER, plain, Outcome.UNWRITABLE),
            (SlotKind.ANSWER, plain, Outcome.NXM), (SlotKind.HINT, plain, Outcome.DONE),
        ))  # fmt: skip
        rwd = kind in (SlotKind.WRITE, SlotKind.REPLAY_WRITE) or outcome == Outcome.UNWRITABLE
        return self.fields(kind, access, self.rng.randrange(CONFIG.blocks), Retry.NO) | {"rwd": rwd}, outcome

    @staticmethod
    def fields(kind, access, block, retry):
        head, local = divmod(block, CONFIG.blocks_per_head)
        return {"kind": kind, "access": access, "head": head, "block": local, "retry": retry, "rwd": 0}


@pytest.mark.parametrize("seed", [1, 2])
def test_what_waits_covers_its_block_and_keeps_its_region(seed):
    dut, requests = Coherency(config=CONFIG), Requests(seed)
    quiet = Counter()

    async def bench(ctx):
        while not ctx.get(dut.room):
            await ctx.tick()
        for _ in range(200):
            for _ in range(requests.rng.randrange(12)):
                fields, outcome = requests.slot()
                set_payload(ctx, dut.commit.slot, fields)
                ctx.set(dut.commit.outcome, outcome)
                ctx.set(dut.commit.valid, 1)
                await ctx.tick()
            ctx.set(dut.commit.valid, 0)
            if requests.rng.random() < 0.3:
                while requests.open:
                    fields, outcome = requests.again(requests.open.pop())
                    set_payload(ctx, dut.commit.slot, fields)
                    ctx.set(dut.commit.outcome, outcome)
                    ctx.set(dut.commit.valid, 1)
                    await ctx.tick()
                ctx.set(dut.commit.valid, 0)
            await ctx.tick()
            while not ctx.get(dut.idle):
                await ctx.tick()
            assert ctx.get(dut.in_use) == bool(requests.open)
            quiet[bool(requests.open)] += 1
            for block in range(CONFIG.blocks):
                set_payload(ctx, dut.look, {"enable": 1, "index": block})
                await ctx.tick()
                assert ctx.get(dut.covered) == (block in requests.kept.blocks), f"block {block}"
            ctx.set(dut.look.enable, 0)

    simulate(dut, bench)
    assert min(quiet[True], quiet[False]) > 10
    assert requests.seen[Outcome.UNWRITABLE] and requests.seen[SlotKind.BYPASS_READ, Outcome.DONE]
    assert all(requests.seen[kind, HELD[0]] for kind in (SlotKind.READ, SlotKind.REPLAY_READ, SlotKind.RELEASE))
