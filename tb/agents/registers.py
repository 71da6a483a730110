"""The registers, by name, over the endpoint's AXI4-Lite port."""

from kv_endpoint.golden.registers.rules import address, pack, unpack
from kv_endpoint.tb.lib.bus import AxiLiteMaster, AXIProtocolError

__all__ = ["Csr", "Refused"]


class Refused(Exception):
    """The endpoint answered a register access with an error: an illegal value, a refused command, no such register."""


class Csr:
    """Reads and writes registers called by the names of `golden.registers.rules`. Raises `Refused` when the answer is
    not OKAY.
    """

    def __init__(self, dut, clock):
        self._master = AxiLiteMaster(dut, "csr", clock)

    def close(self, channel, closed):
        """Take no answers on `b` or `r` from the next clock on, or take them again."""
        ready = {"b": self._master.bus.BREADY, "r": self._master.bus.RREADY}[channel]
        ready.value = int(not closed)

    def offer(self, channel, offered):
        """Offer an address on `aw`, or a word on `w`, without the other, until it is taken back: for a reset."""
        valid = {"aw": self._master.bus.AWVALID, "w": self._master.bus.WVALID}[channel]
        valid.value = int(offered)

    async def write_late(self, name, value, *, address_clocks=0, data_clocks=0):
        """Write a register's word; its address or its data is offered so many clocks late."""
        await self._master.write(address(name), value, address_latency=address_clocks, data_latency=data_clocks)

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
