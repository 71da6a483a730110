# amaranth: UnusedElaboratable=no
"""MXINT8: the golden codec against its definition and its figures, and the pipelines against it bit by bit."""

from fractions import Fraction

import numpy as np
import pytest
from amaranth.hdl import Cat, Elaboratable, Module

from kv_endpoint.golden.data.mxint8 import (
    ELEMENT_MAX,
    NAN,
    NOT_FINITE,
    POISONED,
    SCALE_MAX,
    SCALE_MIN,
    VALUES,
    ZERO,
    compress,
    compress_array,
    decompress,
    decompress_array,
    sqnr_db,
)
from kv_endpoint.hw.data.mxint8.codec import Compressor, Decompressor
from tests.support.free_running import run_pipeline
from tests.support.mxint8_lines import LEAST, SPECIAL_CASES, from_bits, line_of, pack, random_lines, special_lines
from tests.support.paths import ROOT

ATTENTION = ROOT / "sim" / "data" / "attention-a.npz"
SIGN = 0x8000
READABLE = range(SCALE_MIN, SCALE_MAX + 1)
#: scales at which an element has bits below 2^-24
FINE = range(SCALE_MIN, SCALE_MIN + 6)
ELEMENTS = range(-ELEMENT_MAX, ELEMENT_MAX + 1)
RANDOM_LINES = 10_000


def seeded(seed):
    print(f"seed {seed}")
    return np.random.default_rng(seed)


def values_of(line):
    return np.frombuffer(line.to_bytes(2 * VALUES, "little"), np.float16)


def elements_of(elements):
    return np.frombuffer(elements.to_bytes(VALUES, "little"), np.int8).tolist()


def elements_line(elements):
    return pack(np.array([*elements, *[0] * (VALUES - len(elements))], np.int8))


def definition(values):
    """Scale and elements by fractions alone, of a finite line with a value other than 0."""
    exact = [Fraction(float(value)) for value in values]
    largest = max(map(abs, exact))
    exponent = next(e for e in range(15, -25, -1) if largest >= Fraction(2) ** e)
    elements = [max(-127, min(127, round(value * 64 / Fraction(2) ** exponent))) for value in exact]
    return exponent + 127, elements


# The golden codec ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", SPECIAL_CASES)
def test_special_cases(case):
    values, scale, elements = SPECIAL_CASES[case]
    assert compress(line_of(values)) == (scale, elements_line(elements))


def test_every_nan_and_infinity_is_found_in_every_place():
    for place in range(VALUES):
        for bits in (0x7C00, 0xFC00, 0x7C01, 0x7E00, 0xFFFF):
            assert compress(bits << 16 * place | 0x3C00 << 16 * (31 - place)) == (NOT_FINITE, 0)


def test_elements_are_the_rounded_quotients():
    for values in random_lines(seeded(1), 800):
        line = pack(values)
        if np.isfinite(values).all() and values.any():
            scale, elements = compress(line)
            assert (scale, elements_of(elements)) == definition(values), hex(line)


def test_arrays_are_lines_side_by_side():
    values = np.concatenate([random_lines(seeded(2), 2400), [values_of(line) for line in special_lines()]])
    scales, elements = compress_array(values)
    read = decompress_array(scales, elements)
    for row, scale, row_elements, row_read in zip(values, scales, elements, read, strict=True):
        compressed = compress(pack(row))
        assert compressed == (scale, pack(row_elements)), row
        assert decompress(*compressed) == pack(row_read), row


def test_arrays_keep_their_axes():
    values = seeded(3).standard_normal((3, 4, VALUES)).astype(np.float16)
    scales, elements = compress_array(values)
    assert scales.shape == (3, 4) and elements.shape == values.shape
    assert (decompress_array(scales, elements)[1, 2] == decompress_array(scales[1, 2], elements[1, 2])).all()


def test_a_line_that_was_read_compresses_to_the_same_bytes():
    values = random_lines(seeded(4), 200_000)
    scales, elements = compress_array(values)
    again, elements_again = compress_array(decompress_array(scales, elements))
    assert (again == scales).all() and (elements_again == elements).all()
    assert (scales != NOT_FINITE).sum() > 150_000


def test_every_pair_that_compress_gives_is_read_exactly():
    """Each element at each scale, where a line's values are multiples of 2^-24, so the fine scales have only some."""
    for scale in READABLE:
        step = 1 << max(0, FINE.stop - scale)
        for element in (element for element in ELEMENTS if element % step == 0):
            # an element of 64 makes it a line that has this scale
            line = decompress(scale, elements_line([element, 64]))
            exact = Fraction(element) * Fraction(2) ** (scale - 127 - 6)
            assert Fraction(float(values_of(line)[0])) == exact, (scale, element)
            assert compress(line) == (scale, elements_line([element, 64])), (scale, element)


def test_compress_gives_no_other_pair_at_the_fine_scales():
    """Every subnormal magnitude beside every largest one, of both signs."""
    for scale in FINE:
        top = 1 << (scale - SCALE_MIN)
        for largest in range(top, 2 * top):
            for units in range(-largest, largest + 1):
                got, elements = compress(line_of([largest * LEAST, units * LEAST]))
                assert got == scale
                assert all(element % (1 << FINE.stop - scale) == 0 for element in elements_of(elements))


def test_negative_zero_reads_as_zero():
    line = decompress(*compress(line_of([1.0, -0.0, -LEAST])))
    assert line == line_of([1.0])
    assert decompress(*compress(line_of([-0.0] * VALUES))) == 0


def test_scales_that_are_not_of_a_number():
    """A line of zeros, or never written, reads as zero whatever lies in the frame; all others as NaN."""
    stale = elements_line(range(1, 1 + VALUES))
    assert decompress(ZERO, stale) == 0
    for scale in {*range(256)} - {*READABLE} - {ZERO}:
        assert values_of(decompress(scale, stale)).view(np.uint16).tolist() == [NAN] * VALUES
    assert POISONED not in READABLE and NOT_FINITE not in READABLE


# Quality ---------------------------------------------------------------------------------------------------------


def test_sqnr_of_gaussian_values():
    rng = seeded(5)
    for sigma in (2.0**-10, 0.5, 1.0, 2.0, 1000.0):
        values = (rng.standard_normal((20_000, VALUES)) * sigma).astype(np.float16)
        quality = sqnr_db(values, decompress_array(*compress_array(values)))
        print(f"sigma {sigma:g}: {quality:.2f} dB")
        assert quality >= 41.6, sigma


@pytest.mark.parametrize("plane, name, least_db", [(0, "K", 39.8), (1, "V", 41.5)])
def test_sqnr_of_the_trace_token_by_token(plane, name, least_db):
    """32 consecutive values of one head: four tokens of eight."""
    with np.load(ATTENTION) as arrays:
        kv = arrays["kv"]
    tokens, layers, heads, _, _ = kv.shape
    streams = kv[:, :, :, plane].transpose(1, 2, 0, 3).reshape(layers, heads, -1, VALUES)
    assert streams.shape[2] * VALUES == tokens * 8
    quality = sqnr_db(streams, decompress_array(*compress_array(streams)))
    print(f"{name}: {quality:.2f} dB")
    assert quality >= least_db


def test_sqnr_is_the_ratio_of_energies():
    assert sqnr_db([3.0, 4.0], [3.0, 4.5]) == pytest.approx(20.0)
    assert sqnr_db([1.0], [1.0]) == float("inf")


# The pipelines ---------------------------------------------------------------------------------------------------


class Pipelines(Elaboratable):
    """Both side by side, so that the tests share one build."""

    def __init__(self):
        self.compressor, self.decompressor = Compressor(), Decompressor()

    def elaborate(self, platform):
        m = Module()
        m.submodules.compressor, m.submodules.decompressor = self.compressor, self.decompressor
        return m


def run_compressor(lines):
    """(scale, elements) of each line; a new line at every clock."""
    rig = Pipelines()
    dut = rig.compressor
    packed = run_pipeline(dut, [dut.line], Cat(dut.elements, dut.scale), [(line,) for line in lines], rig=rig)
    return [(row >> 8 * VALUES, row & (1 << 8 * VALUES) - 1) for row in packed]


def run_decompressor(pairs):
    rig = Pipelines()
    dut = rig.decompressor
    return run_pipeline(dut, [dut.scale, dut.elements], dut.line, pairs, rig=rig)


def test_the_pipelines_take_at_most_eight_clocks():
    assert Compressor().latency <= 8 and Decompressor().latency <= 8


def test_compressor_in_special_cases():
    # Each value in each place.
    lines = [
        line << 16 * turn & (1 << 512) - 1 | line >> 512 - 16 * turn for line in special_lines() for turn in range(32)
    ]
    assert run_compressor(lines) == [compress(line) for line in lines]


def test_compressor_on_random_lines():
    lines = [pack(values) for values in seeded(6).permutation(random_lines(seeded(7), RANDOM_LINES))]
    for line, got in zip(lines, run_compressor(lines), strict=True):
        assert got == compress(line), hex(line)


@pytest.mark.quick
def test_compressor_on_every_value_beside_every_kind_of_largest():
    """All magnitudes up to the largest, at largest values of the first and last binades and between."""
    lines = []
    for largest in (0x0001, 0x000F, 0x0200, 0x03FF, 0x0400, 0x0801, 0x3C00, 0x7800):
        smaller = np.arange(max(0, largest - 0x2800), largest + 1024 if largest >= 0x0400 else largest + 1)
        smaller = np.pad(smaller, (0, -len(smaller) % (VALUES - 1)))
        for group in smaller.reshape(-1, VALUES - 1):
            lines.append(pack(from_bits([*(group | SIGN * (len(lines) % 2)), largest])))
    for line, got in zip(lines, run_compressor(lines), strict=True):
        assert got == compress(line), hex(line)


def test_decompressor_on_every_pair():
    """Every element at every scale that has a meaning, and what lies in a frame at every other."""
    elements = np.pad(np.array(ELEMENTS, np.int8), (0, -len(ELEMENTS) % VALUES)).reshape(-1, VALUES)
    pairs = [(scale, pack(np.roll(row, scale))) for scale in range(256) for row in elements]
    for pair, got in zip(pairs, run_decompressor(pairs), strict=True):
        assert got == decompress(*pair), pair


def test_decompressor_reads_what_the_compressor_wrote():
    """Random lines through both pipelines, and through the compressor again: the same bytes."""
    values = seeded(8).permutation(random_lines(seeded(9), RANDOM_LINES // 2))
    written = run_compressor([pack(row) for row in values])
    read = run_decompressor(written)
    assert read == [decompress(*pair) for pair in written]
    assert run_compressor(read) == written
