# amaranth: UnusedElaboratable=no
"""The metadata pipeline commits each slot as golden.metadata.commit says, one a clock, also for one hammered entry."""

import random
from collections import deque
from dataclasses import dataclass, replace

import pytest

from kv_endpoint.golden.common.config import SECTOR_LINES, preset
from kv_endpoint.golden.common.line_access import Access, Grant, Retry
from kv_endpoint.golden.common.policy import Policy, ScoreSource
from kv_endpoint.golden.pipeline.metadata import FLAGS, DataKind, Entry, Outcome, Slot, SlotKind, State, commit
from kv_endpoint.hw.pipeline.metadata import FILTER_CLOCKS, MetadataPipeline
from tests.support.native import simulate
from tests.support.simulation import fields_of, set_payload

CONFIG = preset("tiny")
HOST_KINDS = (SlotKind.READ, SlotKind.RELEASE, SlotKind.WRITE, SlotKind.HINT, SlotKind.ANSWER)
ENGINE_KINDS = tuple(set(SlotKind) - set(HOST_KINDS))
WRITES = (Access.WRITE_THROUGH, Access.WRITE_BACK, Access.WRITE_KEEP)
RELEASES = (Access.FLUSH, Access.FORGET)
READS = tuple(set(Access) - {Access.PLAIN, *WRITES, *RELEASES})
ACCESSES = {
    SlotKind.READ: READS, SlotKind.REPLAY_READ: READS, SlotKind.WRITE: WRITES, SlotKind.REPLAY_WRITE: WRITES,
    SlotKind.RELEASE: RELEASES,
}  # fmt: skip
HELD = tuple(outcome for outcome in Outcome if outcome.held)


@dataclass(frozen=True)
class Verdict:
    """What the snoop filter says, as far as a commit depends on it."""

    held: Outcome | None = None
    owner: bool = True
    grant: Grant = Grant.CMP


def random_verdict(rng, access):
    """A write is never held, and only a write-back can lack its owner."""
    if access in (Access.WRITE_BACK, Access.WRITE_KEEP):
        return Verdict(owner=rng.random() < 0.7)
    held = rng.choice(HELD) if not access.is_write and rng.random() < 0.3 else None
    return Verdict(held=held, grant=Grant.CMP if held else rng.choice(list(Grant)))


class Bench:
    """Feeds slots, follows the golden table commit by commit and checks records, entries and data operations.

    It is the snoop filter, too: its verdicts are random, its questions those of the slots that commit.
    """

    def __init__(self, policy, seed):
        self.policy, self.random = policy, random.Random(seed)
        self.dut = MetadataPipeline(config=CONFIG)
        self.table = {}
        self.committed = 0
        self.states_left = set()
        self.expected_ops, self.ops = [], []
        #: the filter's, of this clock and those before
        self.questions = deque(maxlen=FILTER_CLOCKS + 1)
        #: (kind, outcome) of slots that asked the filter
        self.judged = set()

    def see_commit(self, ctx):
        """Look at the question of this clock, and at the slot that commits in it."""
        self.questions.append(fields_of(ctx.get(self.dut.filter_question)))
        if ctx.get(self.dut.commit.valid):
            self.check_commit(ctx)
        elif len(self.questions) > FILTER_CLOCKS:
            assert not self.questions[0]["valid"]
            assert not ctx.get(self.dut.filter_take)

    def check_question(self, slot, mode):
        """That `slot` asked the filter `FILTER_CLOCKS` ago, if it had to."""
        question = self.questions[0]
        assert question["valid"] == (slot.access != Access.PLAIN)
        if slot.access != Access.PLAIN:
            sector, line = divmod((slot.head * CONFIG.blocks_per_head + slot.block) * 128 + slot.line, SECTOR_LINES)
            expected = {
                "valid": 1, "access": slot.access, "host": slot.host, "retry": slot.retry, "lossy": mode,
                "sector": sector, "line": line,
            }  # fmt: skip
            assert question == expected

    def check_commit(self, ctx):
        dut = self.dut
        slot_fields = fields_of(ctx.get(dut.commit.slot))
        verdict = random_verdict(self.random, Access(slot_fields["access"]))
        set_payload(
            ctx, dut.filter_verdict, {"held": verdict.held or 0, "owner": verdict.owner, "grant": verdict.grant}
        )
        seen = ctx.get(dut.commit)
        slot = Slot(
            kind=SlotKind(slot_fields["kind"]), rwd=bool(slot_fields["rwd"]), tag=slot_fields["tag"],
            head=slot_fields["head"], block=slot_fields["block"], line=slot_fields["line"],
            value=slot_fields["value"], frame=slot_fields["frame"], outcome=Outcome(slot_fields["outcome"]),
            access=Access(slot_fields["access"]), host=slot_fields["host"], retry=Retry(slot_fields["retry"]),
        )  # fmt: skip
        self.check_question(slot, slot_fields["mode"])
        where = slot.head, slot.block
        before = self.table.get(where, Entry())
        now = ctx.get(dut.now)
        plain = slot.access == Access.PLAIN
        expected = commit(before, slot, now, self.policy, *(() if plain else (verdict,)))
        self.table[where] = expected.entry
        self.states_left.add(before.state)
        assert int(seen["outcome"]) == expected.outcome, (slot, before)
        assert (int(seen["touch"]), int(seen["event"])) == (expected.touch, expected.event), (slot, before)
        after = fields_of(seen["after"])
        for name in ("ema", "step", "frame", "state", *FLAGS):
            assert after[name] == int(getattr(expected.entry, name)), (name, slot, before)
        assert ctx.get(dut.record_valid)
        # A refused write leaves the filter as it is, taken or not.
        assert plain or not verdict.owner or ctx.get(dut.filter_take) == expected.filtered, (slot, before, verdict)
        record = fields_of(ctx.get(dut.record))
        for name in ("outcome", "grant"):
            assert record[name] == getattr(expected, name), (name, slot, before, verdict)
        for name in ("kind", "tag", "access", "host", "retry"):
            assert record[name] == getattr(slot, name), (name, slot)
        if not plain:
            self.judged.add((slot.kind, expected.outcome))
        if slot.kind != SlotKind.ANSWER:
            assert (record["state_before"], record["flags_before"]) == (before.state, before.flags)
            assert (record["state_after"], record["flags_after"]) == (expected.entry.state, expected.entry.flags)
            assert (record["ema"], record["step"]) == (expected.entry.ema, now)
        if expected.data != DataKind.NONE:
            frame = slot.frame if slot.kind == SlotKind.BYPASS_READ else before.frame
            self.expected_ops.append((expected.data, slot_fields["id"], frame, slot.line, expected.grant))
        self.committed += 1

    def run(self, *, slots, clocks, step_every=40, blocks=None, stall=0.2):
        """Offer random host and engine slots (`slots` makes one for a list of kinds) and advance the step when idle."""
        dut, rng = self.dut, self.random

        async def bench(ctx):
            for name in ("priority", "score", "alpha", "lam", "protect", "bypass"):
                ctx.set(getattr(dut.policy, name), int(getattr(self.policy, name)))
            ctx.set(dut.record_room, 1)
            while not ctx.get(dut.ready):
                await ctx.tick()
            offered = {}
            streams = {
                "rwd": dut.rwd_slots, "retry": dut.retry_slots, "req": dut.req_slots, "engine": dut.engine_slots,
            }  # fmt: skip
            for clock in range(clocks):
                holding = clock % step_every > step_every - dut.commit_stage - 4
                ctx.set(dut.hold_external, holding)
                ctx.set(dut.hold_engine, holding)
                if holding and ctx.get(dut.idle):
                    ctx.set(dut.now, ctx.get(dut.now) + rng.choice([0, 1, 1, 2, 7, 1000]))
                for name, stream in streams.items():
                    # The streams that go first leave room for the others.
                    if name not in offered and rng.random() >= (3 * stall if name in ("rwd", "retry") else stall):
                        offered[name] = slots(name)
                        set_payload(ctx, stream.payload, offered[name])
                    ctx.set(stream.valid, name in offered)
                ctx.set(dut.data_ops.ready, rng.random() >= stall)
                for name, stream in streams.items():
                    if name in offered and ctx.get(stream.ready):
                        del offered[name]
                self.see_commit(ctx)
                if ctx.get(dut.data_ops.valid) and ctx.get(dut.data_ops.ready):
                    op = fields_of(ctx.get(dut.data_ops.payload))
                    self.ops.append((op["kind"], op["id"], op["frame"], op["line"], op["grant"]))
                await ctx.tick()
            for stream in streams.values():
                ctx.set(stream.valid, 0)
            ctx.set(dut.data_ops.ready, 1)
            while not ctx.get(dut.idle):
                self.see_commit(ctx)
                await ctx.tick()
            for (head, block), entry in self.table.items():
                ctx.set(dut.sweep.index, head * CONFIG.blocks_per_head + block)
                ctx.set(dut.sweep.enable, 1)
                await ctx.tick()
                assert fields_of(ctx.get(dut.sweep.entry))["ema"] == entry.ema

        simulate(dut, bench)


def random_slot(rng, name, blocks):
    kinds = {
        "rwd": [SlotKind.WRITE, SlotKind.HINT, SlotKind.ANSWER],
        "req": [SlotKind.READ, SlotKind.READ, SlotKind.RELEASE, SlotKind.ANSWER],
        "retry": [SlotKind.READ, SlotKind.RELEASE],
        "engine": ENGINE_KINDS,
    }[name]
    kind = rng.choice(kinds)
    head, block = divmod(rng.randrange(blocks), CONFIG.blocks_per_head)
    slot = {
        "kind": kind, "rwd": name == "rwd" or kind == SlotKind.REPLAY_WRITE, "id": rng.randrange(16),
        "tag": rng.getrandbits(16), "head": head, "block": block, "line": rng.randrange(128),
        "value": rng.choice([0, 0xFFFF, rng.getrandbits(16)]), "frame": rng.randrange(CONFIG.frames), "outcome": 0,
    }  # fmt: skip
    if kind == SlotKind.ANSWER:
        slot["outcome"] = rng.choice([o for o in Outcome if o >= Outcome.NXM and o not in (*HELD, Outcome.NOT_OWNER)])
    if kind in ACCESSES:
        slot |= {"access": rng.choice([Access.PLAIN, *ACCESSES[kind]]), "host": rng.getrandbits(1)}
        if name == "retry":
            slot |= {"access": rng.choice(ACCESSES[kind]), "retry": rng.choice([Retry.WAITED, Retry.SNOOPED])}
    return slot


#: what must have come of slots that asked the filter
JUDGED = {
    *((kind, outcome) for kind in (SlotKind.READ, SlotKind.RELEASE, SlotKind.REPLAY_READ) for outcome in HELD),
    *((kind, Outcome.HIT) for kind in (SlotKind.READ, SlotKind.WRITE, SlotKind.REPLAY_READ, SlotKind.REPLAY_WRITE)),
    *((kind, Outcome.MISS) for kind in (SlotKind.READ, SlotKind.WRITE)),
    *((kind, Outcome.NOT_OWNER) for kind in (SlotKind.WRITE, SlotKind.REPLAY_WRITE)),
    (SlotKind.RELEASE, Outcome.DONE),
}  # fmt: skip
#: likewise, of blocks that were never written; a few blocks do not stay so
JUDGED_ABSENT = {(SlotKind.READ, Outcome.ZEROS), (SlotKind.WRITE, Outcome.FIRST_WRITE)}


@pytest.mark.parametrize("score", list(ScoreSource))
@pytest.mark.parametrize("blocks", [2, 64])
def test_commits_equal_the_golden_commit(score, blocks):
    bench = Bench(replace(Policy(), score=score), seed=blocks + score)
    bench.run(slots=lambda name: random_slot(bench.random, name, blocks), clocks=6000)
    assert bench.committed > 2000
    # What the datapath took is what committed, in order; a few operations may still wait in the FIFO.
    assert bench.ops == bench.expected_ops[: len(bench.ops)]
    assert len(bench.ops) > len(bench.expected_ops) - 16
    assert bench.states_left == set(State)
    assert bench.judged >= (JUDGED | JUDGED_ABSENT if blocks > 2 else JUDGED)


@pytest.mark.quick
@pytest.mark.parametrize("blocks", [1, 64])
def test_one_slot_commits_a_clock_also_when_one_entry_is_hammered(blocks):
    bench = Bench(Policy(), seed=5)
    read = {"kind": SlotKind.READ, "rwd": 0, "id": 1, "tag": 1, "line": 0, "value": 0, "frame": 0, "outcome": 0}

    def slots(name):
        head, block = divmod(bench.random.randrange(blocks), CONFIG.blocks_per_head)
        return read | {"head": head, "block": block}

    bench.run(slots=slots, clocks=1000, step_every=10**9, stall=0)
    assert bench.committed >= 1000 - bench.dut.commit_stage - 1
