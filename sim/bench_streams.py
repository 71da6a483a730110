"""Streams: a prefix that has gone cold is read again, head by head, with a descriptor for each head."""

from golden.address import encode, hint_address
from golden.config import LINES_PER_BLOCK, preset
from golden.csr import reset_regions
from golden.events import PrefetchSource
from golden.hints import ENTRIES_MAX, SCORE_ONE, pack_hint
from golden.policy import Policy
from golden.streams import Stream
from sim.bench_batch import run_checked
from sim.bench_row import Row
from sim.descriptors import STREAM_AHEAD, streams
from sim.rtl_run import register_writes
from sim.timing import SCALED_TIMING
from tb.batch import BatchSettings
from tb.stimulus import fence_all, fence_writes, read, write
from tb.tops import batch_top

__all__ = ["prefix_replay"]

BENCH = "prefix_replay"
#: blocks of the prefix, in as many heads as there are stream descriptors; the pool has so many frames
PREFIX_BLOCKS = 24
#: most heads with as many blocks that are written after the prefix and push it out
OTHER_HEADS = 8
REQUIRED_USEFUL = 0.95
#: part of the prefix's blocks; demand is faster than a stream where the replay begins
REQUIRED_ISSUED = 0.75


def _prefix_blocks(config):
    return min(PREFIX_BLOCKS, config.blocks_per_head)


def _hints(config, region, head, blocks, step):
    for first in range(0, len(blocks), ENTRIES_MAX):
        entries = [(block, SCORE_ONE) for block in blocks[first : first + ENTRIES_MAX]]
        yield write(hint_address(config, region, head), pack_hint(step, entries))


def _operations(config, region):
    """Write the prefix, then so much else that it goes cold; describe it, announce it, read it."""
    blocks = range(_prefix_blocks(config))
    prefix = range(config.streams)
    others = range(len(prefix), min(len(prefix) + OTHER_HEADS, config.heads))
    for step, heads in enumerate((prefix, others), 1):
        for head in heads:
            yield from _hints(config, region, head, blocks, step)
            yield fence_writes()
            for block in blocks:
                yield write(encode(config, region, head, block, 0), block + 1)
    yield fence_all()
    for head in prefix:
        yield from _hints(config, region, head, blocks, step + 1)
    yield fence_writes()
    along = [Stream(head * config.blocks_per_head, len(blocks), 1, STREAM_AHEAD) for head in prefix]
    yield from streams(along, count=config.streams)
    for head in prefix:
        for block in blocks:
            for line in range(LINES_PER_BLOCK):
                yield read(encode(config, region, head, block, line))


def prefix_replay(folder, *, preset_name="small", simulator="verilator"):
    """A cold prefix of as many heads as there are descriptors, read again: rows of what prefetch did."""
    config = preset(preset_name)
    region = reset_regions(config)[0]
    policy = Policy(prefetch_streams=True)
    blocks = config.streams * _prefix_blocks(config)
    given = BatchSettings(
        registers=register_writes(policy, blocks, {}),
        memory_latency=SCALED_TIMING.ddr_clocks,
        flash_read_clocks=SCALED_TIMING.flash_read_clocks,
        flash_program_clocks=SCALED_TIMING.flash_program_clocks,
        max_reads=config.read_slots,
        max_writes=config.write_slots,
        record_data=False,
    )
    operations = _operations(config, region)
    _, lock_step = run_checked(batch_top(simulator, config), config, operations, given, folder)
    statistics = lock_step.statistics
    fate = statistics.prefetches.fates[PrefetchSource.STREAM]
    useful, issued = fate.useful / fate.issued if fate.issued else 0.0, fate.issued / blocks
    ends = ", ".join(f"{end} {getattr(fate, end)}" for end in ("useful", "late", "met", "unused", "unread"))
    return [
        Row(BENCH, f"{preset_name}, prefix of {blocks} cold blocks: useful part of the stream prefetches ({ends})",
            useful, "", ">=", REQUIRED_USEFUL),
        Row(BENCH, f"{preset_name}: part of the prefix that a stream fetched", issued, "", ">=", REQUIRED_ISSUED),
        Row(BENCH, lock_step.mismatch or "mismatches in lock-step", int(lock_step.mismatch is not None), "records",
            "=", 0),
    ]  # fmt: skip
