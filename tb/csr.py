"""The registers, by name, over the endpoint's AXI4-Lite port."""

from golden.csr import address, control, pack, unpack
from tb.bus import AxiLiteMaster, AXIProtocolError

__all__ = ["Csr", "Refused", "region_writes", "regions_writes"]


class Refused(Exception):
    """The endpoint answered a register access with an error: an illegal value, a refused command, no such register."""


def region_writes(number, region):
    """((register, value), ...) that make region `number` a golden `Region`: off, moved, on again if enabled."""
    prefix = f"REGION[{number}]"
    return (
        (f"{prefix}.CTRL", control(region, enabled=False)),
        (f"{prefix}.BASE_LO", region.base & 0xFFFFFFFF),
        (f"{prefix}.BASE_HI", region.base >> 32),
        (f"{prefix}.FIRST_HEAD", region.first_head),
        (f"{prefix}.HEADS", region.heads),
        (f"{prefix}.CTRL", control(region)),
    )


def regions_writes(regions):
    """[(register, value), ...] that make the endpoint's regions these; those that are to be off go first."""
    writes = [
        (f"REGION[{number}].CTRL", control(region)) for number, region in enumerate(regions) if not region.enabled
    ]
    for number, region in enumerate(regions):
        writes += region_writes(number, region)
    return writes


class Csr:
    """Reads and writes registers called by the names of `golden.csr`. Raises `Refused` when the answer is not OKAY."""

    def __init__(self, dut, clock):
        self._master = AxiLiteMaster(dut, "csr", clock)

    async def write(self, name, value=None, **fields):
        """Write a register's word, or the word with `fields` set."""
        word = pack(name, **fields) if value is None else value
        try:
            await self._master.write(address(name), word)
        except AXIProtocolError:
            raise Refused(f"write of {word:#x} to {name}") from None

    async def read(self, name):
        """A register's word."""
        try:
            return int(await self._master.read(address(name)))
        except AXIProtocolError:
            raise Refused(f"read of {name}") from None

    async def read_fields(self, name):
        """A register's fields as a dict."""
        return unpack(name, await self.read(name))

    async def command(self, kind, *, head, block=0, minimum=0, maximum=0):
        """Have the allocator PIN or UNPIN a block, or set the QUOTA of a head. Raises `Refused`."""
        await self.write("HEAD_SELECT", head)
        await self.write("HEAD_BLOCK", block)
        await self.write("QUOTA_MIN", minimum)
        await self.write("QUOTA_MAX", maximum)
        await self.write("COMMAND", **{kind: 1})
