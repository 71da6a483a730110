"""Grants in flight beside the naive table: a sector is pending exactly while a granted Req of it has not left."""

from amaranth.hdl import Array, Assert, Assume, Cat, Elaboratable, Module, Signal

from kv_endpoint.golden.common.config import preset
from kv_endpoint.hw.coherency.grants_in_flight import GrantsInFlight, sector_of
from tests.formal.free import drive

__all__ = ["GrantsBench"]


class GrantsBench(Elaboratable):
    """What the environment promises: a read slot commits again only after it has left, and leaves 2 clocks after its
    commit at the earliest.
    """

    def elaborate(self, platform):
        m = Module()
        config = preset(
            "tiny", heads=1, blocks_per_head=2, filter_sets=2, filter_ways=2, snoops=2, read_slots=4, pin_cap=0,
            demotion_slots=1,
        )  # fmt: skip
        m.submodules.dut = dut = GrantsInFlight(config=config)
        drive(m, dut)
        slot, leave = dut.commit.slot, dut.leave
        used = Signal(config.read_slots)
        sectors = Array(Signal(config.sector_bits, name=f"sector{number}") for number in range(config.read_slots))
        granted, before, before_id = Signal(), Signal(), Signal.like(slot.id)
        sector = sector_of(slot)
        m.d.comb += [
            granted.eq(dut.commit.valid & dut.grants & ~slot.rwd),
            Assume((slot.id < config.read_slots) & (leave.id < config.read_slots)),
            Assume(~granted | ~used.bit_select(slot.id[:2], 1)),
            Assume(~leave.valid | ~granted | (leave.id != slot.id)),
            Assume(~leave.valid | ~before | (leave.id != before_id)),
            Assert(
                dut.pending
                == (
                    Cat(used[number] & (sectors[number] == dut.pending_sector) for number in range(len(used))).any()
                    | (granted & (sector == dut.pending_sector))
                )
            ),
        ]
        m.d.sync += [
            before.eq(granted),
            before_id.eq(slot.id),
            used.eq((used | (granted << slot.id)) & ~(leave.valid << leave.id)),
        ]
        with m.If(granted):
            m.d.sync += sectors[slot.id].eq(sector)
        return m
