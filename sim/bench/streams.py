"""Streams: a prefix that has gone cold is read again, along its heads or layer after layer; weights in every step."""

from itertools import groupby

from kv_endpoint.golden.common.config import LINES_PER_BLOCK, preset
from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.events.port import PrefetchSource
from kv_endpoint.golden.front.address import encode
from kv_endpoint.golden.front.hints import SCORE_ONE
from kv_endpoint.golden.host.operations import fence_all, fence_writes, read, write
from kv_endpoint.golden.prefetch.stream_descriptor import StreamDescriptor
from kv_endpoint.golden.registers.rules import reset_regions
from kv_endpoint.sim.bench.batch import run_checked
from kv_endpoint.sim.bench.row import Row
from kv_endpoint.sim.host.descriptors import STREAM_AHEAD, streams
from kv_endpoint.sim.host.hint_lines import hint_lines
from kv_endpoint.sim.run.rtl import register_writes
from kv_endpoint.sim.run.run import prepare
from kv_endpoint.sim.run.timing import SCALED_TIMING
from kv_endpoint.sim.settings import Settings
from kv_endpoint.sim.workload.load import load
from kv_endpoint.tb.runs.batch import BatchSettings
from kv_endpoint.tb.runs.tops import batch_top

__all__ = ["layer_replay", "prefix_replay", "weights"]

#: blocks of the prefix in each head, in as many heads as there are stream descriptors; or the other way round: so many
#: heads, as many blocks in each as there are descriptors. The pool has so many frames
PREFIX_LONG = 24
#: heads of a layer, where the prefix is read layer after layer
LAYER_HEADS = 4
#: most heads, and blocks in each, that are written after the prefix and push it out
OTHER_HEADS = 8
OTHER_BLOCKS = 24
REQUIRED_USEFUL = 0.95
#: part of the prefix's blocks; demand is faster than a stream where the replay begins
REQUIRED_ISSUED = 0.75
#: the runs with weights: a prefill, so that the KV cache has misses of its own; weights of a layer
PREFILL = 256
BLOCKS_OF_LAYER = 12
REQUIRED_RESIDENT = 0.95
#: what weights may take from the demand hit rate of the KV cache, which has its own frames: they move it in time
TOLERANCE = 0.002


def _by_head(places):
    """(head, blocks) of places that are sorted by head."""
    for head, of_head in groupby(places, key=lambda place: place[0]):
        yield head, [block for _, block in of_head]


def _operations(config, region, prefix, described):
    """Write the prefix, then so much else that it goes cold; announce it, describe it, read it in its order."""
    heads = {head for head, _ in prefix}
    free = [head for head in range(config.heads) if head not in heads][:OTHER_HEADS]
    others = [(head, block) for head in free for block in range(min(OTHER_BLOCKS, config.blocks_per_head))]
    for step, places in enumerate((sorted(prefix), others), 1):
        for head, blocks in _by_head(places):
            yield from hint_lines(config, region, head, step, [(block, SCORE_ONE) for block in blocks])
            yield fence_writes()
            for block in blocks:
                yield write(encode(config, region, head, block, 0), block + 1)
    yield fence_all()
    for head, blocks in _by_head(sorted(prefix)):
        yield from hint_lines(config, region, head, step + 1, [(block, SCORE_ONE) for block in blocks])
    yield fence_writes()
    yield from streams(described, count=config.streams)
    for head, block in prefix:
        for line in range(LINES_PER_BLOCK):
            yield read(encode(config, region, head, block, line))


def _replay(bench, config, simulator, folder, prefix, described):
    """Rows of what prefetch did for a prefix, a sequence of (head, block) in the order of the reads."""
    region = reset_regions(config)[0]
    policy = Policy(prefetch_streams=True)
    given = BatchSettings(
        registers=register_writes(policy, len(prefix), {}),
        memory_latency=SCALED_TIMING.ddr_clocks,
        flash_read_clocks=SCALED_TIMING.flash_read_clocks,
        flash_program_clocks=SCALED_TIMING.flash_program_clocks,
        max_reads=config.read_slots,
        max_writes=config.write_slots,
        record_data=False,
    )
    operations = _operations(config, region, prefix, described)
    _, lock_step = run_checked(batch_top(simulator, config), config, operations, given, folder)
    statistics = lock_step.statistics
    fate = statistics.prefetches.fates[PrefetchSource.STREAM]
    useful, issued = fate.useful / fate.issued if fate.issued else 0.0, fate.issued / len(prefix)
    ends = ", ".join(f"{end} {getattr(fate, end)}" for end in ("useful", "late", "met", "unused", "unread"))
    name = config.name
    return [
        Row(bench, f"{name}, prefix of {len(prefix)} cold blocks: useful part of the stream prefetches ({ends})",
            useful, "", ">=", REQUIRED_USEFUL),
        Row(bench, f"{name}: part of the prefix that a stream fetched", issued, "", ">=", REQUIRED_ISSUED),
        Row(bench, lock_step.mismatch or "mismatches in lock-step", int(lock_step.mismatch is not None), "records",
            "=", 0),
    ]  # fmt: skip


def prefix_replay(folder, *, preset_name="small", simulator="verilator"):
    """A cold prefix of as many heads as there are descriptors, read again: rows of what prefetch did."""
    config = preset(preset_name)
    blocks = min(PREFIX_LONG, config.blocks_per_head)
    prefix = [(head, block) for head in range(config.streams) for block in range(blocks)]
    described = [
        StreamDescriptor(head * config.blocks_per_head, blocks, 1, STREAM_AHEAD) for head in range(config.streams)
    ]
    return _replay("prefix_replay", config, simulator, folder, prefix, described)


def layer_replay(folder, *, preset_name="small", simulator="verilator"):
    """A cold prefix of as many blocks a head as there are descriptors, read again layer after layer: the same rows."""
    config = preset(preset_name)
    layers = [range(first, first + LAYER_HEADS) for first in range(0, PREFIX_LONG, LAYER_HEADS)]
    prefix = [(head, block) for heads in layers for block in range(config.streams) for head in heads]
    stride = config.blocks_per_head
    described = [StreamDescriptor(block, PREFIX_LONG, stride, STREAM_AHEAD) for block in range(config.streams)]
    return _replay("layer_replay", config, simulator, folder, prefix, described)


def weights(folder, *, steps=12):
    """Weights that every step reads, without and with a stream: rows of what it did, and of what the KV cache saw."""
    cases = {
        "no weights": {},
        "no stream": {"weights": BLOCKS_OF_LAYER},
        "stream": {"weights": BLOCKS_OF_LAYER, "prefetch": "streams"},
    }
    runs, wrong = {}, 0
    for case, added in cases.items():
        run = prepare(
            config=preset("small"),
            workload=load("attention-a"),
            settings=Settings(prefill=PREFILL, steps=steps, **added),
            simulator="verilator",
            out=folder / case.replace(" ", "-"),
            waves=False,
        )
        runs[case], complaints = run.execute()
        wrong += runs[case]["golden"]["mismatches"] + sum(runs[case]["errors"].values())
        for complaint in complaints:
            print(complaint, flush=True)
    without, found = (runs[case]["weights"]["reads"]["hit_rate"] for case in ("no stream", "stream"))
    fate = runs["stream"]["weights"]["prefetch"]["stream"]
    ends = ", ".join(f"{end} {fate[end]:,}" for end in ("useful", "late", "met", "unused", "unread"))
    what = f"small, {runs['stream']['weights']['blocks']} blocks of weights in each step"
    rates = {case: result["demand"]["hit_rate"] for case, result in runs.items()}
    return [
        Row("weights", f"{what}: useful part of the stream prefetches ({ends})",
            fate["useful"] / fate["issued"] if fate["issued"] else 0.0, "", ">=", REQUIRED_USEFUL),
        Row("weights", f"{what}: found resident, without a stream", without, ""),
        Row("weights", f"{what}: found resident, with a stream", found, "", ">=", REQUIRED_RESIDENT),
        Row("weights", f"{what}: clocks with a stream, part of those without",
            runs["stream"]["cycles"] / runs["no stream"]["cycles"], ""),
        Row("weights", "small: demand hit rate of the KV cache without weights", rates["no weights"], ""),
        Row("weights", "small: the same with weights, less that", rates["no stream"] - rates["no weights"], "", ">=",
            -TOLERANCE),
        Row("weights", "mismatches and errors in these runs", wrong, "records", "=", 0),
    ]  # fmt: skip
