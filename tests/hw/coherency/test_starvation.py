"""The door closes to new requests while one that was held too often waits, and not for good."""

import random
from collections import deque
from functools import partial

import pytest

from kv_endpoint.golden.coherency.filter import set_of
from kv_endpoint.golden.common.config import SECTOR_LINES, preset
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK, Access, Retry
from kv_endpoint.golden.common.messages import BIRspOpcode, BISnpOpcode
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.coherency import unit
from kv_endpoint.hw.coherency.starvation import StarvationGuard
from kv_endpoint.hw.coherency.unit import Coherency
from kv_endpoint.hw.pipeline.metadata import FILTER_CLOCKS
from tests.support.simulation import fields_of, set_payload, simulate

CONFIG = preset("tiny", read_slots=8)
HELD = [outcome for outcome in Outcome if outcome.held]
HOLDS, PATIENCE, LATENCY = 5, 40, 3
RELEASES = (Access.FLUSH, Access.FORGET)


class Requests:
    """The commits of requests from the first slot of each to its last; what is known of each is by its read slot."""

    def __init__(self, seed):
        print("seed", seed)
        self.rng = random.Random(seed)
        #: read slot -> (kind, retry, times held) of its next commit
        self.open = {}
        self.overdue = set()
        #: clock in which one that is overdue was held or missed last
        self.waits_from = None
        self.ends = set()

    def commit(self, clock, *, more=True):
        """(slot fields, outcome) of a commit in this clock; `more`: new requests come."""
        rng = self.rng
        free = [node for node in range(CONFIG.read_slots) if node not in self.open]
        if more and free and (not self.open or rng.random() < 0.3):
            node, kind = rng.choice(free), rng.choice((SlotKind.READ, SlotKind.READ, SlotKind.RELEASE))
            self.open[node] = kind, Retry.NO, 0
        node = rng.choice(sorted(self.open))
        kind, retry, times = self.open[node]
        pick = rng.random()
        if pick < 0.6:
            outcome = rng.choice(HELD)
            again = SlotKind.READ if kind == SlotKind.REPLAY_READ else kind
            self.open[node] = again, rng.choice((Retry.WAITED, Retry.SNOOPED)), times + 1
            if times + 1 >= HOLDS:
                self.overdue.add(node)
                self.waits_from = clock
        elif pick < 0.8 and kind == SlotKind.READ:
            outcome = Outcome.MISS
            self.open[node] = SlotKind.REPLAY_READ, Retry.NO, times
            if node in self.overdue:
                self.waits_from = clock
        else:
            if kind == SlotKind.REPLAY_READ:
                kind = rng.choice((SlotKind.REPLAY_READ, SlotKind.BYPASS_READ, SlotKind.ANSWER))
            outcome = {SlotKind.READ: Outcome.HIT, SlotKind.REPLAY_READ: Outcome.HIT,
                       SlotKind.ANSWER: Outcome.UNWRITABLE}.get(kind, Outcome.DONE)  # fmt: skip
            del self.open[node]
            if node in self.overdue:
                self.ends.add(kind)
            self.overdue.discard(node)
        return {"kind": kind, "id": node, "retry": retry, "rwd": 0}, outcome

    def other(self):
        """A commit of a write, whose write slot has the number of some read slot."""
        kind, outcome = self.rng.choice((
            (SlotKind.WRITE, Outcome.HIT), (SlotKind.REPLAY_WRITE, Outcome.HIT), (SlotKind.ANSWER, Outcome.UNWRITABLE),
        ))  # fmt: skip
        return {"kind": kind, "id": self.rng.randrange(CONFIG.read_slots), "retry": Retry.NO, "rwd": 1}, outcome


@pytest.mark.quick
@pytest.mark.parametrize("seed", range(3))
def test_the_door_is_closed_while_a_request_is_overdue_and_its_patience_lasts(seed):
    dut, requests = StarvationGuard(config=CONFIG, holds=HOLDS, patience=PATIENCE), Requests(seed)
    rng = requests.rng
    seen = {True: 0, False: 0}
    expired = 0

    async def bench(ctx):
        nonlocal expired
        #: what `closed` must be, by clock
        expected = [False] * LATENCY
        for clock in range(6000):
            busy = rng.random() < (0.5 if clock // 500 % 2 else 0.03)
            ctx.set(dut.commit.valid, busy)
            if busy:
                fields, outcome = requests.other() if rng.random() < 0.3 else requests.commit(clock)
                set_payload(ctx, dut.commit.slot, fields)
                ctx.set(dut.commit.outcome, outcome)
            patient = requests.waits_from is not None and clock < requests.waits_from + PATIENCE
            expired += bool(requests.overdue) and not patient
            expected.append(bool(requests.overdue) and patient)
            closed = expected.pop(0)
            assert ctx.get(dut.closed) == closed, f"clock {clock}"
            seen[closed] += 1
            await ctx.tick()

    simulate(dut, bench)
    assert min(*seen.values(), expired) > 200
    assert requests.ends == {
        SlotKind.READ, SlotKind.RELEASE, SlotKind.REPLAY_READ, SlotKind.BYPASS_READ, SlotKind.ANSWER,
    }  # fmt: skip


@pytest.mark.parametrize("option", ["holds", "patience"])
def test_a_bound_of_nothing_is_refused(option):
    with pytest.raises(ValueError, match=f"{option} must be at least 1, not 0"):
        StarvationGuard(config=CONFIG, **{option: 0})


# A host that lets one request wait -----------------------------------------------------------------------------------

FULL = preset("tiny", read_slots=8, snoops=2, filter_sets=8, filter_ways=2)
#: set of the sector that the request is for which all others are in the way
VICTIM_SET = 0
#: clocks from a snoop's answer to the next one's
ANSWER_CLOCKS = 60


class Overtaker:
    """A host that answers every snoop, and asks for something new in each clock in which a snoop ends.

    All sets are full, and every place for a snoop is taken. So the new request finds the place free that a request
    waits for that came before it, takes it to have a way of another set, and has gone before the next snoop ends.
    """

    def __init__(self):
        self.dut = Coherency(config=FULL)
        self.sectors = {
            number: iter([s for s in range(FULL.blocks * SECTORS_PER_BLOCK) if set_of(FULL, s) == number])
            for number in range(FULL.filter_sets)
        }
        self.free = deque(range(FULL.read_slots))
        self.pipeline = deque([None] * FILTER_CLOCKS)
        self.snoops, self.granted = deque(), []
        self.clocks, self.leaves = 0, None

    def request(self, number):
        """A read slot for a sector of set `number` that nobody has asked for."""
        block, sector = divmod(next(self.sectors[number]), SECTORS_PER_BLOCK)
        head, block = divmod(block, FULL.blocks_per_head)
        return {"kind": SlotKind.READ, "access": Access.READ_SHARED, "id": self.free.popleft(), "retry": Retry.NO,
                "head": head, "block": block, "line": sector * SECTOR_LINES}  # fmt: skip

    async def clock(self, ctx, number=None, *, answers=True):
        """One clock; `number`: a new request for a sector of that set comes, if it may. Returns its read slot."""
        dut, slot, came = self.dut, None, None
        retries = ctx.get(dut.retry_slots.valid) and ctx.get(dut.room)
        if retries:
            slot = fields_of(ctx.get(dut.retry_slots.payload))
        elif number is not None and ctx.get(dut.room) and not ctx.get(dut.hold_reqs):
            slot = self.request(number)
            came = slot["id"]
        ctx.set(dut.retry_slots.ready, retries)
        set_payload(ctx, dut.question, {"valid": slot is not None})
        if slot is not None:
            sector = (slot["head"] * FULL.blocks_per_head + slot["block"]) * SECTORS_PER_BLOCK
            set_payload(ctx, dut.question, {name: slot[name] for name in ("access", "retry")} | {
                "sector": sector + slot["line"] // SECTOR_LINES, "line": slot["line"] % SECTOR_LINES})  # fmt: skip
        self._commit(ctx, slot)
        if ctx.get(dut.bisnp.valid):
            self.snoops.append(fields_of(ctx.get(dut.bisnp.payload)))
        due = answers and bool(self.snoops) and self.clocks % ANSWER_CLOCKS == 0
        ctx.set(dut.birsp.valid, due)
        if due:
            snoop = self.snoops.popleft()
            opcode = BIRspOpcode.I_BLK if snoop["opcode"] >= BISnpOpcode.CUR_BLK else BIRspOpcode.I
            set_payload(ctx, dut.birsp.payload, {"opcode": opcode, "bi_tag": snoop["bi_tag"]})
        self.clocks += 1
        await ctx.tick()
        return came

    def _commit(self, ctx, slot):
        dut = self.dut
        self.pipeline.append(slot)
        last, left = self.pipeline.popleft(), self.leaves
        set_payload(ctx, dut.leave, {"valid": left is not None, "id": left or 0})
        if left is not None:
            self.free.append(left)
        self.leaves = None
        set_payload(ctx, dut.commit, {"valid": last is not None})
        ctx.set(dut.take, last is not None)
        if last is None:
            return
        held = ctx.get(dut.verdict.held)
        set_payload(ctx, dut.commit.slot, last)
        set_payload(ctx, dut.commit, {"outcome": held or Outcome.HIT})
        if not held:
            self.leaves = last["id"]
            self.granted.append(last["id"])


@pytest.mark.parametrize("holds", [8, None])
def test_a_request_that_is_overtaken_by_each_that_comes_ends_all_the_same(monkeypatch, holds):
    """Without the guard it does not, so this is a host that shows what the guard is for."""
    guard = partial(StarvationGuard, holds=holds or 1 << 20)
    monkeypatch.setattr(unit, "StarvationGuard", guard)
    host, others = Overtaker(), [number for number in range(FULL.filter_sets) if number != VICTIM_SET]
    dut = host.dut
    rounds = 0

    async def bench(ctx):
        nonlocal rounds
        set_payload(ctx, dut.registers, {"snoop_limit": FULL.snoops})
        set_payload(ctx, dut.regions[0], {"enabled": 1, "heads": FULL.heads})
        for port in (dut.note_room, dut.notes.ready, dut.bisnp.ready):
            ctx.set(port, 1)
        for number in [*others, VICTIM_SET] * FULL.filter_ways:
            while await host.clock(ctx, number, answers=False) is None:
                pass
        while len(host.snoops) < FULL.snoops or ctx.get(dut.sectors) < FULL.filter_sectors:
            await host.clock(ctx, answers=False)
        while (waits := await host.clock(ctx, VICTIM_SET, answers=False)) is None:
            pass
        host.granted.clear()
        turn = 0
        while waits not in host.granted and rounds < 60:
            ended = ctx.get(dut.events.answer)
            rounds += ended
            came = await host.clock(ctx, others[turn] if ended else None)
            turn = (turn + (came is not None)) % len(others)

    simulate(dut, bench)
    print(rounds, "snoops ended")
    if holds is None:
        assert rounds == 60
    else:
        assert rounds < 2 * holds + FULL.read_slots
