"""Which sets of regions the register block accepts."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import SECTOR_LINES

__all__ = ["RegionRules"]

#: widths of REGION.HEADS and REGION.FIRST_HEAD, whatever the configuration, of their sum, and of CTRL.HOSTS
_COUNT_BITS, _FIRST_BITS, _END_BITS, _HOSTS_BITS = 13, 12, 14, 2
#: of a line address, those that tell the lines of a sector of the snoop filter
_LINE_BITS = (SECTOR_LINES - 1).bit_length()


class RegionRules(wiring.Component):
    """Says whether enabled regions stay put, within the endpoint's heads, and share none
    (`golden.registers.rules.legal`); and whether all regions belong to hosts that exist, and cached ones begin with a
    sector of the snoop filter.

    Latency 2 clocks, one question a clock.

    Members
    -------
    regions : In(array of {count 13, first 12, enabled 1, hosts 2, cached 1, line 2, moved 1})
        Heads, first head, enable bit, hosts, and whether it is cached, of each region, as a write would leave them;
        `line`: where in a sector it begins; `moved`: the write is to one of its registers other than CTRL.
    legal : Out(1)
    """

    def __init__(self, *, config):
        self._config = config
        region = data.StructLayout(
            {
                "count": _COUNT_BITS,
                "first": _FIRST_BITS,
                "enabled": 1,
                "hosts": _HOSTS_BITS,
                "cached": 1,
                "line": _LINE_BITS,
                "moved": 1,
            }
        )
        super().__init__({"regions": In(data.ArrayLayout(region, config.regions)), "legal": Out(1)})

    def elaborate(self, platform):
        m = Module()
        heads = self._config.heads

        stage = data.StructLayout({"first": _FIRST_BITS, "end": _END_BITS, "enabled": 1, "plausible": 1})
        spans = [Signal(stage, name=f"span_{number}") for number in range(self._config.regions)]
        for span, region in zip(spans, self.regions, strict=True):
            in_range = (region.count <= heads) & (region.first < heads)
            has_hosts = region.hosts.matches(*range(1, 1 << self._config.hosts))
            may_be_on = (region.count != 0) & ~region.moved & (~region.cached | (region.line == 0))
            m.d.sync += [
                span.first.eq(region.first),
                span.end.eq(region.first + region.count),
                span.enabled.eq(region.enabled),
                span.plausible.eq(in_range & has_hosts & (may_be_on | ~region.enabled)),
            ]

        inside = [span.plausible & (~span.enabled | (span.end <= heads)) for span in spans]
        overlaps = [
            span.enabled & other.enabled & (span.first < other.end) & (other.first < span.end)
            for number, span in enumerate(spans)
            for other in spans[:number]
        ]
        m.d.sync += self.legal.eq(Cat(inside).all() & ~Cat(overlaps).any())
        return m
