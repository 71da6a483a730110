"""Stream rules on AXI channels: those that a block drives, under any neighbour."""

from amaranth.hdl import Cat, Elaboratable, Module
from amaranth.lib.wiring import In

from tests.formal.free import drive, streams_of
from tests.formal.stream_rules import StreamRules, watch

__all__ = ["AxiBench"]


class AxiBench(Elaboratable):
    """Valid is not withdrawn, and nothing of a channel changes until it is taken.

    Parameters
    ----------
    make : callable
        Makes the block.
    port : str
        Its AXI4 or AXI4-Lite port.
    channels : tuple
        Those that it drives ("aw", "w", "ar", or "b", "r").
    """

    def __init__(self, make, port, channels):
        self._make, self._port, self._channels = make, port, channels

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self._make()
        drive(m, dut)
        for path, flow, each in streams_of(dut):
            if flow == In:
                watch(m, f"rules_{path}", each, assume=True)
        port = getattr(dut, self._port)
        for channel in self._channels:
            names = [name for name in port.signature.members if name.startswith(channel)]
            payload = Cat(getattr(port, name) for name in names if name[len(channel) :] not in ("valid", "ready"))
            m.submodules[channel] = rules = StreamRules(len(payload), assume=False)
            m.d.comb += [
                rules.valid.eq(getattr(port, f"{channel}valid")),
                rules.ready.eq(getattr(port, f"{channel}ready")),
                rules.payload.eq(payload),
            ]
        return m
