"""Coherency: requests a clock of a host that streams and drops, beside snoops that nobody answers, and read latency."""

from dataclasses import replace

from kv_endpoint.golden.coherency.filter import set_of
from kv_endpoint.golden.common.config import LINES_PER_BLOCK, SECTOR_LINES, preset
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK
from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.events.port import Lane, unpack
from kv_endpoint.golden.front.address import encode
from kv_endpoint.golden.host.operations import fence_all, read, read_shared, write
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.golden.registers.rules import reset_regions
from kv_endpoint.sim.bench.batch import run_checked
from kv_endpoint.sim.bench.row import Row
from kv_endpoint.sim.run.rtl import register_writes
from kv_endpoint.tb.checks.recorded import EVENTS, MESSAGES, Answer, read_messages
from kv_endpoint.tb.runs.batch import SLOTS, BatchSettings
from kv_endpoint.tb.runs.tops import batch_top

__all__ = ["coherency", "granted_per_clock"]

BENCH = "coherency"
REQUIRED_STREAMING = 0.85
#: blocks that are streamed: many times the lines of the filter; how often
STREAM_BLOCKS = 32
ROUNDS = 3
#: (clocks to an answer, snoops in flight at once, whether the number is required)
STREAMS = ((16, 16, True), (64, 16, True), (128, 32, False), (256, 32, False))
#: snoops that stay unanswered, and what requests to other lines may lose by them
OUTSTANDING = 16
LOSS = 0.05
READS = 20_000
#: longer than the run
NEVER_CLOCKS = 60_000
LATENCY_READS = 64


def _region(config, cached):
    return replace(reset_regions(config)[0], cached=cached)


def _given(config, *, cached=True, snoop_limit=None, snoop_clocks=64, memory_latency=1):
    registers = register_writes(Policy(), config.pool_frames_max, {}, cached=cached)
    if snoop_limit is not None:
        registers.append(("SNOOP_LIMIT", snoop_limit))
    return BatchSettings(
        registers=registers,
        memory_latency=memory_latency,
        max_reads=config.read_slots,
        max_writes=config.write_slots,
        record_data=False,
        record_clocks=True,
        snoop_clocks=snoop_clocks,
    )


def granted_per_clock(config, folder, skip=0):
    """READs that found their line a clock, from the first to the last of them; the first `skip` are left out."""
    clocks = iter((folder / SLOTS).read_text().split())
    found = []
    for record in (folder / EVENTS).read_text().splitlines():
        letter, payload = record.split()
        if letter == "E":
            continue
        clock, fields = int(next(clocks)), unpack(config, Lane.SLOT, int(payload, 16))
        if fields["kind"] == SlotKind.READ and fields["outcome"] == Outcome.HIT:
            found.append(clock)
    found = found[skip:]
    return len(found) / (found[-1] - found[0] + 1)


def _written(places):
    for number, place in enumerate(places):
        yield write(place, number + 1)
    yield fence_all()


def _streaming(config):
    """Write blocks that all have frames, and read them in order, again and again."""
    region = _region(config, True)
    blocks = min(STREAM_BLOCKS, config.blocks_per_head)
    places = [encode(config, region, 0, block, line) for block in range(blocks) for line in range(LINES_PER_BLOCK)]
    yield from _written(places[::LINES_PER_BLOCK])
    for _ in range(ROUNDS):
        yield from map(read_shared, places)


def _sectors_by_set(config, sets):
    """`filter_ways` sectors of each of so many sets, as (head, block, sector of the block)."""
    found = {number: [] for number in range(sets)}
    for sector in range(config.blocks * SECTORS_PER_BLOCK):
        of_set = found.get(set_of(config, sector))
        if of_set is not None and len(of_set) < config.filter_ways:
            of_set.append(config.split_sector(sector))
    return list(found.values())


def _outstanding(config):
    return min(OUTSTANDING, config.snoops, config.filter_sets)


def _beside_snoops(config, with_snoops, reads):
    """Fill sets of the filter, to the last way if snoops are to begin; then read lines that these do not concern.

    By turns such that the host keeps, and such that it does not ask to keep.
    """
    region = _region(config, True)
    sets = _sectors_by_set(config, _outstanding(config))

    def lines(sectors):
        return [
            encode(config, region, head, block, sector * SECTOR_LINES + line)
            for line in range(SECTOR_LINES)
            for head, block, sector in sectors
        ]

    used = {sector for sectors in sets for sector in sectors}
    blocks = sorted({(head, block) for head, block, _ in used})
    yield from _written([encode(config, region, *block, 0) for block in blocks])
    for sectors in sets:
        yield from map(read_shared, lines(sectors[:-1]))
    yield fence_all()
    if with_snoops:
        yield from map(read_shared, lines([sectors[-1] for sectors in sets]))
        yield fence_all()
    # The first way of a set is the first that is asked back.
    kept = lines([sector for sectors in sets for sector in sectors[1:-1]])
    others = lines([(*block, sector) for block in blocks for sector in range(SECTORS_PER_BLOCK)
                    if (*block, sector) not in used])  # fmt: skip
    for number in range(reads // 2):
        yield read_shared(kept[number % len(kept)]) if kept else read(others[-1 - number % len(others)])
        yield read(others[number % len(others)])


def _alone(config, how):
    """Reads of resident lines, each alone; `how` makes the operation."""
    region = _region(config, True)
    places = [encode(config, region, 0, 0, line) for line in range(LATENCY_READS)]
    yield from _written(places[:1])
    for place in places:
        yield how(place)
        yield fence_all()


def _latencies(folder):
    """Clocks from each read's offer to its last response."""
    seen = {}
    for message in read_messages(folder / MESSAGES):
        if isinstance(message, Answer):
            seen[message.number] = max(message.latency, seen.get(message.number, 0))
    return [seen[number] for number in sorted(seen)][1:]


def coherency(folder, *, preset_name="small", simulator="verilator", reads=READS):
    """A host that may cache: streaming, requests beside unanswered snoops, latency without a snoop: rows.

    `reads` requests come beside the snoops.
    """
    config = preset(preset_name)
    built = batch_top(simulator, config)
    rows, mismatches = [], []

    def play(name, operations, given):
        outcome, lock_step = run_checked(built, config, operations, given, folder / name)
        if lock_step.mismatch is not None:
            mismatches.append(f"{name}: {lock_step.mismatch}")
        return outcome, folder / name

    for clocks, limit, is_required in STREAMS:
        given = _given(config, snoop_limit=min(limit, config.snoops), snoop_clocks=clocks)
        outcome, run_folder = play(f"stream-{clocks}", _streaming(config), given)
        # The filter fills without a snoop: what comes later is the steady state.
        rate = granted_per_clock(config, run_folder, skip=LINES_PER_BLOCK * STREAM_BLOCKS // 2)
        name = f"{preset_name}, stream, answers after {clocks} clocks, {limit} snoops at once"
        required = (">=", REQUIRED_STREAMING) if is_required else ()
        rows.append(Row(BENCH, f"{name}: requests a clock", rate, "requests/clock", *required))
        rows.append(Row(BENCH, f"{name}: most snoops in flight", outcome["coherency"]["snoops_most"], "snoops"))

    rates = {}
    for with_snoops in (False, True):
        given = _given(config, snoop_clocks=NEVER_CLOCKS)
        outcome, run_folder = play(f"beside-{with_snoops}", _beside_snoops(config, with_snoops, reads), given)
        rates[with_snoops] = granted_per_clock(config, run_folder, skip=-reads)
    most = outcome["coherency"]["snoops_most"]
    name = f"{preset_name}, requests a clock while {_outstanding(config)} snoops are not answered"
    rows += [
        Row(BENCH, f"{name}: part of those without", rates[True] / rates[False], "", ">=", 1 - LOSS),
        Row(BENCH, f"{name}: requests a clock without", rates[False], "requests/clock"),
        Row(BENCH, f"{name}: snoops that were not answered", most, "snoops", "=", _outstanding(config)),
    ]

    worst = {}
    for name, cached, how in (("uncached", False, read), ("cached", True, read_shared)):
        _, run_folder = play(f"latency-{name}", _alone(config, how), _given(config, cached=cached))
        worst[name] = max(_latencies(run_folder))
    rows += [
        Row(BENCH, f"{preset_name}: clocks of a read that may be cached and needs no snoop", worst["cached"], "clocks",
            "<=", worst["uncached"]),
        Row(BENCH, f"{preset_name}: " + ("; ".join(mismatches) or "mismatches in lock-step"), len(mismatches), "runs",
            "=", 0),
    ]  # fmt: skip
    return rows
