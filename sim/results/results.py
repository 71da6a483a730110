"""`results.json`: what a run found, in a versioned schema (`docs/results.md`) that later releases only add to.

A value that this kind of run cannot measure is null.
"""

import json
import os
from pathlib import Path

import numpy as np

from kv_endpoint.golden.common.config import LINE_BYTES
from kv_endpoint.golden.common.line_access import Grant
from kv_endpoint.golden.common.messages import DevLoad
from kv_endpoint.golden.events.port import Phase
from kv_endpoint.sim.results.baselines import baselines
from kv_endpoint.sim.results.provenance import provenance

__all__ = ["NAME", "SCHEMA", "failed", "results", "write_atomically"]

SCHEMA = 4
NAME = "results.json"
PERCENTILES = {"p50": 50, "p95": 95, "p99": 99, "max": 100}


def _latency(latencies):
    if not latencies:
        return dict.fromkeys(PERCENTILES)
    # Observed values only: the smallest one that so many messages stay within.
    values = np.percentile(np.asarray(latencies), list(PERCENTILES.values()), method="inverted_cdf")
    return {name: int(value) for name, value in zip(PERCENTILES, values, strict=True)}


def _loads(loads):
    return {load.name.lower(): None if loads is None else loads[load] for load in DevLoad}


def _per(amount, over):
    return amount / over if amount is not None and over else None


def _coherency(measured, cached):
    """What hosts' copies came to; null where there can be none, or where the run cannot know."""
    statistics, seen = measured.statistics, measured.coherency
    known = cached and seen is not None
    return {
        "grants_shared": statistics.grants[Grant.CMP_S] if known else None,
        "grants_exclusive": statistics.grants[Grant.CMP_E] if known else None,
        "snoops": seen["snoops"] if known else None,
        "snoops_in_flight_max": seen["snoops_most"] if known else None,
        "snoops_in_flight_mean": _per(seen["snoop_clocks_total"], measured.cycles) if known else None,
        "recalls": statistics.recalls if known else None,
        "held_requests": seen["held"] if known else None,
        "held_clocks_mean": _per(seen["held_clocks"], seen["held"]) if known else None,
        "held_clocks_max": seen["held_longest"] if known else None,
        "conflicts_early": seen["conflicts_early"] if known else None,
        "conflicts_late": seen["conflicts_late"] if known else None,
    }


def _fates(fates):
    return {source.name.lower(): fate.as_dict() for source, fate in fates.items()}


def _weights(weights, statistics):
    """The section of a run with weights: what became of their blocks, which count nowhere in `demand`."""
    others = statistics.others
    return {
        "layers": weights.layers,
        "blocks": weights.total,
        "heads": len(weights.heads),
        "frames": weights.frames,
        "ahead": weights.ahead,
        "reads": {"hits": others.hits, "misses": others.misses, "hit_rate": others.hit_rate},
        "prefetch": _fates(statistics.prefetches.fates_apart),
        "evictions": others.evictions,
        "bypasses": others.bypasses,
        "flash": {"pages_read": others.pages_read, "pages_written": others.pages_written},
    }


def results(*, config, simulator, workload, settings, timing, measured, weights=None, source=None):
    """The contents of `results.json`; `weights` is a `sim.workload.weights.Weights` where the run has some.

    `source` says more of where it comes from: the command, and the workload's path and hash. All that differs between
    two runs of the same input and seed is below `provenance`.
    """
    statistics = measured.statistics
    steps = settings.run_steps(workload)
    frames = settings.frames(workload, config)
    return {
        "schema": SCHEMA,
        "preset": config.name,
        "simulator": simulator,
        "seed": settings.seed,
        "settings": settings.as_dict(steps),
        "timing": timing.as_dict(),
        "frames": frames,
        "workload": {
            "name": workload.name,
            "steps": workload.steps,
            "heads": workload.heads,
            "blocks": workload.blocks,
            "renumbered": workload.renumbered,
        },
        "cycles": measured.cycles,
        "requests": statistics.requests,
        "slots_per_cycle": _per(statistics.slots, measured.cycles),
        "events": statistics.events,
        "golden": {
            "checked": measured.checked,
            "mismatches": int(measured.mismatch is not None),
            "first_mismatch": measured.mismatch,
        },
        "demand": {
            "hits": statistics.hits,
            "misses": statistics.misses,
            "first_writes": statistics.first_writes,
            "hit_rate": statistics.hit_rate,
        },
        "baselines": baselines(
            statistics.touches, frames=frames, heads=workload.heads, per_head=settings.pool == "per-head"
        ),
        "evictions": {
            "count": statistics.evictions,
            "exact": measured.exact_victims,
            "last": list(statistics.last_victims),
        },
        "bypasses": statistics.bypasses,
        "prefetch": _fates(statistics.prefetches.fates),
        **({"weights": _weights(weights, statistics)} if weights else {}),
        "phase": {
            "changes": statistics.phase_changes,
            "steps": {phase.name.lower(): statistics.steps_in[phase] for phase in Phase},
        },
        "devload": _loads(measured.loads),
        "coherency": _coherency(measured, settings.cacheable > 0),
        "ddr": {
            "bytes_read": measured.ddr_bytes_read,
            "bytes_written": measured.ddr_bytes_written,
            "port_bytes_read": measured.port_bytes_read,
            "port_bytes_written": measured.port_bytes_written,
            "read_per_host_byte": _per(measured.port_bytes_read, measured.host_reads * LINE_BYTES),
            "written_per_host_byte": _per(measured.port_bytes_written, measured.host_writes * LINE_BYTES),
        },
        "flash": {"pages_read": statistics.pages_read, "pages_written": statistics.pages_written},
        "host": {
            "bytes_read": measured.host_reads * LINE_BYTES,
            "bytes_written": measured.host_writes * LINE_BYTES,
        },
        "latency_clocks": _latency(measured.latencies),
        "reads_compared": measured.reads_compared,
        "errors": dict(sorted((measured.errors + statistics.errors).items())),
        "provenance": {
            **provenance(),
            **(source or {}),
            "wall_seconds": round(measured.wall_seconds, 3),
            "cycles_per_second": _per(measured.cycles, measured.wall_seconds),
        },
    }


def failed(result):
    """Whether a run with this result has not succeeded."""
    return bool(result["golden"]["mismatches"] or any(result["errors"].values()))


def write_atomically(folder, result):
    """Write `results.json` so that a reader sees the whole of it or none of it."""
    path = Path(folder) / NAME
    temporary = path.with_name(f".{NAME}.{os.getpid()}")
    try:
        with open(temporary, "w") as file:
            json.dump(result, file, indent=2, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
