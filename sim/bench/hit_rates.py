"""The bundled trace through the RTL: demand hit rate beside Belady with bypass, and evictions beside brute force."""

from kv_endpoint.golden.common.config import preset
from kv_endpoint.sim.bench.row import Row
from kv_endpoint.sim.run.run import prepare
from kv_endpoint.sim.settings import Settings
from kv_endpoint.sim.workload.load import load

__all__ = ["hit_rates"]

BENCH = "hit_rates"
WORKLOAD = "attention-a"
#: pool, share of frames, part of the hit rate of Belady with bypass that must be reached
SETTINGS = (
    ("shared", 0.25, 0.95),
    ("shared", 0.125, 0.88),
    ("per-head", 0.25, 0.97),
    ("per-head", 0.125, 0.95),
)


def hit_rates(folder):
    """Rows of the bench: each pool at two sizes, all steps of the workload on Verilator."""
    rows = []
    for pool, share, required in SETTINGS:
        run = prepare(
            config=preset("small"),
            workload=load(WORKLOAD),
            settings=Settings(pool=pool, frames_share=share),
            simulator="verilator",
            out=folder / f"{pool}-{share}",
            waves=False,
        )
        result, complaints = run.execute()
        for complaint in complaints:
            print(complaint, flush=True)
        name = f"small, {WORKLOAD}, {pool} pool, {share:.1%} of frames"
        rate, best = result["demand"]["hit_rate"], result["baselines"]["belady_bypass"]
        evictions = result["evictions"]
        rows += [
            Row(BENCH, f"{name}: demand hit rate", rate, ""),
            Row(BENCH, f"{name}: part of Belady with bypass, {best:.3f}", rate / best, "", ">=", required),
            Row(BENCH, f"{name}: evictions as brute force says, of {evictions['count']:,}", evictions["exact"],
                "evictions", "=", evictions["count"]),
            Row(BENCH, f"{name}: mismatches", result["golden"]["mismatches"], "records", "=", 0),
            Row(BENCH, f"{name}: other errors", sum(result["errors"].values()), "errors", "=", 0),
        ]  # fmt: skip
    return rows
