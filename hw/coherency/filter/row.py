"""The row of one set of the snoop filter: what it holds, and the parts of what may be done with it."""

from functools import reduce
from operator import or_, xor

from amaranth.hdl import Cat, Mux, Value
from amaranth.lib import data

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK, LineState
from kv_endpoint.hw.common import layouts

__all__ = [
    "block_of", "chosen", "covering", "first", "first_holder", "is_owned", "lines_that", "row_layout", "sector_in",
    "select", "set_number", "tag_bits",
]  # fmt: skip


def set_number(config, sector):
    """Number of the set of a sector (`golden.coherency.filter.set_of`): its chunks, XORed."""
    bits = config.filter_set_bits
    return reduce(xor, (sector[start : start + bits] for start in range(0, len(sector), bits)))


def tag_bits(config):
    """Width of what a way keeps of its sector's number: what lies above the lowest chunk, which the set tells then."""
    return max(1, config.sector_bits - config.filter_set_bits)


def sector_in(config, number, tag):
    """The sector with `tag` in set `number`."""
    tag = tag[: config.sector_bits - config.filter_set_bits]
    return Cat(number ^ set_number(config, tag) if len(tag) else number, tag)


def block_of(sector):
    """Metadata index of a sector's block."""
    return sector[(SECTORS_PER_BLOCK - 1).bit_length() :]


def row_layout(config):
    """One set. Of each way: `used`, the sector's `tag`, whether a snoop of it is outstanding (`asked`), its lines
    (`busy`) and its `place` in the snoop table, and `states[host][line]`. `next`, `promised` are those of
    `golden.coherency.filter.Row`.

    A way that is not in use has no lines and no snoop: all of it is 0 but `tag` and `place`, which mean nothing then.
    Nor does `place` without a snoop. So they need not wait for any decision.
    """
    way = data.StructLayout(
        {
            "used": 1,
            "tag": tag_bits(config),
            "asked": 1,
            "busy": SECTOR_LINES,
            "place": layouts.snoop_tag_bits(config),
            "states": data.ArrayLayout(data.ArrayLayout(2, SECTOR_LINES), config.hosts),
        }
    )
    return data.StructLayout(
        {"ways": data.ArrayLayout(way, config.filter_ways), "next": range(config.filter_ways), "promised": 1}
    )


# Parts ----------------------------------------------------------------------------------------------------------------


def first(bits):
    """The lowest of `bits`, one-hot."""
    return [bits[0], *(bits[number] & ~Cat(bits[:number]).any() for number in range(1, len(bits)))]


def select(one_hot, values):
    """That of `values` which `one_hot` marks, 0 if there is none."""
    return reduce(or_, (Mux(bit, value, 0) for bit, value in zip(one_hot, values, strict=True)))


def chosen(row, one_hot):
    """The way of a row that `one_hot` marks, all 0 if there is none."""
    return data.View(row.shape()["ways"].shape.elem_shape, select(one_hot, [Value.cast(way) for way in row.ways]))


def is_owned(state):
    return (state == LineState.A) | (state == LineState.STALE)


def lines_that(states, wanted=lambda state: state != LineState.I):
    """The lines (a mask) of one host's states that are `wanted`: those that it may hold."""
    return Cat(wanted(state) for state in states)


def covering(lines):
    """`golden.common.line_access.covering`."""
    low, high = lines[:2].any(), lines[2:].any()
    block = Cat(low, low, high, high)
    return Mux((lines & lines - 1)[:SECTOR_LINES] == 0, lines, block)


def first_holder(masks):
    """(host, lines) of the first host whose mask of lines is not 0."""
    if len(masks) == 1:
        return 0, masks[0]
    return ~masks[0].any(), Mux(masks[0].any(), masks[0], masks[1])
