"""The snoop filter does in each clock what the golden one does, whatever is asked of a set back to back."""

import random
from collections import Counter

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from kv_endpoint.golden.coherency.filter import SnoopFilter as GoldenSnoopFilter
from kv_endpoint.golden.coherency.filter import set_of
from kv_endpoint.golden.common.config import SECTOR_LINES, preset
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK, Access, LineState, Retry, SnoopKind
from kv_endpoint.golden.pipeline.metadata import Outcome
from kv_endpoint.hw.coherency.filter.filter import SnoopFilter
from kv_endpoint.hw.common.layouts import FilterOp
from kv_endpoint.hw.pipeline.metadata import FILTER_CLOCKS
from tests.support.simulation import set_payload

#: what a host may say that it holds (`golden.common.line_access.answer_lines`)
ANSWERS = {
    SnoopKind.CUR: (LineState.I, LineState.S, LineState.A),
    SnoopKind.DATA: (LineState.I, LineState.S),
    SnoopKind.INV: (LineState.I,),
}


#: accesses that fill the filter
CACHING = [access for access in Access if access.caches]
#: accesses that need lines in use to do anything
OF_USED = [Access.READ_CURRENT, Access.READ_CURRENT, Access.WRITE_KEEP, Access.WRITE_BACK, Access.FORGET]


def run(dut, testbench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(testbench)
    simulator.run()


def row_of(ctx, dut, number):
    """A row as the RAM holds it: ({sector's tag: (states, busy, place if busy)} by way, next, promised)."""
    stored = ctx.get(dut.banks[number & 1].memory.data[number >> 1])
    ways = []
    for way in stored.ways:
        states = [[int(state) for state in host] for host in way.states]
        ways.append((int(way.tag), states, int(way.busy), way.busy and int(way.place)) if way.used else None)
        if not way.used:
            assert not way.busy and not any(map(any, states))
    return ways, int(stored.next), bool(stored.promised)


class Table:
    """Places for snoops, and what is outstanding in them. `shortage`: how often there seems to be no place."""

    def __init__(self, config, rng, shortage):
        self.config, self.rng, self.shortage = config, rng, shortage
        self.places = {}
        self.place_of = {}

    def offer(self):
        """(slot's place or None, operation's place or None) of this clock."""
        free = [tag for tag in range(self.config.snoops) if tag not in self.places]
        if not free or self.rng.random() < self.shortage:
            return None, None
        return free[0], free[-1]

    def launch(self, tag, snoop):
        assert tag not in self.places
        self.places[tag] = [snoop, snoop.lines, snoop.lines]
        self.place_of[snoop.sector] = tag

    def answer(self):
        """(tag, snoop, {line: state}) of some lines that are not answered, or None."""
        waiting = [tag for tag, (_, to_answer, _) in self.places.items() if to_answer]
        if not waiting:
            return None
        tag = self.rng.choice(waiting)
        snoop, to_answer, _ = self.places[tag]
        lines = to_answer & self.rng.choice([0b1111, self.rng.randrange(16)]) or to_answer
        self.places[tag][1] &= ~lines
        return tag, snoop, {n: self.rng.choice(ANSWERS[snoop.kind]) for n in range(SECTOR_LINES) if lines >> n & 1}

    def answered(self, tag, lines):
        self.places[tag][2] &= ~lines
        if not self.places[tag][2]:
            snoop = self.places.pop(tag)[0]
            del self.place_of[snoop.sector]


class Lockstep:
    """Random questions and operations, and the golden filter beside them.

    `sectors`: those that are asked for. `sets`: a set is chosen for some clocks, then all is about its sectors.
    """

    def __init__(self, config, seed, *, pool, shortage=0.2, asking=0.7, taking=0.8):
        print("seed", seed)
        self.config, self.rng = config, random.Random(seed)
        self.golden = GoldenSnoopFilter(config)
        self.table = Table(config, self.rng, shortage)
        self.asking, self.taking = asking, taking
        count = config.heads * config.blocks_per_head * SECTORS_PER_BLOCK
        self.sectors = self.rng.sample(range(count), pool)
        self.by_set = {}
        for sector in self.sectors:
            self.by_set.setdefault(set_of(config, sector), []).append(sector)
        self.favourite = None
        self.questions, self.ops = [None] * FILTER_CLOCKS, [None] * FILTER_CLOCKS
        self.offered = None
        self.seen = Counter()

    # Stimulus ---------------------------------------------------------------------------------------------------------

    def choose_sector(self):
        if self.rng.random() < 0.05:
            self.favourite = self.rng.choice([None, *self.by_set])
        return self.rng.choice(self.by_set.get(self.favourite, self.sectors))

    def choose_used(self):
        """A sector in use, if there is one in the set that is tried."""
        used = self.golden_sectors(self.choose_sector())
        return self.rng.choice(used) if used else self.choose_sector()

    def question(self):
        rng = self.rng
        of_used = rng.random() < 0.3
        return {
            "valid": int(rng.random() < self.asking),
            "access": rng.choice(OF_USED if of_used else [*Access, *CACHING, *CACHING]),
            "host": rng.randrange(self.config.hosts),
            "retry": rng.choices(list(Retry), (4, 2, 1))[0],
            "lossy": rng.getrandbits(1),
            "sector": self.choose_used() if of_used else self.choose_sector(),
            "line": rng.randrange(SECTOR_LINES),
        }

    def operation(self):
        """(kind, op fields, for the golden filter) or None."""
        rng = self.rng
        kind = rng.choices(list(FilterOp), (3, 1, 1))[0]
        everything = rng.getrandbits(1)
        if kind == FilterOp.ANSWER:
            answer = self.table.answer()
            if answer is None:
                return None
            tag, snoop, said = answer
            states = sum(state << 2 * line for line, state in said.items())
            # Lines that are not answered say anything.
            states |= sum(rng.randrange(4) << 2 * line for line in range(SECTOR_LINES) if line not in said)
            lines = sum(1 << line for line in said)
            fields = {"kind": snoop.kind, "host": snoop.host, "sector": snoop.sector, "lines": lines}
            return kind, {"tag": tag, "snoop": fields, "states": states, "everything": everything}, (snoop, said)
        if kind == FilterOp.RECALL:
            what = self.choose_used()
        else:
            what = rng.choice([0 if self.favourite is None else self.favourite, rng.randrange(self.config.filter_sets)])
        snoop = {"kind": 0, "host": 0, "sector": what, "lines": rng.randrange(16)}
        return kind, {"tag": 0, "snoop": snoop, "states": 0, "everything": everything}, what

    # One clock --------------------------------------------------------------------------------------------------------

    async def clock(self, ctx, dut, *, hold=False):
        """Sets the inputs of a clock, compares, lets the golden filter follow, and goes on to the next."""
        rng, config = self.rng, self.config
        question = self.question()
        if self.offered is None and rng.random() < 0.6:
            self.offered = self.operation()
        room = rng.random() < 0.95
        slot_place, op_place = self.table.offer()
        set_payload(ctx, dut.question, question)
        ctx.set(dut.op.valid, self.offered is not None)
        if self.offered is not None:
            kind, fields, _ = self.offered
            ctx.set(dut.op.payload, {"kind": kind, **fields})
        ctx.set(dut.hold, hold)
        ctx.set(dut.note_room, room)
        for place, tag in ((dut.slot_place, slot_place), (dut.op_place, op_place)):
            ctx.set(place, {"free": tag is not None, "tag": rng.randrange(config.snoops) if tag is None else tag})
        ctx.set(dut.last_place, slot_place is not None and slot_place == op_place)
        ctx.set(dut.take, 0)

        taken = False
        if self.offered is not None:
            taken = bool(ctx.get(dut.op.ready))
            number = self.set_of_op(self.offered)
            own_bank = question["valid"] and number & 1 == set_of(config, question["sector"]) & 1
            ahead = [set_of(config, each["sector"]) for each in self.questions[1:] if each is not None]
            ahead += [self.set_of_op(each) for each in self.ops[1:] if each is not None]
            assert taken == (room and not hold and not own_bank and number not in ahead), "op.ready"
        on_the_way = self.questions + self.ops
        assert ctx.get(dut.idle) == all(each is None for each in on_the_way), "idle"
        asked, op = self.questions.pop(0), self.ops.pop(0)
        self.questions.append(question if question["valid"] else None)
        self.ops.append(self.offered if taken else None)
        if taken:
            self.offered = None

        changed = []
        self.slot(ctx, dut, asked, slot_place)
        if asked is not None:
            changed.append(set_of(config, asked["sector"]))
        if slot_place == op_place and asked is not None and Access.PLAIN < asked["access"] < Access.WRITE_THROUGH:
            op_place = None
        self.beside(ctx, dut, op, op_place)
        if op is not None:
            changed.append(self.set_of_op(op))
        await ctx.tick()
        for number in changed:
            assert row_of(ctx, dut, number) == self.golden_row(number), f"set {number}"

    def set_of_op(self, op):
        kind, fields, _ = op
        sector = fields["snoop"]["sector"]
        return sector if kind == FilterOp.SCRUB else set_of(self.config, sector)

    def golden_row(self, number):
        # Any sector of the set names the row.
        row = self.golden.row(number)
        ways = [
            way
            and (
                way.sector >> self.config.filter_set_bits,
                [[int(state) for state in states] for states in way.states],
                way.busy,
                way.busy and self.table.place_of[way.sector],
            )
            for way in row.ways
        ]
        return ways, row.next, row.promised

    def slot(self, ctx, dut, asked, place):
        """The commit of a question."""
        if asked is None:
            # Nothing may happen for a slot that has asked nothing, though it is granted.
            ctx.set(dut.take, self.rng.getrandbits(1))
            assert not ctx.get(dut.slot_launched.valid) and not ctx.get(dut.slot_covers.valid)
            assert not ctx.get(dut.stale)
            return
        sector = asked["sector"]
        verdict = self.golden.access(
            asked["access"], asked["host"], sector, asked["line"],
            retry=asked["retry"], lossy=bool(asked["lossy"]), may_launch=place is not None,
        )  # fmt: skip
        got = ctx.get(dut.verdict)
        assert (got.held, got.owner) == (int(verdict.held or 0), verdict.owner), asked
        if verdict.held is None and verdict.owner:
            assert got.grant == verdict.grant, asked
        take = self.rng.random() < self.taking
        ctx.set(dut.take, take)
        launched = verdict.launched[0] if take and verdict.launched else None
        self.same_launch(ctx, dut.slot_launched, launched)
        before, row_before = len(self.golden_sectors(sector)), self.golden.row(sector)
        if take:
            self.golden.apply(set_of(self.config, sector), verdict)
            self.seen[verdict.held or f"{asked['access'].name} granted"] += 1
        if launched is not None:
            self.table.launch(place, launched)
            self.seen[SnoopKind(launched.kind)] += 1
        if verdict.held is not None:
            waits = ctx.get(dut.waits_on)
            if verdict.held == Outcome.HELD_TABLE:
                assert waits.any and not waits.none
            elif verdict.waits_for is None:
                assert waits.none and not waits.any
            else:
                tag = self.table.place_of.get(verdict.waits_for, place)
                assert (waits.none, waits.any, waits.tag) == (0, 0, tag), asked
        self.same_covers(ctx, dut.slot_covers, sector, len(self.golden_sectors(sector)) - before)
        lines_before, lines = self.stale_lines(row_before), self.stale_lines(self.golden.row(sector))
        if lines - lines_before:
            assert ctx.get(dut.stale)
            self.seen["stale"] += 1
        elif not (take and verdict.owner and asked["access"] == Access.WRITE_KEEP):
            assert not ctx.get(dut.stale)

    def beside(self, ctx, dut, op, place):
        """The commit of an operation."""
        done = ctx.get(dut.done)
        assert bool(done.valid) == (op is not None)
        if op is None:
            assert not ctx.get(dut.op_launched.valid) and not ctx.get(dut.op_covers.valid)
            return
        kind, fields, what = op
        number, sector = self.set_of_op(op), fields["snoop"]["sector"]
        assert done.op.kind == kind and done.op.tag == fields["tag"] and done.op.snoop.sector == sector
        may_launch = place is not None
        before = len(self.golden_sectors(number))
        would, passed_over = None, False
        if kind == FilterOp.ANSWER:
            verdict = self.golden.answer(*what)
        elif kind == FilterOp.RECALL:
            verdict = self.golden.recall(what, may_launch=may_launch)
            would = self.golden.recall(what)
        else:
            everything = bool(fields["everything"])
            verdict = self.golden.scrub(what, everything=everything, may_launch=may_launch)
            would = self.golden.scrub(what, everything=everything)
            states = [state for state in LineState if state == LineState.STALE or (everything and state)]
            asked = [way for way in self.golden.row(number).ways if way is not None and way.busy]
            # Which host a snoop is of is not known there.
            covered = [way.busy if self.config.hosts == 1 else 0 for way in asked]
            hosts = range(self.config.hosts)
            passed_over = any(
                way.lines(host, states) & ~c for way, c in zip(asked, covered, strict=True) for host in hosts
            )
        self.golden.apply(number, verdict)
        launched = verdict.launched[0] if verdict.launched else None
        self.same_launch(ctx, dut.op_launched, launched)
        assert done.launched == (launched is not None)
        assert done.full == bool(would and would.launched and not verdict.launched)
        assert done.busy == passed_over
        self.same_covers(ctx, dut.op_covers, sector, len(self.golden_sectors(number)) - before)
        if kind == FilterOp.ANSWER:
            self.table.answered(fields["tag"], fields["snoop"]["lines"])
        if launched is not None:
            self.table.launch(place, launched)
        self.seen[f"{kind.name} {'full' if done.full else launched is not None}"] += 1
        self.seen["busy"] += done.busy

    # Comparing --------------------------------------------------------------------------------------------------------

    def golden_sectors(self, sector):
        """Sectors in use in the set of a sector."""
        return [way.sector for way in self.golden.row(sector).ways if way is not None]

    @staticmethod
    def stale_lines(row):
        return {
            (way.sector, host, line)
            for way in row.ways
            if way is not None
            for host, states in enumerate(way.states)
            for line, state in enumerate(states)
            if state == LineState.STALE
        }

    def same_launch(self, ctx, port, expected):
        got = ctx.get(port)
        assert bool(got.valid) == (expected is not None), expected
        if expected is not None:
            snoop = got.snoop
            assert (snoop.kind, snoop.host, snoop.sector, snoop.lines) == (
                expected.kind, expected.host, expected.sector, expected.lines,
            )  # fmt: skip

    @staticmethod
    def same_covers(ctx, port, sector, change):
        got = ctx.get(port)
        assert bool(got.valid) == bool(change)
        if change:
            assert (got.index, bool(got.up)) == (sector // SECTORS_PER_BLOCK, change > 0)


CONFIGS = {
    "tiny": preset("tiny"),
    "tiny_two_hosts": preset("tiny", hosts=2),
    "two_sets": preset("tiny", hosts=2, filter_sets=2, filter_ways=3, snoops=8),
    "large": preset("tiny", hosts=2, filter_sets=16, filter_ways=4, snoops=32),
    # A set's number is all of a sector's number.
    "no_tag": preset("tiny", hosts=2, heads=2, blocks_per_head=2, filter_sets=128, snoops=16),
}


#: what has to happen, by the number of hosts
HAPPENS = {
    1: [Outcome.HELD_LINE, Outcome.HELD_WAY, Outcome.HELD_TABLE, SnoopKind.INV, "stale", "ANSWER False", "RECALL full"],
}
HAPPENS[2] = [*HAPPENS[1], SnoopKind.CUR, SnoopKind.DATA, "RECALL True", "SCRUB True"]


async def until_ready(ctx, dut, config):
    clocks = 0
    while not ctx.get(dut.ready):
        await ctx.tick()
        clocks += 1
    assert clocks == config.filter_sets // 2


#: the configurations that meet every rule soonest
SHORT = ("tiny", "two_sets")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SHORT else pytest.mark.long) for name in CONFIGS]
)
def test_every_clock_is_as_the_golden_filter_says(name):
    config = CONFIGS[name]
    seen = Counter()
    for seed in (1, 2, 3):
        lockstep = Lockstep(config, seed, pool=min(64, 4 * config.filter_sectors))
        dut = SnoopFilter(config=config)

        async def bench(ctx, lockstep=lockstep, dut=dut):
            await until_ready(ctx, dut, config)
            for clock in range(1000):
                await lockstep.clock(ctx, dut, hold=clock // 50 % 10 == 9)

        run(dut, bench)
        seen += lockstep.seen
    # A row is never full where each sector has its own.
    impossible = {Outcome.HELD_WAY} if name == "no_tag" else set()
    missing = {*HAPPENS[config.hosts]} - {*seen} - impossible
    assert not missing, f"never seen: {missing}"


@pytest.mark.quick
def test_a_reset_in_the_middle_empties_every_row():
    config = CONFIGS["tiny_two_hosts"]
    dut = SnoopFilter(config=config)
    reset = Signal()

    async def bench(ctx):
        await until_ready(ctx, dut, config)
        for seed in (3, 4, 5):
            lockstep = Lockstep(config, seed, pool=16)
            for number in range(config.filter_sets):
                assert row_of(ctx, dut, number) == lockstep.golden_row(number)
            for _ in range(100):
                await lockstep.clock(ctx, dut)
            assert lockstep.golden.sectors
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            set_payload(ctx, dut.question, {"valid": 0})
            # An operation may stand at the door, and is not let in.
            ctx.set(dut.hold, 0)
            ctx.set(dut.note_room, 1)
            ctx.set(dut.op.valid, 1)
            assert ctx.get(dut.idle) and not ctx.get(dut.op.ready)
            await ctx.tick()
            ctx.set(dut.op.valid, 0)
            while not ctx.get(dut.ready):
                await ctx.tick()

    run(ResetInserter(reset)(dut), bench)
