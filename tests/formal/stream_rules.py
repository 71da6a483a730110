"""The rules of a stream, once: assumed of what a bench offers, asserted of what a block offers."""

from amaranth.hdl import Assert, Assume, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

__all__ = ["StreamRules"]


class StreamRules(wiring.Component):
    """Watches a stream: valid is not withdrawn, and the payload does not change, until it is taken.

    That valid does not wait for ready is another question (`tests.formal.free.ReadyIsLate`).

    Members
    -------
    watched : In(stream of `payload`)
        Both directions as inputs.
    """

    def __init__(self, payload, *, assume):
        self._assume = assume
        super().__init__({"valid": In(1), "ready": In(1), "payload": In(payload)})

    def elaborate(self, platform):
        m = Module()
        rule = Assume if self._assume else Assert
        value = self.payload.as_value() if hasattr(self.payload, "as_value") else self.payload
        waited, offered = Signal(), Signal.like(value)
        m.d.sync += [waited.eq(self.valid & ~self.ready), offered.eq(value)]
        with m.If(waited):
            m.d.comb += [rule(self.valid), rule(value == offered)]
        return m


def watch(m, name, port, *, assume):
    """Watch the stream `port` as submodule `name`: `assume` the rules of it, or assert them."""
    m.submodules[name] = rules = StreamRules(port.payload.shape(), assume=assume)
    m.d.comb += [rules.valid.eq(port.valid), rules.ready.eq(port.ready), rules.payload.eq(port.payload)]
    return rules
