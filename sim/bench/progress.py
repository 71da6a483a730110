"""No request is left unanswered: adversarial traffic with every port stalling, for ten million clocks."""

from collections import Counter

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.events.port import EngineKind, Lane
from kv_endpoint.golden.pipeline.metadata import FLAGS, SlotKind
from kv_endpoint.golden.pipeline.tracker import holds_frame
from kv_endpoint.golden.registers.rules import reset_regions
from kv_endpoint.sim.bench.batch import run_checked
from kv_endpoint.sim.bench.row import Row
from kv_endpoint.sim.host.adversary import adversarial_operations, adversarial_registers, adversarial_rounds
from kv_endpoint.tb.runs.batch import BatchSettings
from kv_endpoint.tb.runs.tops import batch_top

__all__ = ["Pressure", "progress"]

BENCH = "progress"
PINNED = FLAGS.index("pinned")
CLOCKS = 10_000_000
#: clocks that a message may take
MESSAGE_CLOCKS = 100_000
FLASH_READ_CLOCKS = 300
FLASH_PROGRAM_CLOCKS = 900
BURST_CLOCKS = 300
#: clocks between two rounds of register writes
ROUND_CLOCKS = 20_000
STEPS = 1000
SHORT_STEPS = 30


class Pressure:
    """Counts, from the records, how hard the endpoint was pressed.

    Attributes
    ----------
    reserve : int
        Blocks that were given a frame although the pool was full or their head had its most: writes without a victim.
    most_pins : int
        Blocks pinned at once, at most.
    waived : int
        Victims that were announced and not yet touched.
    """

    def __init__(self, config):
        self._pool, self._held = config.pool_frames_max, 0
        self._of_head = Counter()
        self._most = dict.fromkeys(range(config.heads), config.pool_frames_max)
        self._pins = 0
        self.reserve = self.most_pins = self.waived = 0

    def __call__(self, lane, fields):
        if lane == Lane.ENGINE:
            self._note(fields)
        else:
            self._slot(fields)

    def _note(self, fields):
        kind = fields["kind"]
        if kind == EngineKind.VICTIM:
            self.waived += fields["aux"] >> 1 & 1
        elif kind == EngineKind.POOL:
            self._pool = fields["aux"]
        elif kind == EngineKind.QUOTA:
            self._most[fields["head"]] = fields["key"]

    def _slot(self, fields):
        kind, head = fields["kind"], fields["head"]
        if kind == SlotKind.ANSWER:
            return
        if kind in (SlotKind.PROMOTE, SlotKind.ALLOCATE):
            self.reserve += self._held >= self._pool or self._of_head[head] >= self._most[head]
        change = holds_frame(fields["state_after"]) - holds_frame(fields["state_before"])
        self._held += change
        self._of_head[head] += change
        self._pins += (fields["flags_after"] >> PINNED & 1) - (fields["flags_before"] >> PINNED & 1)
        self.most_pins = max(self.most_pins, self._pins)


def progress(folder, *, clocks=CLOCKS, steps=STEPS, simulator="verilator", seed=1):
    """Adversarial traffic with every port stalling (some minutes for ten million clocks): rows of what was answered.

    Raises `SimulationFailed` where a message is not answered in `MESSAGE_CLOCKS`.
    """
    config = preset("tiny")
    given = BatchSettings(
        registers=adversarial_registers(config),
        rounds=adversarial_rounds(config),
        flash_read_clocks=FLASH_READ_CLOCKS,
        flash_program_clocks=FLASH_PROGRAM_CLOCKS,
        max_reads=config.read_slots,
        max_writes=config.write_slots,
        pause_seed=seed,
        burst_clocks=BURST_CLOCKS,
        record_data=False,
        play_clocks=clocks,
        message_clocks=MESSAGE_CLOCKS,
        poll_clocks=ROUND_CLOCKS,
    )
    operations = adversarial_operations(config, reset_regions(config)[0], seed=seed, steps=steps)
    outcome, lock_step = run_checked(
        batch_top(simulator, config), config, operations, given, folder, seed=seed, observer=Pressure(config)
    )
    seen, engine = lock_step.observer, lock_step.statistics.engine
    return [
        Row(BENCH, "clocks of adversarial traffic, every port stalling", outcome["clocks"], "clocks", ">=", clocks),
        Row(BENCH, "messages without an answer", outcome["issued"] - outcome["answered"],
            f"of {outcome['issued']:,}", "=", 0),
        Row(BENCH, "slowest message", outcome["slowest"], "clocks", "<=", MESSAGE_CLOCKS),
        Row(BENCH, "records compared in lock-step", lock_step.checked, "records", ">=", outcome["records"]),
        Row(BENCH, lock_step.mismatch or "differences", int(lock_step.mismatch is not None), "mismatches", "=", 0),
        Row(BENCH, "most blocks pinned at once", seen.most_pins, "blocks", "=", config.pin_cap),
        Row(BENCH, "blocks that left for another one", engine[EngineKind.VICTIM], "blocks", ">=", 1),
        Row(BENCH, "writes that took a frame of the reserve", seen.reserve, "blocks", ">=", 1),
        Row(BENCH, "victims that waived an announcement", seen.waived, "blocks", ">=", 1),
        Row(BENCH, "reads past the pool", engine[EngineKind.BYPASS], "blocks", ">=", 1),
        Row(BENCH, "register writes refused under way", outcome["refused"], "writes", ">=", 1),
    ]  # fmt: skip
