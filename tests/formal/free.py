"""A block whose inputs are free, its streams under the rules: assumed where they come in, asserted where they leave."""

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Elaboratable, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from tests.formal.stream_rules import watch

__all__ = ["FreeBlock", "drive", "streams_of"]


def streams_of(component):
    """((path, flow, interface), ...) of the streams among a component's members, arrays and nested signatures included.

    `flow` is In where the block takes transfers.
    """

    def walk(path, flow, member, interface):
        signature = member.signature if member.is_signature else None
        if member.dimensions:
            for number in range(member.dimensions[0]):
                inner = wiring.Member(member.flow, member._description)
                yield from walk(f"{path}_{number}", flow, inner, interface[number])
        elif isinstance(signature, stream.Signature):
            yield path, flow, interface
        elif signature is not None:
            for name, each in signature.members.items():
                inner = flow if each.flow == wiring.Out else (wiring.Out if flow == In else In)
                yield from walk(f"{path}_{name}", inner, each, getattr(interface, name))

    for name, member in component.signature.members.items():
        yield from walk(name, member.flow, member, getattr(component, name))


def drive(m, component, *, held=()):
    """Give every input of `component` any value in every clock, but those whose path is in `held`."""
    for path, member, value in component.signature.flatten(component):
        if member.flow == In and "_".join(map(str, path)) not in held:
            m.d.comb += Value.cast(value).eq(AnySeq(Value.cast(value).shape().width))


class FreeBlock(Elaboratable):
    """Stream rules of one block, whatever its neighbours do.

    Parameters
    ----------
    make : callable
        Makes the block.
    only : tuple
        The outputs that are watched; all, if there is none.
    """

    def __init__(self, make, *, only=()):
        self._make, self._only = make, only

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self._make()
        drive(m, dut)
        for path, flow, port in streams_of(dut):
            if flow == In or not self._only or path in self._only:
                watch(m, f"rules_{path}", port, assume=flow == In)
        return m


class ReadyIsLate(Elaboratable):
    """No valid of a block depends on a ready of its outputs in the same clock: two copies, told apart by readies alone.

    Both copies have the same past; in the clock in which their readies first differ, all their valids must agree.
    """

    def __init__(self, make):
        self._make = make

    def elaborate(self, platform):
        m = Module()
        m.submodules.one = one = self._make()
        m.submodules.other = other = self._make()
        parted, now = Signal(), Signal()
        outputs = [(path, port) for path, flow, port in streams_of(one) if flow != In]
        readies = {f"{path}_ready" for path, _ in outputs}
        for (path, member, value), (_, _, twin) in zip(
            one.signature.flatten(one), other.signature.flatten(other), strict=True
        ):
            if member.flow != In:
                continue
            value, twin, name = Value.cast(value), Value.cast(twin), "_".join(map(str, path))
            m.d.comb += [value.eq(AnySeq(value.shape().width)), twin.eq(value)]
            if name in readies:
                m.d.comb += twin.eq(AnySeq(1))
                with m.If(value != twin):
                    m.d.comb += now.eq(1)
        m.d.sync += parted.eq(parted | now)
        others = {path: port for path, _, port in streams_of(other)}
        with m.If(~parted):
            for path, port in outputs:
                m.d.comb += Assert(port.valid == others[path].valid)
        return m
