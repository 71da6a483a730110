"""Mode mxint8: what DDR5 moves for a byte of the host, of sequential and of random traffic, sidecar rows included."""

import random
from dataclasses import replace

from kv_endpoint.golden.common.config import LINE_BYTES, LINES_PER_BLOCK, preset
from kv_endpoint.golden.common.mode import FRAMES, Mode
from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.front.address import encode
from kv_endpoint.golden.host.operations import Op, fence_all, read, write
from kv_endpoint.golden.registers.rules import reset_regions
from kv_endpoint.sim.bench.batch import run_checked
from kv_endpoint.sim.bench.row import Row
from kv_endpoint.sim.run.data_check import check_messages
from kv_endpoint.sim.run.rtl import register_writes
from kv_endpoint.sim.run.timing import SCALED_TIMING
from kv_endpoint.tb.checks.recorded import MESSAGES
from kv_endpoint.tb.runs.batch import BatchSettings
from kv_endpoint.tb.runs.tops import batch_top

__all__ = ["compression"]

BENCH = "compression"
#: heads and their blocks that are written and read: twice as many sidecar rows as the cache holds
HEADS = 8
BLOCKS = 32
RANDOM = 8_000
REQUIRED_READ = 0.55
REQUIRED_WRITTEN = 0.60


def _places(config, region, blocks):
    """Every line of the bench's blocks, one block after the other."""
    return [
        encode(config, region, head, block, line)
        for head in range(min(HEADS, config.heads))
        for block in range(min(blocks, config.blocks_per_head))
        for line in range(LINES_PER_BLOCK)
    ]


def _line(number):
    """32 finite FP16 values, others for each line."""
    bits = random.Random(number).getrandbits(8 * LINE_BYTES)
    # The highest exponent bit of each value is 0: no infinity, no NaN.
    return bits & int("bfff" * 32, 16)


def _phases(config, region, blocks, single):
    """(name, operations) in the order in which they are played."""
    places, rng = _places(config, region, blocks), random.Random(1)
    some = [rng.choice(places) for _ in range(2 * single)]
    return (
        ("sequential writes", [write(place, _line(place)) for place in places]),
        ("sequential reads", [read(place) for place in places]),
        ("random reads of single lines", [read(place) for place in some[:single]]),
        ("random writes of single lines", [write(place, _line(~place)) for place in some[single:]]),
    )


def compression(folder, *, preset_name="small", simulator="verilator", blocks=BLOCKS, single=RANDOM):
    """Writes, then reads, of resident blocks in mode mxint8: rows of DDR5 bytes a byte of the host.

    `blocks` a head are read and written in order, and `single` lines of them at random.
    """
    config = preset(preset_name)
    region = replace(reset_regions(config)[0], mode=Mode.MXINT8)
    given = BatchSettings(
        registers=register_writes(Policy(), config.pool_frames_max, {}, Mode.MXINT8),
        memory_latency=SCALED_TIMING.ddr_clocks,
        max_reads=config.read_slots,
        max_writes=config.write_slots,
    )
    built = batch_top(simulator, config)
    rows, operations, moved_before = [], [], 0
    # Each run plays one phase more; what it moves more is that phase's.
    for number, (name, phase) in enumerate(_phases(config, region, blocks, single)):
        operations += [*phase, fence_all()]
        run_folder = folder / str(number)
        outcome, lock_step = run_checked(built, config, operations, given, run_folder)
        moved = outcome["lines_read"] + outcome["lines_written"]
        # Written lines whose sidecar rows are still in the cache are not fully written yet: all of it counts.
        cached = config.sidecar_cache_rows if phase[0].op == Op.WRITE else 0
        share = (moved - moved_before + cached) / len(phase)
        moved_before = moved
        required = {"sequential reads": ("<=", REQUIRED_READ), "sequential writes": ("<=", REQUIRED_WRITTEN)}
        what = f"{preset_name}, mxint8, {name}: DDR5 bytes a byte of the host"
        rows.append(Row(BENCH, what, share, "bytes", *required.get(name, ())))
    compared, _, difference = check_messages(run_folder / MESSAGES, lambda: operations, config, [region])
    return [
        *rows,
        Row(BENCH, "mxint8: blocks in the space of an uncompressed one", LINES_PER_BLOCK / FRAMES[Mode.MXINT8].lines,
            "blocks"),
        Row(BENCH, lock_step.mismatch or "mismatches in lock-step", int(lock_step.mismatch is not None), "records",
            "=", 0),
        Row(BENCH, difference or "reads with wrong data, of all that were compared", int(difference is not None),
            f"of {compared:,}", "=", 0),
    ]  # fmt: skip
