"""The victim queues: what is remembered of each head, kept true by every commit."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.victims.rank import beyond, is_before, rank_layout, ranked_event

__all__ = ["QueueCommand", "queue_record", "queue_command", "refresh_order", "queue_write", "leaf", "Queues"]


def count_bits(config):
    """Width of a number of blocks in a queue."""
    return config.queue_depth.bit_length()


def position_bits(config):
    """Width of a position in a queue."""
    return (config.queue_depth - 1).bit_length()


def queue_record(config):
    """What is known of a head.

    `threshold`: warm blocks that are not in the queue have this rank or a later one. `count`: blocks in the queue.
    `floor`: no warm block has an earlier rank. `bound`: no block that may leave (as far as its entry says) has an
    earlier rank; with `exact` it is the rank of the first that may leave, or of none. `shared`: the head is above its
    minimum.
    """
    rank = rank_layout(config)
    return data.StructLayout(
        {"threshold": rank, "floor": rank, "bound": rank, "exact": 1, "count": count_bits(config), "shared": 1}
    )


class QueueCommand(enum.Enum, shape=2):
    """What the victim engine asks of a head's record."""

    #: show it
    READ = 0
    #: the queue's RAM is about to be rewritten: forget its contents
    OPEN = 1
    #: replace all but `shared`, unless an event or a refresh concerned the head since READ or OPEN
    INSTALL = 2
    #: the block at `bound` may not leave after all
    DROP = 3


def queue_command(config):
    return data.StructLayout({"kind": QueueCommand, "head": config.head_bits, "record": queue_record(config)})


def refresh_order(config):
    """Bring a head up to date (`hw.victims.refresh`).

    `clear`: no block of it is warm. `forget`: nothing is known of it. `stale`: blocks may have become eligible.
    `shared`: whether it is above its minimum.
    """
    return data.StructLayout({"head": config.head_bits, "clear": 1, "forget": 1, "stale": 1, "shared": 1})


def queue_write(config):
    """A write of a block number to a head's queue."""
    return data.StructLayout(
        {"valid": 1, "head": config.head_bits, "position": position_bits(config), "block": config.block_bits}
    )


def leaf(config):
    """A head's entry in the tournament: its best rank, or with `exact` clear a rank that its best is not before."""
    return data.StructLayout({"head": config.head_bits, "rank": rank_layout(config), "exact": 1})


class Queues(wiring.Component):
    """One record and one queue of block numbers a head; one operation a clock, same head back to back included.

    A queue is a set of at most `queue_depth` blocks in no order. It may hold blocks twice, and blocks that are no
    longer warm. It is useful through its threshold: the first block of the queue that may leave is the first of the
    head, if it is not behind the threshold.

    An event of a warm block:

    - The block was warm and before the threshold: it is in the queue already. Else, if now it is before the threshold,
      it is added, or where there is no room the threshold is lowered to it.
    - `floor` and, if it may leave, `bound` are lowered to it. A block that has just become warm is not an exact bound:
      the miss that brought it is still open.
    - It was the block at `bound`, and moved back or may no longer leave: `bound` is no longer exact.

    Events go first and are never held; refreshes and commands wait for a clock without one. Every operation but READ
    shows its head's new leaf 3 clocks later.

    ```
    clock   0                1                  2                  3
            choose, read     record, or what    compare, change    write record, queue,
                             is on its way                         leaf
    ```

    Members
    -------
    event : In(ranked_event)
    refresh : In(stream of refresh_order)
    command : In(stream of queue_command)
    record_valid, record : Out
        Of a READ, 3 clocks after it was taken.
    leaf_valid, leaf : Out
        To the tournament: `bound` of a head that is `shared`, none of others.
    read_enable, read_head, read_position : In
        Of the queue's RAM; `read_block` follows a clock later.
    write : In(queue_write)
        To the queue's RAM; done where `write_done`, else an event came first.
    busy : Out(1)
        An operation is on its way.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "event": In(ranked_event(config)),
                "refresh": In(stream.Signature(refresh_order(config))),
                "command": In(stream.Signature(queue_command(config))),
                "record_valid": Out(1),
                "record": Out(queue_record(config)),
                "leaf_valid": Out(1),
                "leaf": Out(leaf(config)),
                "read_enable": In(1),
                "read_head": In(config.head_bits),
                "read_position": In(position_bits(config)),
                "read_block": Out(config.block_bits),
                "write": In(queue_write(config)),
                "write_done": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        layout = queue_record(config)

        m.submodules.records = records = Memory(shape=layout, depth=1 << config.head_bits, init=[])
        record_write = records.write_port()
        record_read = records.read_port(transparent_for=(record_write,))
        queue_rows = 1 << config.head_bits + position_bits(config)
        m.submodules.blocks = queues = Memory(shape=config.block_bits, depth=queue_rows, init=[])
        block_write = queues.write_port()
        block_read = queues.read_port()

        operation = data.StructLayout(
            {
                "head": config.head_bits, "is_event": 1, "is_refresh": 1, "is_command": 1,
                "event": ranked_event(config), "refresh": refresh_order(config), "command": queue_command(config),
            }
        )  # fmt: skip
        chosen = Signal(operation)
        reading = Signal(operation)
        changing = Signal(operation)
        writing = Signal(operation)

        # Clock 0
        m.d.comb += [
            chosen.event.eq(self.event),
            chosen.refresh.eq(self.refresh.payload),
            chosen.command.eq(self.command.payload),
        ]
        with m.If(self.event.valid):
            m.d.comb += [chosen.is_event.eq(1), chosen.head.eq(self.event.head)]
        with m.Elif(self.refresh.valid):
            m.d.comb += [chosen.is_refresh.eq(1), chosen.head.eq(self.refresh.payload.head), self.refresh.ready.eq(1)]
        with m.Elif(self.command.valid):
            m.d.comb += [chosen.is_command.eq(1), chosen.head.eq(self.command.payload.head), self.command.ready.eq(1)]

        # Whether what a scan of this head saw is still true when it is installed
        watched = Signal(config.head_bits)
        disturbed = Signal()
        kind = chosen.command.kind
        with m.If(chosen.is_command & ((kind == QueueCommand.READ) | (kind == QueueCommand.OPEN))):
            m.d.sync += [watched.eq(chosen.head), disturbed.eq(0)]
        with m.Elif((chosen.is_event | chosen.is_refresh) & (chosen.head == watched)):
            m.d.sync += disturbed.eq(1)
        install = Signal()
        m.d.sync += install.eq(~disturbed & (kind == QueueCommand.INSTALL))

        m.d.comb += [record_read.addr.eq(chosen.head), record_read.en.eq(1)]
        m.d.sync += reading.eq(chosen)

        # Clock 1: two operations may be ahead that the RAM does not know of yet
        old = Signal(layout)
        new = Signal(layout)
        written = Signal(layout)

        def active(stage):
            return stage.is_event | stage.is_refresh | stage.is_command

        m.d.sync += [old.eq(record_read.data), changing.eq(reading)]
        with m.If(active(changing) & (changing.head == reading.head)):
            m.d.sync += old.eq(new)
        with m.Elif(active(writing) & (writing.head == reading.head)):
            m.d.sync += old.eq(written)
        do_install = Signal()
        m.d.sync += do_install.eq(install)

        # Clock 2
        append = Signal()
        m.d.comb += new.eq(old)
        with m.If(changing.is_event):
            self._apply_event(m, changing.event, old, new, append)
        with m.If(changing.is_refresh):
            self._apply_refresh(m, changing.refresh, old, new)
        with m.If(changing.is_command):
            with m.Switch(changing.command.kind):
                with m.Case(QueueCommand.OPEN):
                    m.d.comb += [new.threshold.eq(0), new.count.eq(0)]
                with m.Case(QueueCommand.INSTALL):
                    with m.If(do_install):
                        m.d.comb += [new.eq(changing.command.record), new.shared.eq(old.shared)]
                with m.Case(QueueCommand.DROP):
                    m.d.comb += new.exact.eq(0)
        append_write = Signal(queue_write(config))
        m.d.sync += [
            written.eq(new),
            writing.eq(changing),
            append_write.valid.eq(append),
            append_write.head.eq(changing.head),
            append_write.position.eq(old.count),
            append_write.block.eq(changing.event.block),
        ]

        # Clock 3
        is_read = writing.is_command & (writing.command.kind == QueueCommand.READ)
        m.d.comb += [
            record_write.addr.eq(writing.head),
            record_write.data.eq(written),
            record_write.en.eq(active(writing)),
            self.record.eq(written),
            self.record_valid.eq(is_read),
            self.leaf_valid.eq(active(writing) & ~is_read),
            self.leaf.head.eq(writing.head),
            self.leaf.rank.eq(Mux(written.shared, written.bound.as_value(), beyond(config))),
            self.leaf.exact.eq(written.exact | ~written.shared),
            self.busy.eq(active(reading) | active(changing) | active(writing)),
        ]

        chosen_write = Mux(append_write.valid, append_write.as_value(), self.write.as_value())
        port_write = Signal(queue_write(config))
        m.d.comb += [
            port_write.eq(chosen_write),
            block_write.addr.eq(Cat(port_write.position, port_write.head)),
            block_write.data.eq(port_write.block),
            block_write.en.eq(port_write.valid),
            self.write_done.eq(self.write.valid & ~append_write.valid),
            block_read.addr.eq(Cat(self.read_position, self.read_head)),
            block_read.en.eq(self.read_enable),
            self.read_block.eq(block_read.data),
        ]
        return m

    def _apply_event(self, m, event, old, new, append):
        queued = is_before(event.before, old.threshold)
        has_room = old.count != self._config.queue_depth
        with m.If(is_before(event.after, old.threshold) & ~queued):
            with m.If(has_room):
                m.d.comb += [append.eq(1), new.count.eq(old.count + 1)]
            with m.Else():
                m.d.comb += new.threshold.eq(event.after)
        with m.If(is_before(event.after, old.floor)):
            m.d.comb += new.floor.eq(event.after)
        with m.If(event.eligible & is_before(event.after, old.bound)):
            m.d.comb += [new.bound.eq(event.after), new.exact.eq(~event.fresh)]
        with m.Elif((event.block == old.bound.block) & ~old.bound.none):
            with m.If(~event.eligible | (event.after != old.bound)):
                m.d.comb += new.exact.eq(0)

    def _apply_refresh(self, m, refresh, old, new):
        m.d.comb += new.shared.eq(refresh.shared)
        with m.If(refresh.clear):
            m.d.comb += [
                new.threshold.eq(beyond(self._config)),
                new.floor.eq(beyond(self._config)),
                new.bound.eq(beyond(self._config)),
                new.exact.eq(1),
                new.count.eq(0),
            ]
        with m.Elif(refresh.forget):
            m.d.comb += [new.threshold.eq(0), new.floor.eq(0), new.bound.eq(0), new.exact.eq(0), new.count.eq(0)]
        with m.Elif(refresh.stale):
            # Where no block is warm at all, none has become eligible.
            m.d.comb += [new.bound.eq(old.floor), new.exact.eq(old.floor.none)]
