"""The bundled trace with a host that may cache: the demand hit rate beside that of a host that does not."""

from kv_endpoint.golden.common.config import preset
from kv_endpoint.sim.bench.row import Row
from kv_endpoint.sim.run.run import prepare
from kv_endpoint.sim.settings import Settings
from kv_endpoint.sim.workload.load import load

__all__ = ["cacheable"]

BENCH = "cacheable"
WORKLOAD = "attention-a"
SHARES = (0.0, 0.5, 1.0)
#: what the hit rate may differ
DIFFERENCE = 0.005


def cacheable(folder, *, preset_name="small", workload=WORKLOAD, steps=None, frames_share=0.25):
    """All steps of the workload with no, half and all of the reads cacheable (some minutes): rows of hit rates."""
    rows, rates = [], {}
    for share in SHARES:
        run = prepare(
            config=preset(preset_name),
            workload=load(workload),
            settings=Settings(cacheable=share, steps=steps, frames_share=frames_share),
            simulator="verilator",
            out=folder / f"{share}",
            waves=False,
        )
        result, complaints = run.execute()
        for complaint in complaints:
            print(complaint, flush=True)
        name = f"{preset_name}, {run.workload.name}, {share:.0%} of reads cacheable"
        rates[share] = result["demand"]["hit_rate"]
        rows.append(Row(BENCH, f"{name}: demand hit rate", rates[share], ""))
        if share:
            seen, difference = result["coherency"], abs(rates[share] - rates[0.0])
            rows += [
                Row(BENCH, f"{name}: difference to the host that caches nothing", difference, "", "<=", DIFFERENCE),
                Row(BENCH, f"{name}: snoops", seen["snoops"], "snoops", ">=", 1),
                Row(BENCH, f"{name}: blocks recalled, sector by sector", seen["recalls"], "sectors"),
            ]
        rows += [
            Row(BENCH, f"{name}: mismatches", result["golden"]["mismatches"], "records", "=", 0),
            Row(BENCH, f"{name}: other errors", sum(result["errors"].values()), "errors", "=", 0),
        ]
    return rows
