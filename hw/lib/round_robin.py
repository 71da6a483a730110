"""Taking turns."""

from amaranth.hdl import Cat, Signal

__all__ = ["next_in_turn"]


def next_in_turn(m, name, candidates, last):
    """The first candidate behind `last`, in a circle; something else if there is none.

    `candidates` has a bit for each of a power of two of numbers. Returns a signal; no latency. The candidates are
    turned so that the first has its bit lowest: one shifter and one priority encoder, however many there are.
    """
    count = len(candidates)
    turned = Signal(count, name=f"{name}_turned")
    distance = Signal(range(count), name=f"{name}_distance")
    chosen = Signal(range(count), name=name)
    m.d.comb += turned.eq(Cat(candidates, candidates) >> (last + 1))
    for bit in reversed(range(count)):
        with m.If(turned[bit]):
            m.d.comb += distance.eq(bit)
    m.d.comb += chosen.eq(last + 1 + distance)
    return chosen
