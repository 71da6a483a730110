"""Resident reads with ideal memory: how many metadata slots a clock the endpoint sustains, and whether any is lost."""

from kv_endpoint.golden.common.config import LINES_PER_BLOCK, preset
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.events.port import EngineKind, Lane, unpack
from kv_endpoint.golden.front.address import encode
from kv_endpoint.golden.host.operations import fence_all, read, write
from kv_endpoint.golden.pipeline.metadata import SlotKind
from kv_endpoint.golden.registers.rules import reset_regions
from kv_endpoint.sim.bench.batch import run_checked
from kv_endpoint.sim.bench.row import Row
from kv_endpoint.sim.run.rtl import register_writes
from kv_endpoint.tb.checks.recorded import EVENTS
from kv_endpoint.tb.runs.batch import SLOTS, BatchSettings
from kv_endpoint.tb.runs.tops import batch_top

__all__ = ["resident_reads"]

BENCH = "resident_reads"
REQUIRED_SLOTS_PER_CLOCK = 0.95
READS = 20_000
#: heads and lines of a block that the spread reads go over; as many blocks as the sidecar cache holds
HEADS = 4
LINES = 16
SPREAD, HAMMER, SEQUENTIAL = "spread over blocks and lines", "one line all the time", "one block after the other"
PATTERNS = ((Mode.EXACT, SPREAD), (Mode.EXACT, HAMMER), (Mode.MXINT8, SEQUENTIAL))


def _places(config, pattern):
    """Line addresses that are read in turns."""
    region = reset_regions(config)[0]
    if pattern == SEQUENTIAL:
        # A block has two sidecar rows then.
        blocks = range(min(config.sidecar_cache_rows // 2, config.blocks_per_head))
        return [encode(config, region, 0, block, line) for block in blocks for line in range(LINES_PER_BLOCK)]
    if pattern == HAMMER:
        return [encode(config, region, 0, 0, 0)]
    blocks = min(config.sidecar_cache_rows, config.blocks) // HEADS
    return [
        encode(config, region, head, block, line)
        for line in range(LINES)
        for head in range(HEADS)
        for block in range(min(blocks, config.blocks_per_head))
    ]


def _operations(places):
    """Write every line that is read, wait, and read single lines."""
    for number, place in enumerate(places):
        yield write(place, number + 1)
    yield fence_all()
    for number in range(READS):
        yield read(places[number % len(places)])


def slots_per_clock(config, folder):
    """(slots per clock from the first to the last READ that was recorded, notes in between, those of phases aside)."""
    clocks = iter((folder / SLOTS).read_text().split())
    first = last = None
    slots = slots_until = notes = notes_until = 0
    for record in (folder / EVENTS).read_text().splitlines():
        letter, payload = record.split()
        if letter == "E":
            kind = unpack(config, Lane.ENGINE, int(payload, 16))["kind"]
            # The reads of a bench look like decode after its writes look like prefill.
            notes += first is not None and kind != EngineKind.PHASE
            continue
        clock = int(next(clocks))
        if unpack(config, Lane.SLOT, int(payload, 16))["kind"] == SlotKind.READ:
            first = clock if first is None else first
            last, slots_until, notes_until = clock, slots + 1, notes
        slots += first is not None
    return slots_until / (last - first + 1), notes_until


def resident_reads(folder, *, presets=("small", "tiny"), simulator="verilator"):
    """Single-line reads of resident blocks with ideal memory, as many as fit: rows of slots a clock, all compared."""
    rows = []
    for name in presets:
        config = preset(name)
        built = batch_top(simulator, config)
        for number, (mode, pattern) in enumerate(PATTERNS):
            given = BatchSettings(
                registers=register_writes(Policy(), config.pool_frames_max, {}, mode),
                memory_latency=1,
                max_reads=config.read_slots,
                max_writes=config.write_slots,
                record_data=False,
                record_clocks=True,
            )
            run_folder = folder / f"{name}-{number}"
            operations = _operations(_places(config, pattern))
            _, lock_step = run_checked(built, config, operations, given, run_folder)
            rate, notes = slots_per_clock(config, run_folder)
            what = f"{name}, {mode.name.lower()}, {pattern}"
            mismatches = int(lock_step.mismatch is not None)
            rows += [
                Row(BENCH, f"{what}: slots a clock", rate, "slots/clock", ">=", REQUIRED_SLOTS_PER_CLOCK),
                Row(BENCH, f"{what}: misses and other notes meanwhile", notes, "records", "=", 0),
                Row(BENCH, f"{what}: records compared in lock-step", lock_step.checked, "records", ">=", READS),
                Row(BENCH, f"{what}: {lock_step.mismatch or 'differences'}", mismatches, "mismatches", "=", 0),
            ]
    return rows
