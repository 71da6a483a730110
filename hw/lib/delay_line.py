"""Values as they were some clocks ago."""

from amaranth.hdl import Signal

__all__ = ["registered", "delayed"]


def registered(m, value, name):
    """`value` as it was a clock ago."""
    register = Signal.like(value, name=name)
    m.d.sync += register.eq(value)
    return register


def delayed(m, value, clocks, name):
    """`value` as it was `clocks` clocks ago."""
    for clock in range(1, clocks + 1):
        value = registered(m, value, f"{name}_{clock}")
    return value
