"""Snoops leave when they may, every legal answer is applied once, and what is not legal changes nothing."""

import random
from collections import Counter, deque
from dataclasses import dataclass, field, replace

import pytest
from amaranth.hdl import ResetInserter, Signal

from kv_endpoint.golden.common.config import LINE_BYTES, SECTOR_LINES, preset
from kv_endpoint.golden.common.line_access import Snoop, SnoopKind, answer_lines, covering, snoop_opcode
from kv_endpoint.golden.events.port import EngineKind, ErrorKind
from kv_endpoint.golden.front.address import Region, encode
from kv_endpoint.hw.coherency.snoops.table import SnoopTable
from kv_endpoint.hw.common.layouts import FilterOp
from tests.support.native import simulate
from tests.support.simulation import fields_of, set_payload


def table_config(*, snoops, hosts=2):
    return preset("tiny", hosts=hosts, snoops=snoops, regions=len(REGIONS))


REGIONS = (
    Region(base=0x3_0000_0000, heads=4, enabled=False),
    Region(base=0x7_0000_0000, heads=2, first_head=2, cached=True),
    Region(base=0x100, heads=2, cached=True),
)
CONFIG = table_config(snoops=8)
#: clocks from the operation that is taken to its commit
OP_CLOCKS = 3
#: of a BIRsp to an Inv, the illegal ones and those of other states
BAD_OPCODES = (1, 2, 3, 5, 6, 7, 8, 15)


@dataclass
class Place:
    """What a place of the table must hold."""

    snoop: Snoop
    launched_at: int
    #: its note; its BISnp; its timeout
    noted: bool = False
    left_at: int | None = None
    reported: bool = False
    open: int = 0
    #: {line: state} answered and in no operation taken; lines that no operation has brought to the filter
    answered: dict = field(default_factory=dict)
    unapplied: int = 0


class Bench:
    """The table between a host, a filter, grants in flight and the event port, with a model beside it."""

    def __init__(self, config=CONFIG, *, seed=0, cap=None, timeout=0):
        print("seed", seed)
        self.config, self.random = config, random.Random(seed)
        self.dut = SnoopTable(config=config)
        self.cap, self.timeout = cap or config.snoops, timeout
        self.places = {}
        #: sectors with a granted request in flight
        self.pending = set()
        #: operations on their way to their commit; BISnp whose notes were taken; BIRsp not legal, not yet counted
        self.ops, self.to_leave = deque([None] * OP_CLOCKS), deque()
        self.bad_next, self.bad_said = False, []
        self.clocks = 0
        self.count = Counter()
        #: payloads that were offered and not taken, by stream
        self.offered = {}
        #: by tag, what the clock of an event was
        self.seen = {"bisnp": {}, "birsp": {}, "op": {}, "free": {}}

    def start(self, ctx):
        for number, region in enumerate(REGIONS):
            target = self.dut.regions[number]
            set_payload(ctx, target, {"base": region.base // LINE_BYTES, "heads": region.heads,
                                      "enabled": region.enabled, "first_head": region.first_head})  # fmt: skip
        ctx.set(self.dut.in_flight_cap, self.cap)
        ctx.set(self.dut.timeout, self.timeout)

    def random_snoop(self, **given):
        rng = self.random
        kind, host = rng.choice(list(SnoopKind)), rng.randrange(self.config.hosts)
        sector, lines = rng.randrange(1 << self.config.sector_bits), covering(rng.randrange(1, 16))
        return replace(Snoop(kind, host, sector, lines), **given)

    def bisnp(self, tag):
        """The message of the snoop in a place."""
        snoop = self.places[tag].snoop
        head, block, sector = self.config.split_sector(snoop.sector)
        region = next(each for each in REGIONS if each.enabled and 0 <= head - each.first_head < each.heads)
        opcode, low = snoop_opcode(snoop)
        address = encode(self.config, region, head, block, sector * SECTOR_LINES) + low
        return {"opcode": int(opcode), "bi_id": snoop.host, "bi_tag": tag, "address": address}

    def awaited(self):
        return [tag for tag, place in self.places.items() if place.left_at is not None and place.open]

    def answer(self, tag, *, line=None, block=False, state=0):
        """A BIRsp of a place: for one line, or all."""
        fields = {"opcode": state + (4 if block else 0), "bi_id": self.places[tag].snoop.host, "bi_tag": tag}
        return fields | {"low_addr": line or 0}

    def random_answer(self, legal=1.0):
        """What a host may say next (None if nothing), or with probability 1 - `legal` anything."""
        rng, tags = self.random, self.awaited()
        if rng.random() >= legal:
            known = rng.choice(list(self.places) or [0])
            return {"opcode": rng.choice((0, 1, 2, 4, 5, 6, rng.randrange(16))), "low_addr": rng.randrange(4),
                    "bi_tag": rng.choice((known, known, rng.randrange(self.config.snoops), rng.getrandbits(12))),
                    "bi_id": rng.choice((0, 1, rng.getrandbits(12)))}  # fmt: skip
        if not tags:
            return None
        tag = rng.choice(tags)
        place = self.places[tag]
        state = rng.randrange({SnoopKind.INV: 1, SnoopKind.DATA: 2, SnoopKind.CUR: 3}[place.snoop.kind])
        whole = place.snoop.lines & place.snoop.lines - 1 and place.open == place.snoop.lines and rng.random() < 0.3
        line = rng.choice([line for line in range(SECTOR_LINES) if place.open >> line & 1])
        return self.answer(tag, line=line, block=whole, state=state)

    # Each clock -------------------------------------------------------------------------------------------------------

    def launch(self, ctx, slot, op):
        """Drive the snoops that begin; returns {tag: snoop}."""
        dut, config, begun = self.dut, self.config, {}
        free = [tag for tag in range(config.snoops) if tag not in self.places]
        assert bool(ctx.get(dut.slot_place.free)) == bool(ctx.get(dut.op_place.free)) == bool(free)
        assert ctx.get(dut.last_place) == (len(free) == 1)
        assert ctx.get(dut.used) == len(self.places)
        for port, place, snoop, last in (
            (dut.slot_launched, dut.slot_place, slot, False), (dut.op_launched, dut.op_place, op, True)
        ):  # fmt: skip
            if len(free) <= len(begun):
                snoop = None
            ctx.set(port.valid, snoop is not None)
            if free:
                assert ctx.get(place.tag) == (free[-1] if last else free[0])
            if snoop is not None:
                set_payload(ctx, port.snoop, vars(snoop))
                begun[ctx.get(place.tag)] = snoop
        return begun

    def follow_note(self, ctx):
        note = fields_of(ctx.get(self.dut.notes.payload))
        if note["kind"] == EngineKind.BI_SNOOP:
            tag = note["aux"] & 0xFFF
            place = self.places[tag]
            snoop = place.snoop
            head, block, sector = self.config.split_sector(snoop.sector)
            opcode, _ = snoop_opcode(snoop)
            aux = tag | snoop.lines << 12 | opcode << 16 | snoop.host << 20
            assert (note["head"], note["block"], note["key"], note["aux"]) == (head, block, sector, aux)
            assert not place.noted
            in_flight = sum(each.noted and each.open != 0 for each in self.places.values())
            # One answer may just be judged, which is one less than the table has seen.
            assert in_flight <= self.cap - 1
            # The sector was looked at in the clock before, at the latest.
            assert snoop.sector not in self.was_pending, "a grant of the sector is in flight"
            self.count["full"] = max(self.count["full"], in_flight + 1)
            self.to_leave.append(tag)
            return lambda: setattr(place, "noted", True)
        assert note["kind"] == EngineKind.ERROR and note["head"] == note["block"] == 0
        if note["key"] == ErrorKind.SNOOP_TIMEOUT:
            place = self.places[note["aux"]]
            assert place.unapplied and not place.reported
            assert self.timeout and self.clocks - place.left_at > self.timeout
            place.reported = True
            self.count["timed_out"] += 1
        else:
            assert note["key"] == ErrorKind.BAD_BIRSP
            said = note["aux"]
            assert said in self.bad_said
            self.count["bad_notes"] += 1
        return lambda: None

    def judge(self, birsp):
        """The model of a BIRsp that is taken: changes behind this clock."""
        place = self.places.get(birsp["bi_tag"])
        answered = None
        if place is not None and place.left_at is not None and birsp["bi_id"] == place.snoop.host:
            answered = answer_lines(place.snoop, place.open, birsp["opcode"], birsp["low_addr"])
        if answered is None:
            self.count["bad"] += 1
            self.bad_next = True
            fields = ("bi_tag", 0), ("opcode", 12), ("low_addr", 16), ("bi_id", 18)
            self.bad_said.append(sum(birsp[name] << shift for name, shift in fields))
            return
        self.count["answers"] += 1
        self.seen["birsp"][birsp["bi_tag"]] = self.clocks
        place.answered |= answered
        for line in answered:
            place.open &= ~(1 << line)

    def apply(self, op):
        """The operation that commits; returns the tag that it frees."""
        place = self.places[op["tag"]]
        place.unapplied &= ~op["lines"]
        return None if place.unapplied else op["tag"]

    async def clock(self, ctx, *, slot=None, op=None, birsp=None, ready=(1, 1, 1)):
        """One clock. `slot`, `op`: snoops that begin, if there is a place; `ready` of notes, bisnp, answers."""
        dut = self.dut
        begun = self.launch(ctx, slot, op)
        for port, is_ready in zip((dut.notes, dut.bisnp, dut.answers), ready, strict=True):
            ctx.set(port.ready, bool(is_ready))
        ctx.set(dut.pending, ctx.get(dut.pending_sector) in self.pending)
        assert ctx.get(dut.birsp.ready)
        ctx.set(dut.birsp.valid, birsp is not None)
        if birsp is not None:
            set_payload(ctx, dut.birsp.payload, birsp)
        assert ctx.get(dut.bad_birsp) == self.bad_next
        self.count["bad_pulses"] += ctx.get(dut.bad_birsp)
        self.count["timeout_pulses"] += ctx.get(dut.timed_out)
        self.bad_next = False

        for name, is_ready in zip(("notes", "bisnp", "answers"), ready, strict=True):
            self.check_stable(ctx, name, is_ready)

        # The filter
        committed = self.ops.popleft()
        set_payload(ctx, dut.done, {"valid": committed is not None})
        freed = None
        if committed is not None:
            set_payload(ctx, dut.done.op, {"kind": FilterOp.ANSWER.value, "tag": committed["tag"]})
            set_payload(ctx, dut.done.op.snoop, {"lines": committed["lines"]})
            freed = self.apply(committed)
        assert ctx.get(dut.freed.valid) == (freed is not None)
        if freed is not None:
            assert ctx.get(dut.freed.tag) == freed
        taken = None
        if ctx.get(dut.answers.valid):
            taken = self.check_op(ctx)
            self.seen["op"].setdefault(taken["tag"], self.clocks)
            if ready[2]:
                for line in range(SECTOR_LINES):
                    if taken["lines"] >> line & 1:
                        del self.places[taken["tag"]].answered[line]
                self.count["ops"] += 1
            else:
                taken = None
        self.ops.append(taken)

        # Host and event port
        after = self.follow_note(ctx) if ctx.get(dut.notes.valid) and ready[0] else None
        left = None
        if ctx.get(dut.bisnp.valid):
            message = fields_of(ctx.get(dut.bisnp.payload))
            assert message == self.bisnp(self.to_leave[0])
            self.seen["bisnp"].setdefault(message["bi_tag"], self.clocks)
            if ready[1]:
                left = self.to_leave.popleft()
        if birsp is not None:
            self.judge(birsp)
        if left is not None:
            self.places[left].left_at = self.clocks
        self.was_pending = set(self.pending)
        await ctx.tick()
        if after is not None:
            after()
        if freed is not None:
            del self.places[freed]
            self.seen["free"][freed] = self.clocks + 1
        for tag, snoop in begun.items():
            self.places[tag] = Place(snoop, self.clocks, open=snoop.lines, unapplied=snoop.lines)
            for events in self.seen.values():
                events.pop(tag, None)
            self.count["launched"] += 1
        self.clocks += 1

    def check_stable(self, ctx, name, is_ready):
        """What is offered stays until it is taken."""
        port = getattr(self.dut, name)
        payload = ctx.get(port.payload.as_value()) if ctx.get(port.valid) else None
        before = self.offered.pop(name, None)
        assert before is None or before == payload, name
        if payload is not None and not is_ready:
            self.offered[name] = payload

    def check_op(self, ctx):
        """The operation that is offered: lines that were answered, with their states."""
        payload = ctx.get(self.dut.answers.payload)
        snoop, tag = payload["snoop"], int(payload["tag"])
        place = self.places[tag]
        assert payload["kind"] == FilterOp.ANSWER
        assert (int(snoop["sector"]), int(snoop["host"])) == (place.snoop.sector, place.snoop.host)
        lines, states = int(snoop["lines"]), int(payload["states"])
        assert lines
        for line in range(SECTOR_LINES):
            if lines >> line & 1:
                assert place.answered[line] == states >> 2 * line & 3
        return {"tag": tag, "lines": lines}

    async def settle(self, ctx, *, clocks=400):
        """Everything is answered, and the table is empty again."""
        self.pending.clear()
        for _ in range(clocks):
            await self.clock(ctx, birsp=self.random_answer())
        assert not self.places and not self.to_leave
        assert ctx.get(self.dut.in_flight) == ctx.get(self.dut.used) == 0
        assert self.count["bad"] == self.count["bad_pulses"]
        assert self.count["timed_out"] == self.count["timeout_pulses"]


@pytest.mark.parametrize("snoops, hosts", [(2, 1), (8, 2), (32, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_random_snoops_and_answers(seed, snoops, hosts):
    config = table_config(snoops=snoops, hosts=hosts)
    bench = Bench(config, seed=seed, cap=random.Random(seed).choice((1, snoops // 2, snoops, 4096)), timeout=64)
    rng = bench.random
    sectors = [rng.randrange(1 << config.sector_bits) for _ in range(3 * snoops)]

    async def run(ctx):
        bench.start(ctx)
        for phase in range(8):
            launches, answers, legal, moves = (rng.choice((0.1, 0.5, 1)) for _ in range(4))
            rates = [rng.choice((0.1, 0.6, 1)) for _ in range(3)]
            if not phase:
                launches, answers, legal, moves, rates = 1, 1, 0.8, 0.5, (1, 1, 1)
            for _ in range(200):
                busy = {place.snoop.sector for place in bench.places.values()}
                free = [sector for sector in sectors if sector not in busy]
                slot, op = (bench.random_snoop(sector=sector) for sector in rng.sample(free, 2))
                if rng.random() < 0.1:
                    # Granted before the snoops began that are still to be noted, and answered now and then
                    bench.pending = {sector for sector in bench.pending if rng.random() < moves}
                    bench.pending |= set(rng.sample(free, 2))
                await bench.clock(
                    ctx,
                    slot=slot if rng.random() < launches else None,
                    op=op if rng.random() < launches else None,
                    birsp=bench.random_answer(legal) if rng.random() < answers else None,
                    ready=[rng.random() < rate for rate in rates],
                )
        await bench.settle(ctx, clocks=600)

    simulate(bench.dut, run)
    assert bench.count["launched"] > 30 and bench.count["bad"] > 20


def first_answers(kind, lines):
    """Every BIRsp that may come to a snoop first, those that are not legal before the others."""
    snoop = Snoop(kind, 0, 0, lines)
    said = [(opcode, low) for opcode in range(16) for low in range(SECTOR_LINES)]
    return sorted(said, key=lambda each: answer_lines(snoop, lines, *each) is not None)


@pytest.mark.parametrize("kind", SnoopKind)
def test_every_first_answer_of_every_form(kind):
    bench = Bench()

    async def run(ctx):
        bench.start(ctx)
        for lines in (0b0001, 0b0010, 0b0100, 0b1000, 0b0011, 0b1100, 0b1111):
            snoop = bench.random_snoop(kind=kind, lines=lines, host=1)
            for opcode, low in first_answers(kind, lines):
                if not bench.places:
                    await bench.clock(ctx, slot=snoop)
                    for _ in range(5):
                        await bench.clock(ctx)
                await bench.clock(ctx, birsp={"opcode": opcode, "low_addr": low, "bi_id": 1, "bi_tag": 0})
                while bench.places and bench.places[0].open != lines:
                    await bench.clock(ctx, birsp=bench.random_answer())
            await bench.settle(ctx, clocks=12)

    simulate(bench.dut, run)
    # Legal ones: of 4 single snoops all 4 LowAddr in each state; of 3 block ones block forms and their own lines.
    states = {SnoopKind.INV: 1, SnoopKind.DATA: 2, SnoopKind.CUR: 3}[kind]
    assert bench.count["launched"] >= states * (4 * 4 + 3 * 4 + 2 + 2 + 4)


def test_answers_line_by_line_while_an_operation_waits_come_together_in_the_next():
    bench = Bench()

    async def run(ctx):
        bench.start(ctx)
        await bench.clock(ctx, slot=bench.random_snoop(kind=SnoopKind.CUR, lines=15))
        for _ in range(5):
            await bench.clock(ctx)
        for line in range(SECTOR_LINES):
            await bench.clock(ctx, birsp=bench.answer(0, line=line, state=line % 3), ready=(1, 1, 0))
        await bench.clock(ctx, ready=(1, 1, 0))
        await bench.settle(ctx, clocks=10)

    simulate(bench.dut, run)
    assert bench.count["ops"] == 2


@pytest.mark.parametrize("order", [(2, 0, 3, 1), (3, 2, 1, 0)])
@pytest.mark.parametrize("gap", range(5))
def test_answers_line_by_line_while_operations_are_on_their_way_are_applied_once(order, gap):
    bench = Bench()

    async def run(ctx):
        bench.start(ctx)
        await bench.clock(ctx, slot=bench.random_snoop(kind=SnoopKind.DATA, lines=15))
        for _ in range(5):
            await bench.clock(ctx)
        for line in order:
            await bench.clock(ctx, birsp=bench.answer(0, line=line, state=line % 2))
            for _ in range(gap):
                await bench.clock(ctx)
        await bench.settle(ctx, clocks=10)

    simulate(bench.dut, run)
    assert bench.count["answers"] == 4 and not bench.count["bad"]


def test_an_answer_is_not_lost_where_every_place_waits_for_its_operation():
    bench = Bench(table_config(snoops=2))

    async def run(ctx):
        bench.start(ctx)
        both = [bench.random_snoop(sector=sector, kind=SnoopKind.DATA, lines=15) for sector in range(2)]
        await bench.clock(ctx, slot=both[0], op=both[1])
        for _ in range(8):
            await bench.clock(ctx)
        # One operation of place 0 is offered, and lines of both places wait behind it.
        for tag, line in ((0, 0), (0, 1), (1, 0), (0, 2)):
            await bench.clock(ctx, birsp=bench.answer(tag, line=line), ready=(1, 1, 0))
        # The offered one is taken in the clock in which the last BIRsp is judged, whose place comes next.
        await bench.settle(ctx, clocks=30)

    simulate(bench.dut, run)


def test_what_is_not_legal_is_counted_and_changes_nothing():
    bench = Bench()

    async def run(ctx):
        bench.start(ctx)
        await bench.clock(ctx, slot=bench.random_snoop(kind=SnoopKind.INV, lines=15, host=1))
        assert bench.places
        # Its BISnp has not left yet.
        await bench.clock(ctx, birsp=bench.answer(0, block=True), ready=(0, 0, 1))
        for _ in range(6):
            await bench.clock(ctx)
        good = bench.answer(0, line=2)
        names = ({"bi_id": 0}, {"bi_id": 1 | 1 << 11}, {"bi_tag": 1}, {"bi_tag": CONFIG.snoops}, {"bi_tag": 1 << 11})
        for wrong in (*names, *({"opcode": each} for each in BAD_OPCODES)):
            await bench.clock(ctx, birsp=good | wrong)
            await bench.clock(ctx)
        await bench.clock(ctx, birsp=good)
        # Twice; and all lines when one was answered, which mixes both forms
        await bench.clock(ctx, birsp=good)
        await bench.clock(ctx)
        await bench.clock(ctx, birsp=bench.answer(0, block=True))
        assert bench.places[0].open == 0b1011
        await bench.settle(ctx, clocks=16)
        # After it is over
        await bench.clock(ctx, birsp=good)
        await bench.settle(ctx, clocks=2)

    simulate(bench.dut, run)
    assert bench.count["bad"] == 1 + 5 + len(BAD_OPCODES) + 3
    # None came while the note of another waited.
    assert bench.count["bad_notes"] == bench.count["bad"]


def test_a_host_that_answers_garbage_in_every_clock_stops_nothing():
    bench = Bench(seed=5)
    config, rng = bench.config, bench.random

    async def run(ctx):
        bench.start(ctx)
        for clock in range(1500):
            awaited = bench.awaited()
            # Every eighth BIRsp is a right one.
            birsp = bench.random_answer(0)
            if clock % 8 == 0 and awaited:
                birsp = bench.random_answer(1)
            slot = bench.random_snoop(sector=rng.randrange(1 << config.sector_bits))
            await bench.clock(ctx, slot=slot, birsp=birsp, ready=(clock % 3 == 0, 1, 1))
        await bench.settle(ctx)

    simulate(bench.dut, run)
    assert bench.count["bad"] > 1000 and bench.count["launched"] > 60


def test_snoops_that_wait_for_grants_keep_no_other_from_leaving():
    bench = Bench()
    places = CONFIG.snoops
    waiting = [bench.random_snoop(sector=sector) for sector in range(places - 1)]

    async def run(ctx):
        bench.start(ctx)
        bench.pending = {snoop.sector for snoop in waiting}
        for snoop in waiting:
            await bench.clock(ctx, slot=snoop)
        for free in range(places, places + 10):
            await bench.clock(ctx, op=bench.random_snoop(sector=free, lines=1, kind=SnoopKind.INV))
            tag = places - 1
            launched, clocks = bench.clocks - 1, 0
            while tag in bench.places:
                await bench.clock(ctx, birsp=bench.answer(tag) if tag in bench.awaited() else None)
                clocks += 1
                assert clocks < 40
            # In turns with those that wait
            assert bench.seen["bisnp"][tag] - launched <= 4 + places
        assert bench.count["answers"] == 10
        await bench.settle(ctx)

    simulate(bench.dut, run)


def test_no_more_are_unanswered_than_the_cap_allows():
    bench = Bench(cap=3)

    async def run(ctx):
        bench.start(ctx)
        for number in range(CONFIG.snoops):
            await bench.clock(ctx, slot=bench.random_snoop(sector=number))
        for _ in range(40):
            await bench.clock(ctx)
        assert len(bench.awaited()) == 3 == ctx.get(bench.dut.in_flight)
        await bench.settle(ctx)

    simulate(bench.dut, run)
    assert bench.count["full"] == 3


def test_the_turn_around_of_a_place():
    answer_clocks = 64
    bench = Bench(table_config(snoops=16))

    async def run(ctx):
        bench.start(ctx)
        await bench.clock(ctx, slot=bench.random_snoop(lines=15, kind=SnoopKind.INV))
        while not bench.awaited():
            await bench.clock(ctx)
        assert bench.seen["bisnp"][0] <= 4
        while bench.clocks < bench.seen["bisnp"][0] + answer_clocks:
            await bench.clock(ctx)
        await bench.clock(ctx, birsp=bench.answer(0, block=True))
        for _ in range(8):
            await bench.clock(ctx)
        assert bench.seen["op"][0] - bench.seen["birsp"][0] <= 2
        assert bench.seen["free"][0] <= answer_clocks + 11

    simulate(bench.dut, run)


@pytest.mark.parametrize("answer_clocks", [64, 8])
def test_snoops_follow_each_other_as_fast_as_places_become_free(answer_clocks):
    """A block BISnp a sector of 4 lines, answered after 64 clocks: 0.85 lines a clock with 16 places."""
    config = table_config(snoops=16)
    bench = Bench(config)
    clocks = 1000

    async def run(ctx):
        bench.start(ctx)
        due, sector = deque(), 0
        known = set()
        for clock in range(clocks):
            for tag in bench.awaited():
                if (tag, bench.places[tag].left_at) not in known:
                    known.add((tag, bench.places[tag].left_at))
                    due.append((bench.places[tag].left_at + answer_clocks, tag))
            birsp = None
            if due and due[0][0] <= bench.clocks:
                birsp = bench.answer(due.popleft()[1], block=True)
            slot = None
            if clock % 2 == 0:
                slot = bench.random_snoop(sector=sector, lines=15, kind=SnoopKind.INV)
                sector = (sector + 1) % (1 << config.sector_bits)
            await bench.clock(ctx, slot=slot, birsp=birsp)

    simulate(bench.dut, run)
    rate = bench.count["answers"] / (clocks - answer_clocks - 20)
    print("snoops a clock", rate)
    assert rate >= (0.85 / 4 if answer_clocks == 64 else 1 / 3)


@pytest.mark.quick
def test_every_place_times_out_once_and_may_still_be_answered():
    bench = Bench(timeout=50)

    async def run(ctx):
        bench.start(ctx)
        for number in range(CONFIG.snoops):
            await bench.clock(ctx, slot=bench.random_snoop(sector=number))
        for _ in range(300):
            await bench.clock(ctx)
        assert bench.count["timed_out"] == CONFIG.snoops == ctx.get(bench.dut.in_flight)
        # Next snoops in the same places are reported again.
        await bench.settle(ctx)
        for number in range(CONFIG.snoops):
            await bench.clock(ctx, slot=bench.random_snoop(sector=number))
        for _ in range(150):
            await bench.clock(ctx)
        assert bench.count["timed_out"] == 2 * CONFIG.snoops
        await bench.settle(ctx)

    simulate(bench.dut, run)
    assert not bench.count["bad"]


@pytest.mark.parametrize("timeout, reported", [(0, 0), (100, 1)])
def test_a_timeout_is_noted_in_time_or_never(timeout, reported):
    bench = Bench(timeout=timeout)

    async def run(ctx):
        bench.start(ctx)
        await bench.clock(ctx, slot=bench.random_snoop())
        while not bench.awaited():
            await bench.clock(ctx)
        for _ in range(100):
            await bench.clock(ctx)
            assert not bench.count["timed_out"]
        for _ in range(CONFIG.snoops + 4):
            await bench.clock(ctx)
        assert bench.count["timed_out"] == reported
        await bench.settle(ctx, clocks=20)

    simulate(bench.dut, run)


@pytest.mark.parametrize("delay", range(12))
def test_a_timeout_is_noted_before_the_last_answer_takes_effect(delay):
    bench = Bench(timeout=20)

    async def run(ctx):
        bench.start(ctx)
        await bench.clock(ctx, slot=bench.random_snoop(lines=1))
        while not bench.awaited():
            await bench.clock(ctx)
        for _ in range(18 + delay):
            await bench.clock(ctx, ready=(0, 1, 1))
        await bench.clock(ctx, birsp=bench.answer(0), ready=(0, 1, 1))
        for _ in range(10):
            await bench.clock(ctx, ready=(0, 1, 1))
        # The model refuses a note of a snoop that is over.
        await bench.settle(ctx, clocks=20)

    simulate(bench.dut, run)


def test_after_a_reset_no_place_is_taken_and_nothing_stale_is_said():
    bench = Bench(timeout=30)
    reset = Signal()

    async def run(ctx):
        bench.start(ctx)
        for number in range(CONFIG.snoops):
            # Some wait for grants, some for the host, some for the filter.
            bench.pending = {6, 7}
            answer = bench.random_answer() if number > 5 else None
            await bench.clock(ctx, slot=bench.random_snoop(sector=number), birsp=answer, ready=(1, 1, 0))
        for _ in range(30):
            await bench.clock(ctx, birsp=bench.random_answer(0.5), ready=(1, 1, 0))
        for port in (bench.dut.slot_launched, bench.dut.op_launched, bench.dut.done, bench.dut.birsp):
            ctx.set(port.valid, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        bench.__init__(seed=1, timeout=30)
        bench.dut = dut
        for _ in range(60):
            await bench.clock(ctx)
            assert not any(ctx.get(port.valid) for port in (dut.notes, dut.bisnp, dut.answers))
        for number in range(CONFIG.snoops):
            await bench.clock(ctx, op=bench.random_snoop(sector=number))
        await bench.settle(ctx)
        assert bench.count["launched"] == CONFIG.snoops

    dut = bench.dut
    simulate(ResetInserter(reset)(dut), run)
