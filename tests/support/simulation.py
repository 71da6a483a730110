"""Running a block in Amaranth's simulator: what every block test needs and no more."""

import enum

from amaranth.hdl import Shape
from amaranth.lib import data
from amaranth.sim import Simulator

__all__ = ["simulate", "fields_of", "set_payload"]

#: number of a struct layout -> the layout, kept so that the number stays its own, and where its fields lie
_known = {}


def simulate(dut, *testbenches, background=()):
    """Run coroutines `testbench(ctx)` side by side on `dut`, with one clock, until all have returned.

    Those in `background` go on for as long.
    """
    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    for testbench in background:
        simulator.add_testbench(testbench, background=True)
    simulator.run()


def _fields(layout):
    """Name -> (offset, mask, number of the sign, enumeration or None) of the fields of a flat struct.

    Amaranth would work that out anew for each field of each value, which takes most of the time of many a bench.
    """
    if id(layout) not in _known:
        fields = {}
        for name, field in data.Layout.cast(layout):
            shape = Shape.cast(field.shape)
            codes = field.shape if isinstance(field.shape, enum.EnumMeta) else None
            fields[name] = field.offset, (1 << shape.width) - 1, shape.signed and 1 << shape.width - 1, codes
        _known[id(layout)] = layout, fields
    return _known[id(layout)][1]


def fields_of(payload):
    """A flat struct value as a dict of integers."""
    bits, values = payload.as_bits(), {}
    for name, (offset, mask, sign, codes) in _fields(payload.shape()).items():
        value = bits >> offset & mask
        if codes is not None:
            value = int(codes(value))
        elif value & sign:
            value -= sign << 1
        values[name] = value
    return values


def set_payload(ctx, payload, values):
    """Set the named fields of a struct signal."""
    if not isinstance(payload, data.View):
        for name, value in values.items():
            ctx.set(getattr(payload, name), int(value))
        return
    # All at once: the simulator lets the block follow each change.
    bits, fields = ctx.get(payload.as_value()), _fields(payload.shape())
    for name, value in values.items():
        offset, mask, _, _ = fields[name]
        bits = bits & ~(mask << offset) | (int(value) & mask) << offset
    ctx.set(payload.as_value(), bits)
