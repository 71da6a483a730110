"""No request is left unanswered: adversarial traffic with every port stalling, for ten million clocks."""

from dataclasses import dataclass

from golden.config import preset
from golden.csr import reset_regions
from golden.events import EngineKind, Lane
from golden.metadata import Outcome, SlotKind
from sim.adversary import adversarial_operations, adversarial_registers, adversarial_rounds
from sim.bench_batch import run_checked
from sim.bench_row import Row
from tb.batch import BatchSettings
from tb.tops import batch_top

__all__ = ["Pressure", "progress"]

BENCH = "progress"
CLOCKS = 10_000_000
#: clocks that a message may take
MESSAGE_CLOCKS = 250_000
FLASH_READ_CLOCKS = 300
FLASH_PROGRAM_CLOCKS = 900
BURST_CLOCKS = 300
#: clocks between two rounds of register writes
ROUND_CLOCKS = 20_000
STEPS = 1000
SHORT_STEPS = 30


@dataclass
class Pressure:
    """Counts, from the records, how hard the endpoint was pressed."""

    config: object
    free: int = 0
    fewest_free: int = 0
    pins: int = 0
    most_pins: int = 0
    waived: int = 0
    dropped: int = 0

    def __post_init__(self):
        self.free = self.fewest_free = self.config.bypass_base

    def __call__(self, lane, fields):
        kind = fields["kind"]
        if lane == Lane.ENGINE:
            self.waived += kind == EngineKind.VICTIM and fields["aux"] >> 1 & 1
            return
        self.dropped += kind == SlotKind.ANSWER and fields["outcome"] == Outcome.UNWRITABLE
        if fields["outcome"] != Outcome.DONE:
            return
        if kind in (SlotKind.PROMOTE, SlotKind.ALLOCATE):
            self.free -= 1
            self.fewest_free = min(self.fewest_free, self.free)
        elif kind == SlotKind.EVICT:
            self.free += 1
        elif kind in (SlotKind.PIN, SlotKind.UNPIN):
            self.pins += 1 if kind == SlotKind.PIN else -1
            self.most_pins = max(self.most_pins, self.pins)


def progress(folder, *, clocks=CLOCKS, steps=STEPS, simulator="verilator", seed=1):
    """Rows of the bench. Raises `SimulationFailed` where a message is not answered in `MESSAGE_CLOCKS`."""
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
    seen, engine = lock_step.observer, lock_step.engine
    return [
        Row(BENCH, "clocks of adversarial traffic, every port stalling", outcome["clocks"], "clocks", ">=", clocks),
        Row(BENCH, "messages without an answer", outcome["issued"] - outcome["answered"],
            f"of {outcome['issued']:,}", "=", 0),
        Row(BENCH, "slowest message", outcome["slowest"], "clocks", "<=", MESSAGE_CLOCKS),
        Row(BENCH, "records compared in lock-step", lock_step.checked, "records", ">=", outcome["records"]),
        Row(BENCH, lock_step.mismatch or "differences", int(lock_step.mismatch is not None), "mismatches", "=", 0),
        Row(BENCH, "fewest free frames, reserve included", seen.fewest_free, "frames", "=", 0),
        Row(BENCH, "most blocks pinned at once", seen.most_pins, "blocks", "=", config.pin_cap),
        Row(BENCH, "evictions", engine[EngineKind.VICTIM], "blocks", ">=", 1),
        Row(BENCH, "evictions that waived an announcement", seen.waived, "blocks", ">=", 1),
        Row(BENCH, "reads past the pool", engine[EngineKind.BYPASS], "blocks", ">=", 1),
        Row(BENCH, "register writes refused under way", outcome["refused"], "writes", ">=", 1),
    ]  # fmt: skip
