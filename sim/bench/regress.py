"""The random regression of coherency: caching hosts that race with the endpoint, every record and datum compared."""

from dataclasses import replace

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import EngineKind, Lane
from kv_endpoint.golden.front.address import hint_address
from kv_endpoint.golden.front.hints import pack_hint
from kv_endpoint.golden.host.operations import wait, write
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.golden.registers.rules import control, reset_regions
from kv_endpoint.sim.bench.batch import run_checked
from kv_endpoint.sim.bench.row import Row
from kv_endpoint.sim.run.progress import RequestProgress
from kv_endpoint.sim.run.rtl import pool_register
from kv_endpoint.tb.runs.batch import BatchSettings
from kv_endpoint.tb.runs.tops import batch_top
from kv_endpoint.tb.stimuli.caching import CachingHosts

__all__ = ["Recalls", "regress"]

BENCH = "regress"
REQUESTS = 1_000_000
#: how often each must happen in so many requests; in fewer, in proportion
REQUIRED = {
    "early conflicts": 1_000,
    "late conflicts": 1_000,
    "snoops for a way of the filter": 5_000,
    "demotions of blocks of which hosts held a part": 1_000,
}
#: clocks from one step to the next, and requests a clock at most, from which the number of steps follows
STEP_CLOCKS = 2_000
REQUESTS_PER_CLOCK = 0.08
STEPS_MAX = 5_000
HINTED_BLOCKS = 6
#: blocks that the hosts use: all of a small build, some more than there are frames
BLOCKS = 64
#: parts of the regression: hosts, mode of their region (what is shared is exact), whether ports pause
PARTS = (
    (1, Mode.EXACT, False), (1, Mode.EXACT, True), (1, Mode.MXINT8, True), (2, Mode.EXACT, False),
    (2, Mode.EXACT, True),
)  # fmt: skip
#: clocks that a message may take
MESSAGE_CLOCKS = 200_000
#: clocks between two looks at the simulation: some seconds
POLL_CLOCKS = {"verilator": 20_000, "icarus": 1_000}


class Recalls:
    """Counts, from the records, blocks that left after sectors of theirs were asked back, and why snoops began."""

    def __init__(self):
        self._recalled = set()
        self.blocks = self.snoops = self.asked_back = 0

    def __call__(self, lane, fields):
        kind, where = fields["kind"], (fields["head"], fields["block"])
        if lane == Lane.ENGINE:
            self.snoops += kind == EngineKind.BI_SNOOP
            if kind == EngineKind.BI_RECALL:
                self._recalled.add(where)
            self.asked_back += kind in (EngineKind.BI_RECALL, EngineKind.BI_SCRUB)
        elif kind == SlotKind.DEMOTE and fields["outcome"] == Outcome.DONE and where in self._recalled:
            self._recalled.discard(where)
            self.blocks += 1


def _hints(config, region, steps):
    """Steps that announce some blocks, in turns."""
    for step in range(1, steps + 1):
        head = region.first_head + step % region.heads
        blocks = [(step + 3 * i) % config.blocks_per_head for i in range(HINTED_BLOCKS)]
        yield write(
            hint_address(config, region, head), pack_hint(step, [(b, 1000 * (b + 1)) for b in sorted(set(blocks))])
        )
        yield wait(STEP_CLOCKS)


def _settings(config, region, requests, seed, pauses, poll_clocks):
    hosts = CachingHosts(
        requests=requests,
        base=region.base,
        blocks=BLOCKS,
        block_step=config.blocks // BLOCKS,
        lines=8,
        seed=seed,
        near=200,
        snoop_max=40,
        link_max=40,
        shared=config.hosts > 1,
    )
    return BatchSettings(
        registers=[
            ("REGION[0].CTRL", control(region)),
            (pool_register(region.mode), config.pool_frames_min_cached),
        ],
        flash_read_clocks=100,
        flash_program_clocks=150,
        pause_seed=seed if pauses else 0,
        hosts=hosts,
        record_data=False,
        message_clocks=MESSAGE_CLOCKS,
        watchdog_clocks=MESSAGE_CLOCKS,
        poll_clocks=poll_clocks,
    )


def regress(folder, *, requests=REQUESTS, simulator="verilator", seed=1, seeds=1, parts=PARTS):
    """A million requests a seed of one host and of two that share, with and without pauses (minutes a seed): rows.

    `seed` is the first of `seeds`. Each part of a seed has a seed of its own, and no two share one.
    """
    rows = []
    for number in range(seeds):
        rows += _one_seed(folder / str(number), requests, simulator, seed + number * len(parts), parts)
    return rows


def _one_seed(folder, requests, simulator, seed, parts):
    seen = dict.fromkeys(REQUIRED, 0)
    issued = unanswered = records = compared = 0
    mismatches = []
    requests_of_part = -(-requests // len(parts))
    progress = RequestProgress(requests_of_part * len(parts))
    progress.say(f"{simulator}: building, unless it has been built before")
    configs = {hosts: preset("tiny", hosts=hosts) for hosts, _, _ in parts}
    tops = {hosts: batch_top(simulator, config) for hosts, config in configs.items()}
    progress.start()
    for number, (hosts, mode, pauses) in enumerate(parts):
        config = configs[hosts]
        region = replace(reset_regions(config)[0], cached=True, hosts=(1 << hosts) - 1, mode=mode)
        part_seed = seed + number
        given = _settings(config, region, requests_of_part, part_seed, pauses, POLL_CLOCKS[simulator])
        steps = min(STEPS_MAX, int(given.hosts.requests / REQUESTS_PER_CLOCK / STEP_CLOCKS))
        name = f"{hosts} host{'s' * (hosts > 1)}, {mode.name.lower()}{', pauses' * pauses}"
        print(f"  {name}: seed {part_seed}", flush=True)
        outcome, lock_step = run_checked(
            tops[hosts],
            config,
            _hints(config, region, steps),
            given,
            folder / str(number),
            seed=part_seed,
            observer=Recalls(),
            watch=progress.show,
        )
        progress.end_run(outcome)
        counts, recalls = outcome["hosts"], lock_step.observer
        issued += counts["issued"]
        unanswered += outcome["issued"] - outcome["answered"]
        records += lock_step.checked
        compared += counts["fills"] + counts["hits"]
        seen["early conflicts"] += counts["early"]
        seen["late conflicts"] += counts["late"]
        seen["demotions of blocks of which hosts held a part"] += recalls.blocks
        if hosts == 1:
            # Of one host, nothing else asks for snoops.
            seen["snoops for a way of the filter"] += recalls.snoops - recalls.asked_back
        if lock_step.mismatch is not None:
            mismatches.append(f"{name}, seed {part_seed}: {lock_step.mismatch}")
    what = f"tiny, {simulator}, seed {seed}"
    return [
        Row(BENCH, f"{what}: requests of hosts that cache", issued, "requests", ">=", requests),
        *(
            Row(BENCH, f"{what}: {event}", seen[event], "times", ">=", least * requests // REQUESTS)
            for event, least in REQUIRED.items()
        ),
        Row(BENCH, f"{what}: requests without an answer", unanswered, f"of {issued:,}", "=", 0),
        Row(BENCH, f"{what}: reads and hits whose data was compared", compared, "reads", ">=", requests // 2),
        Row(BENCH, f"{what}: records compared in lock-step", records, "records", ">=", requests),
        Row(BENCH, "; ".join(mismatches) or f"{what}: mismatches of any kind", len(mismatches), "parts", "=", 0),
    ]
