"""Streaming blocks of one head through the key pipeline: short scans of its queue, sweeps of all its blocks."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.pipeline.metadata import State
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.pipeline.score import Key
from kv_endpoint.hw.victims.queues import count_bits, position_bits, queue_write
from kv_endpoint.hw.victims.rank import beyond, is_before, rank_layout, rank_of
from kv_endpoint.hw.victims.sorter import Sorter

__all__ = ["SweepKind", "covered_rank", "sweep_job", "sweep_peek", "sweep_result", "sweep_sight", "Sweep"]


class SweepKind(enum.Enum, shape=2):
    """What is streamed."""

    #: the `count` blocks of the head's queue; those that no longer belong there are dropped from it
    QUEUE = 0
    #: all blocks of the head
    HEAD = 1
    #: all blocks of the head, and its first ones become its queue
    REFILL = 2


def sweep_job(config):
    """`count`, `threshold`: of the head's queue record, for QUEUE."""
    return data.StructLayout(
        {"kind": SweepKind, "head": config.head_bits, "count": count_bits(config), "threshold": rank_layout(config)}
    )


def sweep_peek(config):
    """One block to look at: `key` asks for its key, `entry` for what its entry says."""
    return data.StructLayout({"key": 1, "entry": 1, "head": config.head_bits, "block": config.block_bits})


def covered_rank(config):
    """Rank of a block that may not leave only because hosts may hold lines of it; those not `announced` come first."""
    return data.StructLayout({"rank": rank_layout(config), "announced": 1})


def sweep_result(config):
    """Ranks of what was streamed.

    `eligible`: the first block that may leave; `waived`: the first that may leave if announcements are waived; `warm`:
    the first that is warm; `covered`: the first that was passed over only because hosts may hold lines of it, all ones
    if none was. `threshold`, `count`: of the queue as it is now.
    """
    rank = rank_layout(config)
    return data.StructLayout(
        {
            "eligible": rank, "waived": rank, "warm": rank, "covered": covered_rank(config), "threshold": rank,
            "count": count_bits(config),
        }
    )  # fmt: skip


def sweep_sight(config):
    """What peeks saw: `rank`, and whether the EMA is `zero`, of the last one for a key; of the last one for an entry
    `frame`, and whether it is `kept`: in migration, or hosts may hold lines of it.

    `key_done`, `entry_done`: nothing newer was asked for.
    """
    return data.StructLayout(
        {
            "rank": rank_layout(config), "zero": 1, "frame": config.frame_bits, "kept": 1, "key_done": 1,
            "entry_done": 1,
        }
    )  # fmt: skip


class Sweep(wiring.Component):
    """Reads blocks of a head from the metadata table, ranks them and keeps the first ones. One block a clock.

    A job of n blocks takes n + `latency` clocks from `start` to `done`, none takes 1; REFILL adds up to 2 x
    `queue_depth` for sorting and for writing the queue.

    ```
    clock   0           1           2           3          4             5          ...     latency
            number      queue RAM   index       table      migrating,    key                first so far,
                                                           key                              sorter, queue
    ```

    A QUEUE job compacts the queue in place: what stays moves forward. Entries behind the last one moved are untouched,
    so that the queue as it was, `count` blocks long, still holds all it must where the result is not used.

    Members
    -------
    start : In(1)
        Begin `job`; not before the last job is done.
    job : In(sweep_job)
    done : Out(1)
        For one clock.
    result : Out(sweep_result)
        From the clock after `done` until the next start.
    peek : In(sweep_peek)
        Look at a block beside the job; not while a job streams. A key takes `latency` clocks, an entry 5.
    sight : Out(sweep_sight)
    now, policy : In
    table : Out(TableRead)
    migrating_index : Out(index)
    migrating : In(1)
        In the same clock: this block is in migration.
    covered : In(1)
        Beside `table.entry`: hosts may hold lines of this block.
    read_enable, read_head, read_position, read_block, write, write_done
        The queue RAM in `Queues`.
    """

    def __init__(self, *, config):
        self._config = config
        self._key = Key(config=config)
        super().__init__(
            {
                "start": In(1),
                "job": In(sweep_job(config)),
                "done": Out(1),
                "result": Out(sweep_result(config)),
                "peek": In(sweep_peek(config)),
                "sight": Out(sweep_sight(config)),
                "now": In(config.step_bits),
                "policy": In(layouts.policy_layout()),
                "table": Out(layouts.TableRead(config)),
                "migrating_index": Out(config.index_bits),
                "migrating": In(1),
                "covered": In(1),
                "read_enable": Out(1),
                "read_head": Out(config.head_bits),
                "read_position": Out(position_bits(config)),
                "read_block": In(config.block_bits),
                "write": Out(queue_write(config)),
                "write_done": In(1),
            }
        )

    @property
    def latency(self):
        """Clocks that a job takes beyond one for each block: up to the table's entry 4, key, rank, first so far."""
        return 4 + self._key.latency + 2

    def elaborate(self, platform):
        m = Module()
        config = self._config
        job, result, sight = Signal(sweep_job(config)), self.result, self.sight
        m.submodules.key = key = self._key
        m.submodules.sorter = sorter = Sorter(config=config)
        is_queue = job.kind == SweepKind.QUEUE

        # Clock 0: which blocks
        element = data.StructLayout(
            {
                "valid": 1, "last": 1, "peek_key": 1, "peek_entry": 1, "head": config.head_bits,
                "block": config.block_bits, "step": config.step_bits, "warm": 1, "waived": 1, "eligible": 1,
                "covered": 1, "announced": 1,
            }
        )  # fmt: skip
        number = Signal(range(max(config.blocks_per_head, config.queue_depth)))
        last_number = Signal.like(number)
        issuing = Signal()
        issued = Signal(element)
        m.d.comb += [
            last_number.eq(Mux(is_queue, job.count - 1, config.blocks_per_head - 1)),
            issued.valid.eq(issuing),
            issued.last.eq(number == last_number),
            issued.peek_key.eq(self.peek.key),
            issued.peek_entry.eq(self.peek.entry),
            issued.head.eq(Mux(issuing, job.head, self.peek.head)),
            issued.block.eq(Mux(issuing, number, self.peek.block)),
            self.read_enable.eq(issuing),
            self.read_head.eq(job.head),
            self.read_position.eq(number),
        ]
        with m.If(issuing):
            m.d.sync += number.eq(number + 1)
            with m.If(issued.last):
                m.d.sync += issuing.eq(0)

        # Clocks 1 to 3: the block of a queue, its index, its entry
        named = Signal(element)
        indexed = Signal(element)
        read = Signal(element)
        m.d.sync += [named.eq(issued), indexed.eq(named), read.eq(indexed)]
        with m.If(is_queue & named.valid):
            m.d.sync += indexed.block.eq(self.read_block)
        m.d.comb += [
            self.table.enable.eq(indexed.valid | indexed.peek_key | indexed.peek_entry),
            self.table.index.eq(Cat(indexed.block, indexed.head)),
        ]

        # Clock 4: may it leave?
        entry = Signal(layouts.entry(config))
        examined = Signal(element)
        fetched = Signal(element)
        covered = Signal()
        may_leave = examined.warm & ~entry.pinned & ~self.migrating
        protected = self.policy.protect & (entry.step == self.now) & entry.announced & ~entry.touched
        m.d.sync += [entry.eq(self.table.entry), covered.eq(self.covered), fetched.eq(read)]
        m.d.comb += [
            self.migrating_index.eq(Cat(fetched.block, fetched.head)),
            examined.eq(fetched),
            examined.step.eq(entry.step),
            examined.warm.eq(entry.state == State.WARM),
            examined.waived.eq(may_leave & ~covered),
            examined.eligible.eq(examined.waived & ~protected),
            examined.covered.eq(may_leave & covered),
            examined.announced.eq(protected),
            key.priority.eq(self.policy.priority),
            key.ema.eq(entry.ema),
            key.step.eq(entry.step),
            key.now.eq(self.now),
            key.lam.eq(self.policy.lam),
        ]
        with m.If(self.peek.entry):
            m.d.sync += sight.entry_done.eq(0)
        with m.Elif(fetched.peek_entry):
            m.d.sync += [sight.frame.eq(entry.frame), sight.kept.eq(self.migrating | covered), sight.entry_done.eq(1)]
        with m.If(fetched.peek_key):
            m.d.sync += sight.zero.eq(entry.ema == 0)

        # Key
        carried = examined
        for clock in range(1, key.latency + 1):
            following = Signal(element, name=f"carried_{clock}")
            m.d.sync += following.eq(carried)
            carried = following

        # Rank
        ranked = Signal(element)
        rank = Signal(rank_layout(config))
        m.d.sync += [
            ranked.eq(carried),
            rank.eq(rank_of(config, key=key.key, step=carried.step, block=carried.block)),
        ]

        # First so far
        for field in ("eligible", "waived", "warm"):
            with m.If(ranked.valid & ranked[field] & is_before(rank, result[field])):
                m.d.sync += result[field].eq(rank)
        with_announced = Signal(covered_rank(config))
        m.d.comb += [with_announced.rank.eq(rank), with_announced.announced.eq(ranked.announced)]
        with m.If(ranked.valid & ranked.covered & (with_announced.as_value() < result.covered.as_value())):
            m.d.sync += result.covered.eq(with_announced)
        with m.If(self.peek.key):
            m.d.sync += sight.key_done.eq(0)
        with m.Elif(ranked.peek_key):
            m.d.sync += [sight.rank.eq(rank), sight.key_done.eq(1)]
        m.d.comb += [sorter.rank.eq(rank), sorter.push.eq(ranked.valid & ranked.warm & ~is_queue)]

        # The queue's RAM: compacted as the blocks pass, or filled from the sorter
        belongs = ranked.valid & ranked.warm & ~is_before(job.threshold, rank)
        compacting = Signal()
        filling = Signal()
        m.d.comb += self.write.head.eq(job.head)
        with m.If(filling):
            m.d.comb += [self.write.valid.eq(~sorter.first.none), self.write.block.eq(sorter.first.block)]
        with m.Else():
            m.d.comb += [self.write.valid.eq(compacting & belongs), self.write.block.eq(rank.block)]
        kept = Signal.like(result.count)
        m.d.comb += [self.write.position.eq(kept), sorter.shift.eq(filling & self.write_done)]
        with m.If(self.write_done):
            m.d.sync += kept.eq(kept + 1)
        with m.Elif(self.write.valid & ~filling):
            # An event took the port. The rest stays where it is.
            m.d.sync += compacting.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.comb += sorter.clear.eq(1)
                    m.d.sync += [
                        number.eq(0),
                        kept.eq(0),
                        job.eq(self.job),
                        compacting.eq(self.job.kind == SweepKind.QUEUE),
                        result.eligible.eq(beyond(config)),
                        result.waived.eq(beyond(config)),
                        result.warm.eq(beyond(config)),
                        result.covered.eq(-1),
                    ]
                    with m.If((self.job.kind == SweepKind.QUEUE) & (self.job.count == 0)):
                        m.next = "END"
                    with m.Else():
                        m.d.sync += issuing.eq(1)
                        m.next = "STREAM"
            with m.State("STREAM"):
                with m.If(ranked.valid & ranked.last):
                    m.next = "END"
                    with m.If(job.kind == SweepKind.REFILL):
                        m.next = "SORT"
            with m.State("SORT"):
                with m.If(sorter.settled):
                    m.d.sync += result.threshold.eq(Mux(sorter.overflowed, sorter.last.as_value(), beyond(config)))
                    m.next = "FILL"
            with m.State("FILL"):
                m.d.comb += filling.eq(1)
                with m.If(sorter.first.none):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += self.done.eq(1)
                with m.If(is_queue):
                    m.d.sync += result.threshold.eq(job.threshold)
                m.d.sync += result.count.eq(Mux(is_queue & ~compacting, job.count, kept))
                m.next = "IDLE"
        return m
