"""Coverage with free events, and the number of sectors of any one block that are in use."""

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Elaboratable, Module, Mux, Signal

from golden.coherency import SECTORS_PER_BLOCK
from golden.config import preset
from hw.coverage import Coverage
from hw.metadata import FILTER_CLOCKS
from tests.formal.free import drive

__all__ = ["CoverageBench"]


class CoverageBench(Elaboratable):
    """Follows any one block; the others of its head have no events, those of other heads any.

    What the environment promises: a sector goes out of use only if it is in use, and an operation of the filter begins
    only while there is `room`.

    Asserted: a block with a sector in use is found covered, one without is not once all is counted; `uncovered` tells
    of every time that the last went; `sectors` is the sum (P12).
    """

    def __init__(self, *, covers=False):
        self._covers = covers

    def elaborate(self, platform):
        m = Module()
        config = preset(
            "tiny", heads=2, blocks_per_head=2, filter_sets=2, filter_ways=2, snoops=2, pin_cap=0, demotion_slots=1,
        )  # fmt: skip
        m.submodules.dut = dut = Coverage(config=config)
        drive(m, dut)
        block = AnyConst(config.index_bits)
        slot, op = dut.slot_covers, dut.op_covers
        room = dut.room
        for clock in range(FILTER_CLOCKS):
            earlier = Signal(name=f"room{clock}")
            m.d.sync += earlier.eq(room)
            room = earlier
        slot_mine, op_mine = (event.valid & (event.index == block) for event in (slot, op))
        count, total = Signal(range(SECTORS_PER_BLOCK + 1)), Signal(range(config.filter_sectors + 1))
        new_count, new_total = Signal(8), Signal(16)
        m.d.comb += [
            Assume(~op.valid | (room & ~op.up)),
            Assume(dut.ready | ~(slot.valid | op.valid)),
            new_count.eq(count + (slot_mine & slot.up) - (slot_mine & ~slot.up) - op_mine),
            new_total.eq(total + (slot.valid & slot.up) - (slot.valid & ~slot.up) - op.valid),
            Assume(new_count <= SECTORS_PER_BLOCK),
            Assume(new_total <= config.filter_sectors),
            # What goes was there before.
            Assume(count >= (slot_mine & ~slot.up) + op_mine),
            *(
                Assume(
                    ~event.valid
                    | (event.index == block)
                    | (event.index[config.block_bits :] != block[config.block_bits :])
                )
                for event in (slot, op)
            ),
        ]
        m.d.sync += [count.eq(new_count), total.eq(new_total)]
        m.d.comb += Assert(~dut.settled | (dut.sectors == total))

        looked, quiet = Signal(), Signal()
        with m.If(dut.look.enable):
            m.d.sync += [
                looked.eq(dut.ready & (dut.look.index == block)),
                quiet.eq(dut.settled & ~slot.valid & ~op.valid),
            ]
        with m.Else():
            m.d.sync += looked.eq(0)
        with m.If(looked):
            m.d.comb += [Assert((count == 0) | dut.covered), Assert(~quiet | ((count != 0) == dut.covered))]

        owed, told = Signal(), Signal()
        m.d.comb += told.eq(dut.uncovered.valid & (dut.uncovered.head == block[config.block_bits :]))
        m.d.sync += owed.eq(Mux(count == 0, (owed & ~told), 1))
        # A clock from the count to the word.
        was_settled = Signal()
        m.d.sync += was_settled.eq(dut.settled)
        m.d.comb += [
            Assert(~(owed & was_settled & dut.settled & (count == 0)) | told),
            Assert(~told | (count == 0) | ~was_settled),
        ]
        if self._covers:
            m.d.comb += Cover(owed & told)
        return m
