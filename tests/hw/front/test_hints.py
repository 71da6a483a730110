"""Hint lines keep their header and entries; headers follow the leap rule; relative mass saturates."""

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.front.hints import SCORE_ONE, HeaderCheck, check_header, pack_hint, relative_mass, unpack_hint

CONFIG = preset("tiny")


def test_unpack_gives_what_was_packed():
    entries = [(block, 0x1111 * block) for block in range(15)]
    assert unpack_hint(pack_hint(0x2ABCD, entries)) == (0xABCD, 0, entries)
    assert pack_hint(0, entries) < 1 << 512
    with pytest.raises(ValueError, match="at most 15 blocks, not 16"):
        pack_hint(0, [(0, 0)] * 16)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("header", "now", "expected"),
    [
        (7, 7, (HeaderCheck.CURRENT, 7)),
        (8, 7, (HeaderCheck.ADVANCE, 8)),
        (7 + 256, 7, (HeaderCheck.ADVANCE, 7 + 256)),
        (7 + 257, 7, (HeaderCheck.STALE, 7)),
        (6, 7, (HeaderCheck.STALE, 7)),
        # the 16 header bits wrap while the counter goes on
        (3, 0x1FFFF, (HeaderCheck.ADVANCE, 0x20003)),
    ],
)
def test_a_header_advances_the_step_by_at_most_the_leap_cap(header, now, expected):
    assert check_header(CONFIG, pack_hint(header, []), now, True, 256) == expected


def test_the_first_header_loads_the_counter():
    assert check_header(CONFIG, pack_hint(40000, []), 0, False, 256) == (HeaderCheck.ADVANCE, 40000)


@pytest.mark.parametrize("line", [pack_hint(7, [], flags=1), pack_hint(7, [(CONFIG.blocks_per_head, 1)])])
def test_flags_and_impossible_blocks_are_malformed(line):
    assert check_header(CONFIG, line, 7, True, 256) == (HeaderCheck.MALFORMED, 7)


def test_relative_mass_is_mass_times_blocks_over_gain_saturated():
    assert relative_mass(0.5, 4, 8) == 0.25 * 65536
    assert relative_mass(0.0, 4, 8) == 0
    assert relative_mass(0.9, 32, 8) == SCORE_ONE
