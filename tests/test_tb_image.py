"""The host's image of memory: which data a read may return."""

import pytest

from tb.image import DataMismatch, Image
from tb.stimulus import FULL

A = 0x1234


def returns(image, data, poison=False, tag=900):
    """Whether a read that starts and ends now may return `data`."""
    image.read_issued(tag, A)
    try:
        image.read_done(tag, A, data, poison)
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
