"""The host's image of memory: which data a read may return."""

import random

import pytest

from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.data.mxint8 import NAN, NOT_FINITE, SCALE_MAX, SCALE_MIN, VALUES, ZERO, compress
from kv_endpoint.golden.host.operations import FULL
from kv_endpoint.tb.checks.image import DataMismatch, Image
from kv_endpoint.tb.stimuli.fp16_lines import random_line

A = 0x1234


def returns(image, data, poison=False, tag=900, mode=Mode.EXACT):
    """Whether a read that starts and ends now may return `data`."""
    image.read_issued(tag, A)
    try:
        image.read_done(tag, A, data, poison, mode)
    except DataMismatch:
        return False
    return True


def written(image, tag, data, **more):
    image.write_issued(tag, A, data, **more)
    image.write_done(tag, A)


def test_unwritten_line_is_zero():
    assert returns(Image(), 0)
    assert not returns(Image(), 1)


def test_completed_write_is_the_only_contents():
    image = Image()
    written(image, 1, 5)
    written(image, 2, 6)
    assert returns(image, 6)
    assert not returns(image, 5)
    assert not returns(image, 0)


def test_open_write_may_be_seen_or_not():
    image = Image()
    image.write_issued(1, A, 5)
    assert returns(image, 5)
    assert returns(image, 0)
    assert not returns(image, 6)
    image.write_done(1, A)
    assert not returns(image, 0)


def test_read_that_overlaps_a_write_may_return_what_was_before():
    image = Image()
    written(image, 1, 5)
    image.read_issued(2, A)
    written(image, 3, 6)
    image.read_done(2, A, 5, False)
    assert not returns(image, 5)


def test_read_may_return_a_write_issued_after_it():
    image = Image()
    image.read_issued(2, A)
    image.write_issued(3, A, 6)
    image.read_done(2, A, 6, False)


def test_overlapping_writes_end_in_either_order_but_not_torn():
    image = Image()
    image.write_issued(1, A, 0x11, be=1)
    image.write_issued(2, A, 0x2222)
    image.write_done(1, A)
    image.write_done(2, A)
    assert returns(image, 0x2222)
    assert returns(image, 0x2211)
    assert not returns(image, 0x11)


def test_partial_write_keeps_the_other_bytes():
    image = Image()
    written(image, 1, 0xAABBCC)
    written(image, 2, 0x112233, be=0b010)
    assert returns(image, 0xAA22CC)
    assert not returns(image, 0xAABBCC)


def test_poison_stays_until_a_whole_line_is_written():
    image = Image()
    written(image, 1, 7, poison=True)
    assert returns(image, 123, poison=True)
    assert not returns(image, 7)
    written(image, 2, 9, be=1)
    assert returns(image, 0, poison=True)
    written(image, 3, 9, be=FULL)
    assert returns(image, 9)
    assert not returns(image, 9, poison=True)


def test_poison_passes_only_where_it_is_allowed():
    assert returns(Image(poison_allowed=True), 0, poison=True)
    assert not returns(Image(), 0, poison=True)


def test_too_many_open_writes_of_a_line_are_refused():
    image = Image()
    for tag in range(4):
        image.write_issued(tag, A, tag)
    with pytest.raises(ValueError, match="at most 4"):
        image.write_issued(4, A, 4)


# Mode mxint8 -----------------------------------------------------------------------------------------------------

MX = Mode.MXINT8
NAN_LINE = sum(NAN << 16 * place for place in range(VALUES))
#: FP16: 1, the next number, which is read as 1 beside it, and 2
ONE, ABOVE_ONE, TWO = 0x3C00, 0x3C01, 0x4000


def test_a_line_of_mode_mxint8_reads_as_its_compressed_value():
    image = Image()
    written(image, 1, ONE | ABOVE_ONE << 16, mode=MX)
    assert returns(image, ONE | ONE << 16, mode=MX)
    assert not returns(image, ONE | ABOVE_ONE << 16, mode=MX)
    written(image, 2, ONE | ABOVE_ONE << 16)
    assert returns(image, ONE | ABOVE_ONE << 16)


def test_a_partial_write_of_mode_mxint8_starts_from_the_stored_value():
    """A small value that a large neighbour had rounded away does not come back when the neighbour shrinks."""
    small = 0x0C00
    image = Image()
    written(image, 1, TWO | small << 16, mode=MX)
    assert returns(image, TWO, mode=MX)
    written(image, 2, small, be=0b11, mode=MX)
    assert returns(image, small, mode=MX)
    assert not returns(image, small | small << 16, mode=MX)
    written(image, 3, TWO << 16, be=0b1100, mode=MX)
    assert returns(image, TWO << 16, mode=MX)


def test_a_line_of_mode_mxint8_with_a_nan_reads_all_nan():
    image = Image()
    written(image, 1, ONE | 0x7C00 << 16, mode=MX)
    assert returns(image, NAN_LINE, mode=MX)
    written(image, 2, ONE, be=0b11, mode=MX)
    assert returns(image, NAN_LINE, mode=MX)
    written(image, 3, ONE, mode=MX)
    assert returns(image, ONE, mode=MX)


def test_poison_of_mode_mxint8_reads_zeros_and_stays():
    image = Image()
    written(image, 1, ONE, poison=True, mode=MX)
    assert returns(image, 0, poison=True, mode=MX)
    assert not returns(image, ONE, poison=True, mode=MX)
    written(image, 2, ONE, be=0xFF, mode=MX)
    assert returns(image, 0, poison=True, mode=MX)
    written(image, 3, TWO, mode=MX)
    assert returns(image, TWO, mode=MX)


def test_overlapping_partial_writes_of_mode_mxint8_compress_between_them():
    """Two writes in either order: what the first of them rounds away, the second does not bring back."""
    small = 0x0C00
    image = Image()
    written(image, 1, small << 32, mode=MX)
    image.write_issued(2, A, TWO, be=0b11, mode=MX)
    image.write_issued(3, A, small, be=0b11, mode=MX)
    image.write_done(2, A)
    image.write_done(3, A)
    assert returns(image, small, mode=MX)
    assert returns(image, TWO, mode=MX)
    assert not returns(image, small | small << 32, mode=MX)


def test_random_lines_are_mostly_finite_with_every_special_kind_among_them():
    rng = random.Random(1)
    lines = [random_line(rng) for _ in range(1000)]
    scales = [compress(line)[0] for line in lines]
    assert 0.9 < sum(scale not in (NOT_FINITE, ZERO) for scale in scales) / len(scales) < 0.97
    assert {NOT_FINITE, ZERO, SCALE_MIN, SCALE_MAX} <= set(scales)
    assert any(SCALE_MIN < scale < SCALE_MIN + 10 for scale in scales)
    assert all(line.bit_length() <= 512 for line in lines)
