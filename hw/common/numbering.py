"""How blocks, lines and sidecar rows are numbered: the parts of a number, and a number from its parts."""

from amaranth.hdl import Cat, Const, Mux

from kv_endpoint.hw.common import layouts

__all__ = ["place", "row_number", "split_index"]


def split_index(config, index):
    """(head, block) of a metadata index."""
    return index[config.block_bits :], index[: config.block_bits]


def place(config):
    """A line: frame and number within it. Frames of different modes are different memory."""
    return layouts.layout((("line", config.line_bits), ("frame", config.frame_bits), ("mode", 1)))


def row_number(place):
    """Number of the sidecar row that describes a line (`Config.sidecar_row`), of members `mode`, `frame`, `line`."""
    return Mux(place.mode, Cat(place.line[-1], place.frame, Const(1, 1)), place.frame)
