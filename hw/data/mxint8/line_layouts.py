"""Lines of mode mxint8 as memory knows them: halves of DDR5 lines, each with a scale that lies elsewhere."""

from amaranth.hdl import Cat

from kv_endpoint.golden.common.config import LINE_BYTES
from kv_endpoint.golden.data.mxint8 import VALUES
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.numbering import place

__all__ = [
    "ELEMENTS_BITS", "SCALE_BITS", "confirmed_write", "ddr5_line", "half_read", "half_returned", "half_write",
    "half_written", "line_answer", "line_to_read", "line_to_write", "named_place", "number_bits", "write_note",
]  # fmt: skip

ELEMENTS_BITS = 8 * VALUES
SCALE_BITS = 8


def ddr5_line(place_):
    """What the two halves of one DDR5 line have in common."""
    return Cat(place_.line[1:], place_.frame)


def number_bits(config):
    """Width of a reader's number: a read slot, or the first number above all slots (`Mxint8Lines`)."""
    return layouts.id_bits(config) + 1


def named_place(config):
    """A line, in a clock with `valid`."""
    return layouts.layout((("valid", 1), ("place", place(config))))


def line_to_read(config):
    """A DDR5 line to read under `number`: the one that has the line at `place`."""
    return layouts.layout((("number", number_bits(config)), ("place", place(config))))


def half_read(config):
    """A line to read, with its scale."""
    return layouts.layout((*line_to_read(config).members.items(), ("scale", SCALE_BITS)))


def line_answer(config):
    """The DDR5 line that was read under `number`."""
    return layouts.layout((("number", number_bits(config)), ("failed", 1), ("data", layouts.LINE_BITS)))


def half_returned(config):
    """What was read for `number`; `joined`: the access was another's."""
    return layouts.layout((
        ("number", number_bits(config)), ("failed", 1), ("joined", 1), ("scale", SCALE_BITS),
        ("elements", ELEMENTS_BITS),
    ))  # fmt: skip


def write_note():
    """What the end of a write has to tell: its line's scale, and whether reading what it is part of failed."""
    return layouts.layout((("scale", SCALE_BITS), ("read_failed", 1)))


def half_write(config):
    """A line to write for write slot `id`."""
    return layouts.layout((
        ("id", layouts.id_bits(config)), ("place", place(config)), ("note", write_note()), ("elements", ELEMENTS_BITS),
    ))  # fmt: skip


def line_to_write(config):
    """A DDR5 line to write, under the number of a write slot that has part in it; `strb` enables bytes."""
    return layouts.layout((
        ("id", layouts.id_bits(config)), ("place", place(config)), ("data", layouts.LINE_BITS), ("strb", LINE_BYTES),
    ))  # fmt: skip


def confirmed_write(config):
    """Memory has done, or failed to do, write `id`."""
    return layouts.layout((("id", layouts.id_bits(config)), ("failed", 1)))


def half_written(config):
    """The end of write `id`; `joined`: its access was another's."""
    return layouts.layout((*confirmed_write(config).members.items(), ("joined", 1), *write_note().members.items()))
