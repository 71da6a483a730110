"""The victim queues beside a naive one, and what a naive one promises of the blocks of its head."""

from dataclasses import dataclass

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import data

from kv_endpoint.hw.victims.queues import QueueCommand, Queues
from kv_endpoint.hw.victims.rank import beyond, rank_layout
from tests.formal.free import drive
from tests.formal.naive_queue import NaiveQueue, is_in_queue
from tests.formal.stream_rules import watch

__all__ = ["QueuesBench", "QueuePromisesBench"]

#: clocks from an operation's being taken to what it shows
_LATENCY = 3


@dataclass(frozen=True)
class _Sizes:
    """What the queues take of a configuration. Ranks are one number each, so few bits of it show every order."""

    head_bits: int = 1
    block_bits: int = 1
    step_bits: int = 1
    key_bits: int = 1
    queue_depth: int = 2


def _later(m, value, name, clocks):
    """`value` as it was 1 to `clocks` clocks ago."""
    past = []
    for clock in range(1, clocks + 1):
        later = Signal.like(value, name=f"{name}_{clock}")
        m.d.sync += later.eq(value)
        value = later
        past.append(later)
    return past


class QueuesBench(Elaboratable):
    """Follows any one head, beside a `NaiveQueue` that does at once what the block does in its pipeline.

    What the environment promises: the first that concerns the head after a reset, which comes at any time, is a refresh
    `clear` or `forget`, since RAM keeps what it holds. INSTALL is for the head of the last READ or OPEN, and of a queue
    not longer than it may be. A write does not meet a block that an event of the last 2 clocks adds in its place.

    Asserted: an event is taken in its clock, a refresh in the first without one, a command in the first without both;
    each shows the naive queue's leaf 3 clocks later, READ its record, nothing else shows anything; `busy` from a clock
    after the first to that in which the last is shown. A write is done unless an event added a block 3 clocks before;
    and a read of the queue's RAM shows what was put there since reset, but for what the last 3 clocks added.
    """

    def elaborate(self, platform):
        m = Module()
        config = _Sizes()
        m.submodules.dut = dut = Queues(config=config)
        m.submodules.naive = naive = NaiveQueue(config=config)
        drive(m, dut)
        watch(m, "rules_refresh", dut.refresh, assume=True)
        watch(m, "rules_command", dut.command, assume=True)
        head = AnyConst(config.head_bits)

        # What is taken, and what of it is the followed head's
        event, command = dut.event, dut.command.payload
        refreshed, commanded = dut.refresh.valid & dut.refresh.ready, dut.command.valid & dut.command.ready
        m.d.comb += [
            Assert(~dut.refresh.valid | (dut.refresh.ready == ~event.valid)),
            Assert(~dut.command.valid | (dut.command.ready == ~(event.valid | dut.refresh.valid))),
        ]
        written = Signal.like(dut.write)
        m.d.comb += [
            naive.event.eq(event),
            naive.event.valid.eq(event.valid & (event.head == head)),
            naive.refresh_valid.eq(refreshed & (dut.refresh.payload.head == head)),
            naive.refresh.eq(dut.refresh.payload),
            naive.command_valid.eq(commanded & (command.head == head)),
            naive.command.eq(command),
            written.eq(dut.write),
            written.valid.eq(dut.write_done & (dut.write.head == head)),
            naive.write.eq(written),
        ]
        opens = commanded & ((command.kind == QueueCommand.READ) | (command.kind == QueueCommand.OPEN))
        installs = commanded & (command.kind == QueueCommand.INSTALL)
        opened, opened_head = Signal(), Signal.like(command.head)
        with m.If(opens):
            m.d.sync += [opened.eq(1), opened_head.eq(command.head)]
        m.d.comb += [
            Assume(~installs | (opened & (opened_head == command.head))),
            Assume(~installs | (command.record.count <= config.queue_depth)),
        ]

        refresh, known = naive.refresh, Signal()
        with m.If(naive.refresh_valid & (refresh.clear | refresh.forget)):
            m.d.sync += known.eq(1)
        with m.Elif(~known):
            m.d.comb += Assume(~(naive.event.valid | naive.refresh_valid | naive.command_valid))

        # What is shown
        operation = data.StructLayout({"valid": 1, "is_event": 1, "is_read": 1, "head": config.head_bits})
        taken = Signal(operation)
        m.d.comb += [
            taken.valid.eq(event.valid | refreshed | commanded),
            taken.is_event.eq(event.valid),
            taken.is_read.eq(commanded & (command.kind == QueueCommand.READ)),
            taken.head.eq(Mux(event.valid, event.head, Mux(dut.refresh.valid, dut.refresh.payload.head, command.head))),
        ]
        past = _later(m, taken, "taken", _LATENCY)
        due, record = past[-1], _later(m, naive.record_after, "record", _LATENCY)[-1]
        m.d.comb += [
            Assert(dut.busy == Cat(each.valid for each in past).any()),
            Assert(dut.leaf_valid == (due.valid & ~due.is_read)),
            Assert(dut.record_valid == (due.valid & due.is_read)),
        ]
        with m.If(dut.leaf_valid):
            m.d.comb += Assert(dut.leaf.head == due.head)
        with m.If(dut.leaf_valid & (due.head == head)):
            m.d.comb += [
                Assert(dut.leaf.rank.as_value() == Mux(record.shared, record.bound.as_value(), beyond(config))),
                Assert(dut.leaf.exact == (record.exact | ~record.shared)),
            ]
        with m.If(dut.record_valid & (due.head == head)):
            m.d.comb += Assert(dut.record == record)

        # The queue's RAM
        adding = data.StructLayout({"valid": 1, "position": len(dut.write.position)})
        added = Signal(adding)
        m.d.comb += [added.valid.eq(naive.adds), added.position.eq(naive.record.count)]
        adds = _later(m, added, "added", _LATENCY)
        m.d.comb += [
            *(
                Assume(~(written.valid & each.valid & (written.position == each.position)))
                for each in adds[: _LATENCY - 1]
            ),
            Assert(~dut.write_done | (dut.write.valid & ~adds[-1].valid)),
            Assert(dut.write_done | ~dut.write.valid | due.is_event),
        ]
        reads, block, filled = Signal(), Signal.like(dut.read_block), Signal(config.queue_depth)
        with m.If(written.valid):
            m.d.sync += filled.bit_select(written.position, 1).eq(1)
        with m.If(added.valid):
            m.d.sync += filled.bit_select(added.position, 1).eq(1)
        on_its_way = Cat(each.valid & (each.position == dut.read_position) for each in adds).any()
        is_filled = filled.bit_select(dut.read_position, 1)
        m.d.sync += [
            reads.eq(dut.read_enable & (dut.read_head == head) & is_filled & ~on_its_way),
            block.eq(naive.queue[dut.read_position]),
        ]
        with m.If(reads):
            m.d.comb += Assert(dut.read_block == block)
        return m


class QueuePromisesBench(Elaboratable):
    """Follows any one block of the head: its rank, and whether it may leave as far as its entry says.

    What the environment promises. Of events: the followed block's tell its rank as it was; ranks name their block; only
    a block that is warm may leave. Of refreshes: `clear` comes while the block is not warm; only a refresh `stale` or
    `forget` lets a block leave, or not, without an event, and only `forget` changes its rank. Of the engine: the record
    that it installs is true of what was so at the last READ or OPEN, and of the queue as it is; a write does not take a
    block from the queue whose rank is before the threshold.

    Asserted, for all time: no warm block is before `floor`, none that may leave before `bound`; with `exact` a block
    at `bound` may leave; a block before the threshold is in the queue; the queue holds `queue_depth` at most.
    """

    def elaborate(self, platform):
        m = Module()
        config = _Sizes()
        m.submodules.naive = naive = NaiveQueue(config=config)
        drive(m, naive)
        event, refresh, command = naive.event, naive.refresh, naive.command
        block, nothing = AnyConst(config.block_bits), beyond(config)
        rank, may_leave = Signal(rank_layout(config), init={"block": -1, "step": -1, "key": -1, "none": 1}), Signal()

        def names(value, number):
            return (value.as_value() == nothing) | (~value.none & (value.block == number))

        # What the followed block becomes
        new_rank, new_may_leave, any_rank = Signal.like(rank), Signal(), Signal.like(rank)
        m.d.comb += [new_rank.eq(rank), new_may_leave.eq(may_leave), any_rank.eq(AnySeq(len(rank.as_value())))]
        with m.If(event.valid & (event.block == block)):
            m.d.comb += [Assume(event.before == rank), new_rank.eq(event.after), new_may_leave.eq(event.eligible)]
        with m.If(naive.refresh_valid & refresh.clear):
            m.d.comb += Assume(rank.none)
        with m.Elif(naive.refresh_valid & refresh.forget):
            m.d.comb += [Assume(names(any_rank, block)), new_rank.eq(any_rank)]
            m.d.comb += new_may_leave.eq(AnySeq(1) & ~any_rank.none)
        with m.Elif(naive.refresh_valid & refresh.stale):
            m.d.comb += new_may_leave.eq(AnySeq(1) & ~rank.none)
        m.d.sync += [rank.eq(new_rank), may_leave.eq(new_may_leave)]

        # What it was when the scan began that ends with an INSTALL
        seen_rank, seen_may_leave = Signal.like(rank), Signal()
        with m.If(naive.command_valid & ((command.kind == QueueCommand.READ) | (command.kind == QueueCommand.OPEN))):
            m.d.sync += [seen_rank.eq(rank), seen_may_leave.eq(may_leave)]

        def promises(record, queued, rank, may_leave):
            is_at_bound = ~record.bound.none & (record.bound.block == block)
            return (
                rank.as_value() >= record.floor.as_value(),
                ~may_leave | (rank.as_value() >= record.bound.as_value()),
                ~(record.exact & is_at_bound) | (may_leave & (rank == record.bound)),
                queued | (rank.as_value() >= record.threshold.as_value()),
                record.count <= config.queue_depth,
            )

        write, blocks = naive.write, [naive.queue[place] for place in range(config.queue_depth)]
        written = [Mux(write.valid & (write.position == place), write.block, each) for place, each in enumerate(blocks)]
        record, queued = naive.record, is_in_queue(block, blocks, naive.record.count)
        operations = Cat(event.valid, naive.refresh_valid, naive.command_valid)
        m.d.comb += [
            Assume((operations & (operations - 1)[:3]) == 0),
            *(Assume(names(each, event.block)) for each in (event.before, event.after)),
            Assume(~event.eligible | ~event.after.none),
            Assume(event.fresh == (event.before.none & ~event.after.none)),
            *(
                Assume(~naive.installs | promise)
                for promise in promises(
                    command.record, is_in_queue(block, written, command.record.count), seen_rank, seen_may_leave
                )
            ),
            Assume(
                ~(write.valid & queued)
                | is_in_queue(block, written, record.count)
                | (rank.as_value() >= record.threshold.as_value())
            ),
            *(Assert(promise) for promise in promises(record, queued, rank, may_leave)),
            # What is followed makes sense.
            Assert(names(rank, block) & ~(may_leave & rank.none)),
            Assert(~naive.undisturbed | ((seen_rank == rank) & (seen_may_leave == may_leave))),
        ]
        return m
