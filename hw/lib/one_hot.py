"""A bit that marks a number."""

from amaranth.hdl import Mux

__all__ = ["bit_of"]


def bit_of(strobe, number):
    """The bits of which number `number` is set while `strobe` is, and all others are 0.

    Not `strobe << number`: where there is nothing to mark the number may be unknown, of a queue that never held
    anything, and a simulator of four states shifts even 0 to all unknown by an unknown number.
    """
    return Mux(strobe, 1 << number, 0)
