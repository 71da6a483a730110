"""Records of the victim queues change with each event, refresh and command as they must, one a clock."""

import random
from dataclasses import dataclass, replace

import pytest
from amaranth.hdl import Const

from kv_endpoint.golden.common.config import preset
from kv_endpoint.hw.victims.queues import QueueCommand, Queues, queue_record
from kv_endpoint.hw.victims.rank import beyond, rank_layout
from tests.support.simulation import set_payload, simulate

CONFIG = preset("tiny", heads=3, blocks_per_head=8)
NONE = beyond(CONFIG)


@dataclass(frozen=True)
class Record:
    """A record with ranks as integers, and the blocks of the queue."""

    threshold: int = NONE
    floor: int = NONE
    bound: int = NONE
    exact: bool = True
    shared: bool = False
    queue: tuple = ()


def after_event(record, event):
    """`record` after an event of a warm block; the rules are those in the class's description."""
    before, after, block = event["before"], event["after"], event["block"]
    if after < record.threshold and not before < record.threshold:
        if len(record.queue) < CONFIG.queue_depth:
            record = replace(record, queue=(*record.queue, block))
        else:
            record = replace(record, threshold=after)
    record = replace(record, floor=min(record.floor, after))
    if event["eligible"] and after < record.bound:
        return replace(record, bound=after, exact=not event["fresh"])
    at_bound = record.bound != NONE and record.bound % CONFIG.blocks_per_head == block
    if at_bound and not (event["eligible"] and after == record.bound):
        record = replace(record, exact=False)
    return record


def after_refresh(record, order):
    record = replace(record, shared=bool(order["shared"]))
    if order["clear"]:
        return Record(shared=record.shared)
    if order["forget"]:
        return replace(record, threshold=0, floor=0, bound=0, exact=False, queue=())
    if order["stale"]:
        return replace(record, bound=record.floor, exact=record.floor == NONE)
    return record


class Bench:
    def __init__(self, seed):
        print(f"seed {seed}")
        self.random = random.Random(seed)
        self.dut = Queues(config=CONFIG)
        self.records = [Record() for _ in range(CONFIG.heads)]
        self.watched, self.disturbed = None, False
        #: by the clock in which they are due
        self.reads, self.leaves = {}, {}
        self.installed = self.ignored = 0
        self.clocks = 0

    def random_rank(self, block):
        # Few ranks of a block, so that they often equal the bound or lie on either side of the threshold.
        fields = {"block": block, "step": self.random.randrange(2), "key": self.random.randrange(3), "none": 0}
        return Const.cast(rank_layout(CONFIG).const(fields)).value

    def random_event(self):
        rng, block = self.random, self.random.randrange(CONFIG.blocks_per_head)
        before, after = (rng.choice((NONE, self.random_rank(block), self.random_rank(block))) for _ in range(2))
        eligible = after != NONE and rng.random() < 0.6
        fresh = before == NONE and after != NONE
        return {"head": rng.randrange(CONFIG.heads), "block": block, "before": before, "after": after,
                "eligible": eligible, "fresh": fresh}  # fmt: skip

    def random_order(self):
        kind = self.random.choices(("clear", "forget", "stale", None), (1, 2, 4, 4))[0]
        order = {"head": self.random.randrange(CONFIG.heads), "shared": self.random.randrange(2)}
        return order | {name: name == kind for name in ("clear", "forget", "stale")}

    def apply_command(self, kind, head):
        """Apply a command that is taken in this clock; returns the record to install."""
        old = self.records[head]
        if kind in (QueueCommand.READ, QueueCommand.OPEN):
            self.watched, self.disturbed = head, False
        if kind == QueueCommand.OPEN:
            self.records[head] = replace(old, threshold=0, queue=())
        elif kind == QueueCommand.DROP:
            self.records[head] = replace(old, exact=False)
        elif kind == QueueCommand.INSTALL and not self.disturbed:
            self.installed += 1
            self.records[head] = replace(self.to_install, shared=old.shared)
        elif kind == QueueCommand.INSTALL:
            self.ignored += 1

    def due(self, head, is_read):
        """What the record of `head` must show 3 clocks from now."""
        record = self.records[head]
        if is_read:
            self.reads[self.clocks + 3] = record
        else:
            rank = record.bound if record.shared else NONE
            self.leaves[self.clocks + 3] = head, rank, record.exact or not record.shared

    def check(self, ctx):
        dut = self.dut
        assert ctx.get(dut.record_valid) == (self.clocks in self.reads)
        assert ctx.get(dut.leaf_valid) == (self.clocks in self.leaves)
        if self.clocks in self.reads:
            expected, seen = self.reads[self.clocks], ctx.get(dut.record)
            values = {name: Const.cast(seen[name]).value for name, _ in queue_record(CONFIG)}
            for name in ("threshold", "floor", "bound", "exact", "shared"):
                assert values[name] == int(getattr(expected, name)), name
            assert values["count"] == len(expected.queue)
        if self.clocks in self.leaves:
            seen = ctx.get(dut.leaf)
            assert (int(seen["head"]), Const.cast(seen["rank"]).value, bool(seen["exact"])) == self.leaves[self.clocks]

    async def clock(self, ctx, *, event=None, order=None, kind=None, head=None):
        """One clock with what is offered in it; returns what was taken."""
        dut = self.dut
        ctx.set(dut.event.valid, event is not None)
        if event is not None:
            for name in ("head", "block", "eligible", "fresh"):
                ctx.set(getattr(dut.event, name), event[name])
            for name in ("before", "after"):
                ctx.set(getattr(dut.event, name).as_value(), event[name])
        ctx.set(dut.refresh.valid, order is not None)
        if order is not None:
            set_payload(ctx, dut.refresh.payload, order)
        ctx.set(dut.command.valid, kind is not None)
        if kind is not None:
            set_payload(ctx, dut.command.payload, {"kind": kind.value, "head": head})
        taken = "event" if event is not None else None
        if ctx.get(dut.refresh.ready) and order is not None:
            taken = "refresh"
        elif ctx.get(dut.command.ready) and kind is not None:
            taken = "command"
        offered = {"event": event, "refresh": order, "command": kind}
        # Events first, then refreshes
        assert taken == next((name for name, value in offered.items() if value is not None), None)
        if taken == "command":
            self.apply_command(kind, head)
            self.due(head, kind == QueueCommand.READ)
        elif taken is not None:
            where = offered[taken]["head"]
            change = after_event if taken == "event" else after_refresh
            self.records[where] = change(self.records[where], offered[taken])
            self.disturbed |= where == self.watched
            self.due(where, False)
        self.check(ctx)
        await ctx.tick()
        self.clocks += 1
        return taken


@pytest.mark.parametrize("load", [0.1, 0.6])
def test_records_change_as_events_refreshes_and_commands_say(load):
    bench = Bench(seed=int(load * 10))
    rng = bench.random

    async def testbench(ctx):
        dut = bench.dut
        for head in range(CONFIG.heads):
            await bench.clock(ctx, order={"head": head, "clear": 1, "forget": 0, "stale": 0, "shared": 1})
        for _ in range(700):
            # A command, most often for the head that is watched, waits until it is taken.
            kind = rng.choice(list(QueueCommand))
            head = rng.randrange(CONFIG.heads)
            if kind == QueueCommand.INSTALL and bench.watched is not None:
                head = bench.watched
                block = rng.randrange(CONFIG.blocks_per_head)
                ranks = {name: rng.choice((NONE, bench.random_rank(block))) for name in ("threshold", "floor", "bound")}
                bench.to_install = Record(exact=rng.random() < 0.7, queue=(0,) * rng.randrange(5), **ranks)
                record = dut.command.payload.record
                for name, rank in ranks.items():
                    ctx.set(getattr(record, name).as_value(), rank)
                ctx.set(record.exact, bench.to_install.exact)
                ctx.set(record.count, len(bench.to_install.queue))
            elif kind == QueueCommand.INSTALL:
                kind = QueueCommand.READ
            taken = None
            while taken != "command":
                event = bench.random_event() if rng.random() < load else None
                order = bench.random_order() if rng.random() < load / 4 else None
                offer = kind if rng.random() < 0.7 else None
                taken = await bench.clock(ctx, event=event, order=order, kind=offer, head=head)
        assert ctx.get(dut.busy)
        for _ in range(4):
            await bench.clock(ctx)
        assert not ctx.get(dut.busy)

    simulate(bench.dut, testbench)
    assert bench.installed > 40 and bench.ignored > 5


@pytest.mark.quick
def test_events_append_to_the_queue_before_other_writes():
    bench = Bench(seed=1)
    depth = CONFIG.queue_depth

    async def testbench(ctx):
        dut = bench.dut
        await bench.clock(ctx, order={"head": 1, "clear": 1, "forget": 0, "stale": 0, "shared": 1})
        set_payload(ctx, dut.write, {"valid": 1, "head": 2, "position": 3, "block": 7})
        done = []
        for block in range(depth + 1):
            event = {"head": 1, "block": block, "before": NONE, "after": block + 100, "eligible": 1, "fresh": 1}
            await bench.clock(ctx, event=event)
            done.append(ctx.get(dut.write_done))
        for _ in range(4):
            await bench.clock(ctx)
            done.append(ctx.get(dut.write_done))
        # Each event of the first `queue_depth` took the port for one clock, the one that found no room did not.
        assert done.count(0) == depth
        ctx.set(dut.write.valid, 0)
        ctx.set(dut.read_enable, 1)
        for head, position, block in (*((1, number, number) for number in range(depth)), (2, 3, 7)):
            ctx.set(dut.read_head, head)
            ctx.set(dut.read_position, position)
            await bench.clock(ctx)
            assert ctx.get(dut.read_block) == block

    simulate(bench.dut, testbench)
