"""One head's victim queue as its description says, each operation done in the clock in which it is taken."""

from amaranth.hdl import Module, Mux
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.victims.queues import QueueCommand, queue_command, queue_record, queue_write, refresh_order
from kv_endpoint.hw.victims.rank import beyond, ranked_event

__all__ = ["NaiveQueue", "is_in_queue"]


def is_in_queue(block, blocks, count):
    """Whether `block` is one of the first `count` of a queue's `blocks`."""
    return sum((blocks[place] == block) & (place < count) for place in range(len(blocks))) != 0


class NaiveQueue(wiring.Component):
    """Record and queue of one head. At most one operation a clock, and a write beside it.

    Members
    -------
    event : In(ranked_event)
    refresh_valid, refresh, command_valid, command : In
        What concerns this head.
    write : In(queue_write)
        `head` is not looked at. An event that adds a block goes before a write to the same position.
    record, queue : Out
        After all that was taken in earlier clocks.
    record_after : Out(queue_record)
        After this clock's operation too.
    undisturbed : Out(1)
        No event and no refresh came since the last READ or OPEN.
    adds : Out(1)
        This clock's event adds its block to the queue, at position `record.count`.
    installs : Out(1)
        This clock's INSTALL is not ignored.
    """

    def __init__(self, *, config):
        self._config = config
        record = queue_record(config)
        super().__init__(
            {
                "event": In(ranked_event(config)),
                "refresh_valid": In(1),
                "refresh": In(refresh_order(config)),
                "command_valid": In(1),
                "command": In(queue_command(config)),
                "write": In(queue_write(config)),
                "record": Out(record),
                "record_after": Out(record),
                "queue": Out(data.ArrayLayout(config.block_bits, config.queue_depth)),
                "undisturbed": Out(1),
                "adds": Out(1),
                "installs": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        now, after, event = self.record, self.record_after, self.event
        m.d.comb += after.eq(now)
        m.d.sync += now.eq(after)

        with m.If(event.valid):
            m.d.sync += self.undisturbed.eq(0)
            self._event(m)
        with m.If(self.refresh_valid):
            m.d.sync += self.undisturbed.eq(0)
            m.d.comb += after.shared.eq(self.refresh.shared)
            with m.If(self.refresh.clear):
                for name in ("threshold", "floor", "bound"):
                    m.d.comb += getattr(after, name).eq(beyond(self._config))
                m.d.comb += [after.exact.eq(1), after.count.eq(0)]
            with m.Elif(self.refresh.forget):
                # Every block may be the first one, and none is known to be in the queue.
                m.d.comb += [after.eq(0), after.shared.eq(self.refresh.shared)]
            with m.Elif(self.refresh.stale):
                m.d.comb += [after.bound.eq(now.floor), after.exact.eq(now.floor.none)]
        with m.If(self.command_valid):
            with m.Switch(self.command.kind):
                with m.Case(QueueCommand.READ):
                    m.d.sync += self.undisturbed.eq(1)
                with m.Case(QueueCommand.OPEN):
                    m.d.sync += self.undisturbed.eq(1)
                    m.d.comb += [after.threshold.eq(0), after.count.eq(0)]
                with m.Case(QueueCommand.INSTALL):
                    m.d.comb += self.installs.eq(self.undisturbed)
                with m.Case(QueueCommand.DROP):
                    m.d.comb += after.exact.eq(0)
        with m.If(self.installs):
            m.d.comb += [after.eq(self.command.record), after.shared.eq(now.shared)]

        with m.If(self.write.valid):
            m.d.sync += self.queue[self.write.position].eq(self.write.block)
        with m.If(self.adds):
            m.d.sync += self.queue[now.count].eq(event.block)
        return m

    def _event(self, m):
        now, after, event = self.record, self.record_after, self.event
        rank, earlier = event.after.as_value(), event.before.as_value()
        threshold, bound = now.threshold.as_value(), now.bound.as_value()
        enters = (rank < threshold) & (earlier >= threshold)
        is_full = now.count == self._config.queue_depth
        lowers = event.eligible & (rank < bound)
        left_the_bound = (now.bound.block == event.block) & ~now.bound.none & ~(event.eligible & (rank == bound))
        m.d.comb += [
            self.adds.eq(enters & ~is_full),
            after.count.eq(now.count + self.adds),
            after.threshold.eq(Mux(enters & is_full, rank, threshold)),
            after.floor.eq(Mux(rank < now.floor.as_value(), rank, now.floor.as_value())),
            after.bound.eq(Mux(lowers, rank, bound)),
            after.exact.eq(Mux(lowers, ~event.fresh, now.exact & ~left_the_bound)),
        ]
