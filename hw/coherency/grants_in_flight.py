"""Requests that were granted and whose NDR has still to come, by sector: what a snoop waits for before it leaves."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.front.request_slots import numbered
from kv_endpoint.hw.lib.one_hot import bit_of

__all__ = ["GrantsInFlight", "sector_of"]

_LINE_OF_SECTOR_BITS = (SECTOR_LINES - 1).bit_length()


def sector_of(place):
    """Number of the sector in which `place`, of members `head`, `block`, `line`, lies (`Config.sector_bits`)."""
    return Cat(place.line[_LINE_OF_SECTOR_BITS:], place.block, place.head)


class GrantsInFlight(wiring.Component):
    """Keeps the sector of every granted Req, by read slot, from its commit until its NDR is queued.

    The question has no latency, and a grant counts from the clock of its commit on; one leaves a clock.

    Members
    -------
    commit : In(commit), grants : In(1)
        `grants`: the Req that commits is granted by the filter, and not held. What comes as RwD is left out.
    leave : In({valid, id})
        The NDR of read slot `id` is queued; it says so of every read slot, granted by the filter or not.
    pending_sector : In, pending : Out(1)
        A granted Req of this sector has its NDR still to come.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "grants": In(1),
                "leave": In(numbered(config, "valid")),
                "pending_sector": In(config.sector_bits),
                "pending": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        slot = self.commit.slot

        # The commit comes late in its clock; it is compared at once, and enters the table a clock later.
        granted, entering = Signal(), Signal()
        entering_id, entering_sector = Signal.like(slot.id), Signal(config.sector_bits)
        m.d.comb += granted.eq(self.commit.valid & self.grants & ~slot.rwd)
        m.d.sync += [entering.eq(granted), entering_id.eq(slot.id), entering_sector.eq(sector_of(slot))]

        used, enters, leaves, matches = (Signal(config.read_slots) for _ in range(4))
        sectors = [Signal(config.sector_bits, name=f"sector{number}") for number in range(config.read_slots)]
        m.d.comb += [
            enters.eq(bit_of(entering, entering_id)),
            leaves.eq(bit_of(self.leave.valid, self.leave.id)),
            matches.eq(Cat(sector == self.pending_sector for sector in sectors)),
            self.pending.eq(
                (used & matches).any()
                | (entering & (entering_sector == self.pending_sector))
                | (granted & (sector_of(slot) == self.pending_sector))
            ),
        ]
        m.d.sync += used.eq((used | enters) & ~leaves)
        for number, sector in enumerate(sectors):
            with m.If(enters[number]):
                m.d.sync += sector.eq(entering_sector)
        return m
