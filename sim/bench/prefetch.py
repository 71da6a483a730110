"""Prefetch: what each setting does to the demand hit rate, and what time between announcement and reads is worth."""

from collections import Counter

from kv_endpoint.golden.common.config import preset
from kv_endpoint.sim.bench.row import Row
from kv_endpoint.sim.run.run import prepare
from kv_endpoint.sim.settings import PREFETCH, Settings
from kv_endpoint.sim.workload.load import load

__all__ = ["prefetch"]

BENCH = "prefetch"
#: clocks that the host announces ahead of its reads; a page takes 500
LEAD = "1,000 clocks ahead"
#: what is run with every setting of --prefetch
CASES = {
    "25 % of frames": {},
    f"25 % of frames, {LEAD}": {"announce_lead": 1000},
    "12.5 % of frames": {"frames_share": 0.125},
    "25 % of frames, pool per head": {"pool": "per-head"},
    "25 % of frames, prefill of half by 64": {"prefill": 256},
}
#: most that any setting may take from the demand hit rate
TOLERANCE = 0.002


def _run(folder, workload, settings):
    run = prepare(
        config=preset("small"), workload=workload, settings=settings, simulator="verilator", out=folder, waves=False
    )
    result, complaints = run.execute()
    for complaint in complaints:
        print(complaint, flush=True)
    return result


def _fates(result):
    """What became of the prefetches of all sources."""
    counts = Counter()
    for fate in result["prefetch"].values():
        counts.update({end: fate[end] for end in ("issued", "useful", "late", "unused")})
    return ", ".join(f"{count:,} {end}" for end, count in counts.items())


def prefetch(folder, *, workload="attention-a"):
    """Every setting of --prefetch on the whole workload at `small` (some minutes): rows of demand hit rates."""
    trace, rows, wrong = load(workload), [], 0
    best = None
    for number, (case, settings) in enumerate(CASES.items()):
        for sources in PREFETCH:
            if sources == "streams" and "prefill" not in settings:
                # Decode reads nothing in an order that is known before.
                continue
            result = _run(folder / f"{number}-{sources}", trace, Settings(prefetch=sources, **settings))
            wrong += result["golden"]["mismatches"] + sum(result["errors"].values())
            rate = result["demand"]["hit_rate"]
            name = f"{trace.name}, {case}, prefetch {sources}"
            if sources == "off":
                without = rate
                best = result["baselines"]["belady_bypass"] if best is None else best
                rows.append(Row(BENCH, f"{name}: demand hit rate", rate, ""))
                continue
            name += f": demand hit rate ({_fates(result)})"
            rows.append(Row(BENCH, name, rate, "", ">=", without - TOLERANCE))
            if LEAD in case and sources == "announced":
                name = f"{trace.name}, {case}, announced: gain on Belady with bypass without prefetch, {best:.3f}"
                rows.append(Row(BENCH, name, rate - best, "", ">=", 0))
    return [*rows, Row(BENCH, "mismatches and errors in these runs", wrong, "records", "=", 0)]
