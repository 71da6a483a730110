"""How many sectors of each block hosts may hold, and reads of it are held: a covered block must not lose its frame."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.pipeline.metadata import FILTER_CLOCKS

__all__ = ["CoveredBlocks"]

#: operations of the snoop filter whose events have not come in when one more is taken, that one included
_ON_THE_WAY = FILTER_CLOCKS + 2
#: events of operations that may wait
_DEPTH = _ON_THE_WAY + 8


class CoveredBlocks(wiring.Component):
    """Counts one event a clock: those of slots as they come, those of operations in between.

    A block is covered from the very event on that brings its first sector into use, and until 4 clocks after the last
    one went (longer while slots keep the counter busy). After reset a sweep clears the counts, one block a clock.

    Members
    -------
    slot_covers, op_covers : In
        Sectors, from `SnoopFilter`. Those of operations only ever go down.
    slot_holds : In
        Reads for which a block is kept, of the slot that commits, from `KeptBlocks`. Beside `slot_covers` of the same
        clock it is about the same block, and only one of the two goes up.
    look : In
        A block, in a clock with `enable`.
    covered : Out(1)
        One clock later, and until the next look: whether it is covered, by the events of the clock of the look too.
    uncovered : Out
        A block of this head is covered no longer: in this clock and from now on it is not found covered.
    sectors : Out
        Sectors in use, without the reads; right once `settled`.
    settled : Out(1)
        All events of earlier clocks are counted.
    room : Out(1)
        The events of all operations on their way, and of one more, fit. Those of slots always do.
    ready : Out(1)
        The counts are cleared, `blocks` clocks after reset. No event may come before.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "slot_covers": In(layouts.covered_event(config)),
                "op_covers": In(layouts.covered_event(config)),
                "slot_holds": In(layouts.covered_event(config)),
                "look": In(layouts.covered_look(config)),
                "covered": Out(1),
                "uncovered": Out(layouts.uncovered_head(config)),
                "sectors": Out(range(config.filter_sectors + 1)),
                "settled": Out(1),
                "room": Out(1),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        event = layouts.covered_event(config)
        # A sector that went by an operation and came back counts twice as long as the first event waits.
        count_shape = range(SECTORS_PER_BLOCK + config.read_slots + _DEPTH + 1)

        m.submodules.memory = memory = Memory(shape=count_shape, depth=config.blocks, init=[])
        write = memory.write_port()
        read = memory.read_port(transparent_for=(write,))
        look = memory.read_port(transparent_for=(write,))
        m.submodules.waiting = waiting = fifo.SyncFIFO(width=config.index_bits, depth=_DEPTH)

        clear_index = Signal(range(config.blocks))
        with m.If(~self.ready):
            m.d.sync += [clear_index.eq(clear_index + 1), self.ready.eq(clear_index == config.blocks - 1)]

        # Clock 1: an event, of a slot or one that waits. Clock 2: its count is read. Clock 3: the new one is written.
        sector, by_slot, of_slot, of_op, counted, read_event, last = (
            Signal(event, name=name)
            for name in ("sector", "by_slot", "of_slot", "of_op", "counted", "read_event", "last")
        )
        old, new = Signal(count_shape), Signal(count_shape)
        m.d.comb += [
            # A read that waited no longer and takes a sector leaves the count as it is.
            by_slot.valid.eq(self.slot_covers.valid ^ self.slot_holds.valid),
            by_slot.index.eq(Mux(self.slot_covers.valid, self.slot_covers.index, self.slot_holds.index)),
            by_slot.up.eq(Mux(self.slot_covers.valid, self.slot_covers.up, self.slot_holds.up)),
        ]
        m.d.sync += [
            of_slot.eq(by_slot),
            of_op.eq(self.op_covers),
            read_event.eq(counted),
            last.eq(read_event),
            old.eq(Mux(last.valid & (last.index == read_event.index), new, read.data)),
        ]
        m.d.comb += [
            waiting.w_en.eq(of_op.valid),
            waiting.w_data.eq(of_op.index),
            waiting.r_en.eq(~of_slot.valid),
            self.room.eq(waiting.level <= _DEPTH - _ON_THE_WAY),
            counted.eq(of_slot),
            read.addr.eq(counted.index),
            new.eq(Mux(last.up, old + 1, old - 1)),
            write.en.eq(last.valid | ~self.ready),
            write.addr.eq(Mux(self.ready, last.index, clear_index)),
            write.data.eq(Mux(self.ready, new, 0)),
            self.settled.eq(
                ~(sector.valid | of_slot.valid | of_op.valid | waiting.r_rdy | read_event.valid | last.valid)
            ),
        ]
        m.d.sync += [
            sector.eq(self.slot_covers),
            self.sectors.eq(self.sectors + (sector.valid & sector.up) - (sector.valid & ~sector.up) - of_op.valid),
        ]
        with m.If(~of_slot.valid):
            m.d.comb += [counted.valid.eq(waiting.r_rdy), counted.index.eq(waiting.r_data), counted.up.eq(0)]

        # Blocks that events not yet written bring into use
        rising = (by_slot, of_slot, read_event)

        def is_rising(index):
            return Cat(each.valid & each.up & (each.index == index) for each in rising).any()

        found_rising = Signal()
        m.d.comb += [
            look.addr.eq(self.look.index),
            look.en.eq(self.look.enable),
            self.covered.eq(found_rising | (look.data != 0)),
        ]
        with m.If(self.look.enable):
            m.d.sync += found_rising.eq(is_rising(self.look.index))
        m.d.sync += [
            self.uncovered.valid.eq(last.valid & (new == 0) & ~is_rising(last.index)),
            self.uncovered.head.eq(last.index >> config.block_bits),
        ]
        return m
