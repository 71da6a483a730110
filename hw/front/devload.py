"""DevLoad: the load that every response reports (`golden/front/devload.py`)."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.messages import DevLoad
from kv_endpoint.hw.common import layouts

__all__ = ["LoadMeter"]


class LoadMeter(wiring.Component):
    """Compares the slots in use with thresholds; two clocks.

    Members
    -------
    read_slots, write_slots : In
        Slots in use.
    thresholds : In(layouts.dev_load_thresholds)
    load : Out(2)
        `golden.common.messages.DevLoad`.
    """

    def __init__(self, *, config):
        super().__init__(
            {
                "read_slots": In(range(config.read_slots + 1)),
                "write_slots": In(range(config.write_slots + 1)),
                "thresholds": In(layouts.dev_load_thresholds()),
                "load": Out(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        depth = Signal.like(self.read_slots + self.write_slots)
        m.d.sync += depth.eq(self.read_slots + self.write_slots)
        m.d.sync += self.load.eq(DevLoad.LIGHT)
        for level in (DevLoad.OPTIMAL, DevLoad.MODERATE, DevLoad.SEVERE):
            with m.If(depth >= self.thresholds[level.name.lower()]):
                m.d.sync += self.load.eq(level)
        return m
