"""Coverage with free events, and the number of sectors of any one block that are in use."""

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Elaboratable, Module, Signal

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK
from kv_endpoint.hw.coherency.covered_blocks import CoveredBlocks
from kv_endpoint.hw.pipeline.metadata import FILTER_CLOCKS
from tests.formal.free import drive

__all__ = ["CoveredBlocksBench"]


class CoveredBlocksBench(Elaboratable):
    """Follows any one block; the others of its head have no events, those of other heads any.

    What the environment promises: a sector goes out of use only if it is in use, a read comes again only if it is held,
    of both in one clock only one goes up; and an operation of the filter begins only while there is `room`.

    Asserted: a block with a sector in use, or a read held, is found covered, one without is not once all is counted;
    `uncovered` tells of every time that the last went; `sectors` is the sum of sectors alone (P12).
    """

    def __init__(self, *, covers=False):
        self._covers = covers

    def elaborate(self, platform):
        m = Module()
        config = preset(
            "tiny", heads=2, blocks_per_head=2, filter_sets=2, filter_ways=2, snoops=2, pin_cap=0, demotion_slots=1,
        )  # fmt: skip
        m.submodules.dut = dut = CoveredBlocks(config=config)
        drive(m, dut)
        block = AnyConst(config.index_bits)
        slot, op, holds = dut.slot_covers, dut.op_covers, dut.slot_holds
        room = dut.room
        for clock in range(FILTER_CLOCKS):
            earlier = Signal(name=f"room{clock}")
            m.d.sync += earlier.eq(room)
            room = earlier
        slot_mine, op_mine, holds_mine = (event.valid & (event.index == block) for event in (slot, op, holds))
        waiting, new_waiting = Signal(range(config.read_slots + 1)), Signal(8)
        count, total = Signal(range(SECTORS_PER_BLOCK + 1)), Signal(range(config.filter_sectors + 1))
        new_count, new_total = Signal(8), Signal(16)
        m.d.comb += [
            Assume(~op.valid | (room & ~op.up)),
            Assume(dut.ready | ~(slot.valid | op.valid | holds.valid)),
            Assume(~(slot.valid & holds.valid) | ((slot.index == holds.index) & (slot.up != holds.up))),
            new_waiting.eq(waiting + (holds_mine & holds.up) - (holds_mine & ~holds.up)),
            Assume(new_waiting <= config.read_slots),
            new_count.eq(count + (slot_mine & slot.up) - (slot_mine & ~slot.up) - op_mine),
            new_total.eq(total + (slot.valid & slot.up) - (slot.valid & ~slot.up) - op.valid),
            Assume(new_count <= SECTORS_PER_BLOCK),
            Assume(new_total <= config.filter_sectors),
            # What goes was there before.
            Assume(count >= (slot_mine & ~slot.up) + op_mine),
            Assume((waiting != 0) | ~holds_mine | holds.up),
            *(
                Assume(
                    ~event.valid
                    | (event.index == block)
                    | (event.index[config.block_bits :] != block[config.block_bits :])
                )
                for event in (slot, op, holds)
            ),
        ]
        m.d.sync += [count.eq(new_count), total.eq(new_total), waiting.eq(new_waiting)]
        m.d.comb += Assert(~dut.settled | (dut.sectors == total))

        covering, looked, quiet = Signal(), Signal(), Signal()
        m.d.comb += covering.eq((count != 0) | (waiting != 0))
        with m.If(dut.look.enable):
            m.d.sync += [
                looked.eq(dut.ready & (dut.look.index == block)),
                quiet.eq(dut.settled & ~slot.valid & ~op.valid & ~holds.valid),
            ]
        with m.Else():
            m.d.sync += looked.eq(0)
        with m.If(looked):
            m.d.comb += [Assert(~covering | dut.covered), Assert(~quiet | (covering == dut.covered))]

        owed, told = Signal(), Signal()
        m.d.comb += told.eq(dut.uncovered.valid & (dut.uncovered.head == block[config.block_bits :]))
        m.d.sync += owed.eq(covering | (owed & ~told))
        # A clock from the count to the word.
        was_settled = Signal()
        m.d.sync += was_settled.eq(dut.settled)
        m.d.comb += [
            Assert(~(owed & was_settled & dut.settled & ~covering) | told),
            Assert(~told | ~covering),
        ]
        if self._covers:
            m.d.comb += Cover(owed & told)
        return m
