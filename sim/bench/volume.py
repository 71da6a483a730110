"""Golden lock-step over many records on both simulators, which must record the same."""

from kv_endpoint.golden.common.config import preset
from kv_endpoint.sim.bench.row import Row
from kv_endpoint.sim.run.run import prepare
from kv_endpoint.sim.settings import Settings
from kv_endpoint.sim.workload.load import load
from kv_endpoint.tb.checks.recorded import EVENTS

__all__ = ["lock_step"]

BENCH = "lock_step"
WORKLOAD = "attention-a"
VERILATOR_RECORDS = 200_000
ICARUS_RECORDS = 20_000
#: steps of the workload that give as many records
ICARUS_STEPS = 60


def _run(simulator, steps, out):
    run = prepare(
        config=preset("small"),
        workload=load(WORKLOAD),
        settings=Settings(steps=steps),
        simulator=simulator,
        out=out,
        waves=False,
    )
    result, complaints = run.execute()
    for complaint in complaints:
        print(complaint, flush=True)
    return result


def lock_step(folder):
    """The whole workload on Verilator, its beginning on both simulators (some minutes): rows of records compared."""
    rows = []
    for name, simulator, steps, least in (
        ("Verilator, all steps", "verilator", None, VERILATOR_RECORDS),
        (f"Icarus, {ICARUS_STEPS} steps", "icarus", ICARUS_STEPS, ICARUS_RECORDS),
        (f"Verilator, {ICARUS_STEPS} steps", "verilator", ICARUS_STEPS, ICARUS_RECORDS),
    ):
        result = _run(simulator, steps, folder / f"{simulator}-{steps or 'all'}")
        rows += [
            Row(BENCH, f"small, {WORKLOAD}, {name}: records compared", result["golden"]["checked"], "records", ">=",
                least),
            Row(BENCH, f"small, {WORKLOAD}, {name}: mismatches", result["golden"]["mismatches"], "records", "=", 0),
            Row(BENCH, f"small, {WORKLOAD}, {name}: other errors", sum(result["errors"].values()), "errors", "=", 0),
        ]  # fmt: skip
    files = [folder / f"{simulator}-{ICARUS_STEPS}" / EVENTS for simulator in ("verilator", "icarus")]
    texts = [file.read_bytes() for file in files]
    return [
        *rows,
        Row(BENCH, f"small, {WORKLOAD}, {ICARUS_STEPS} steps: event files of both simulators are the same bytes",
            int(texts[0] == texts[1]), f"of {len(texts[0]):,} bytes", "=", 1),
    ]  # fmt: skip
