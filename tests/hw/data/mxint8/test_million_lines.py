"""MXINT8: the RTL of the codec, bit by bit as the golden one, on a million lines and every special case."""

import time

import numpy as np
import pytest
from amaranth.back import verilog

from kv_endpoint.golden.data.mxint8 import NOT_FINITE, VALUES, ZERO, compress_array, decompress_array
from kv_endpoint.hw.data.mxint8.codec import Compressor, Decompressor
from kv_endpoint.tb.runs.build import SimulationFailed, build, run
from tests.support.mxint8_lines import from_bits, random_lines, special_lines
from tests.support.paths import HDL

#: in `make regress`, and in `make test`
MILLION, SHORT = 1_000_000, 30_000
#: lines worked on at once
CHUNK = 50_000
#: part of the lines that are any bits, most of them with a NaN or an infinity
ANY_BITS = 1 / 10
CODEC = (HDL / "codec.v").read_text()


def codec_build():
    blocks = {"compressor": Compressor(), "decompressor": Decompressor()}
    sources = {f"{name}.v": verilog.convert(block, name=name, emit_src=False) for name, block in blocks.items()}
    latencies = [f"`define {name.upper()}_LATENCY {block.latency}" for name, block in blocks.items()]
    return build("verilator", top="codec", sources=sources | {"codec.v": CODEC, "codec.vh": "\n".join(latencies)})


def special_values():
    """Each special line with its values in each place."""
    lines = np.array([np.frombuffer(line.to_bytes(2 * VALUES, "little"), np.float16) for line in special_lines()])
    return np.concatenate([np.roll(lines, turn, axis=1) for turn in range(VALUES)])


def chunks(rng, lines):
    """FP16 arrays with so many lines in all: special cases, random lines of every kind, any bits."""
    special = special_values()
    yield special
    left = lines - len(special)
    while left:
        count = min(CHUNK, left)
        any_bits = from_bits(rng.integers(0, 1 << 16, (max(8, int(count * ANY_BITS)), VALUES)))
        # random_lines gives a multiple of its eight kinds
        values = np.concatenate([any_bits, random_lines(rng, count - len(any_bits) + 8)])
        yield rng.permutation(values)[:count]
        left -= count


def write_records(path, values_of_chunks):
    """The file that the bench reads; returns how many lines are finite and not zero, and how many are neither."""
    readable = special = 0
    with open(path, "wb") as file:
        for values in values_of_chunks:
            scales, elements = compress_array(values)
            read = decompress_array(scales, elements)
            parts = [read.view(np.uint8), elements.view(np.uint8), scales[:, None], values.view(np.uint8)]
            # the bench takes the most significant byte first
            file.write(np.concatenate(parts, axis=1)[:, ::-1].tobytes())
            without_elements = int(np.isin(scales, (ZERO, NOT_FINITE)).sum())
            readable += len(values) - without_elements
            special += without_elements
    return readable, special


@pytest.mark.parametrize("lines", [SHORT, pytest.param(MILLION, marks=pytest.mark.long)])
def test_lines_are_compressed_and_read_bit_by_bit_and_compressed_again_to_the_same(lines, tmp_path):
    print("seed 1")
    started = time.monotonic()
    readable, special = write_records(tmp_path / "codec.bin", chunks(np.random.default_rng(1), lines))
    written = time.monotonic()
    assert readable + special == lines and readable > 0.8 * lines and special > 0.05 * lines
    built = codec_build()
    ready = time.monotonic()
    run(built, module="kv_endpoint.tb.scenarios.codec", folder=tmp_path, settings={"lines": lines})
    (tmp_path / "codec.bin").unlink()
    print(f"{written - started:.1f} s golden, {time.monotonic() - ready:.1f} s simulated")


def test_one_wrong_bit_of_one_line_is_noticed(tmp_path):
    lines = 2000
    write_records(tmp_path / "codec.bin", chunks(np.random.default_rng(2), lines))
    records = np.fromfile(tmp_path / "codec.bin", np.uint8).reshape(lines, -1)
    # the scale of one line: behind its 64 bytes
    records[1234, 2 * VALUES] ^= 1
    records.tofile(tmp_path / "codec.bin")
    with pytest.raises(SimulationFailed, match="'compressed': 1, 'read': 0, 'again': 1}; the first is line 1234"):
        run(codec_build(), module="kv_endpoint.tb.scenarios.codec", folder=tmp_path, settings={"lines": lines})
