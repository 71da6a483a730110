"""`results.json`: its keys, its arithmetic, that it appears whole or not at all; and the summary made from it."""

import json
from collections import Counter

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import Access, Grant, Retry
from kv_endpoint.golden.common.messages import DevLoad
from kv_endpoint.golden.events.port import EngineKind, ErrorKind, Lane, Phase, PrefetchSource, record_fields
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.sim.host.regions import weights_of
from kv_endpoint.sim.results.report import summary
from kv_endpoint.sim.results.results import failed, results, write_atomically
from kv_endpoint.sim.results.statistics import Statistics
from kv_endpoint.sim.run.measured import Measured
from kv_endpoint.sim.run.timing import SCALED_TIMING
from kv_endpoint.sim.settings import Settings, SettingsError
from kv_endpoint.sim.workload.load import load

SMALL = preset("small")
#: schema 4; all of schemas 1 to 3 is in it, two times below `provenance`
KEYS = {
    "schema": None, "preset": None, "simulator": None, "seed": None,
    "settings": {"priority", "pool", "announce", "score", "alpha", "gain", "coverage", "bypass", "protect",
                 "frames_share", "lines_per_read", "steps", "mode", "prefetch", "announce_lead", "prefill",
                 "prefill_chunk", "throttle", "cacheable", "snoop_clocks"},
    "timing": {"clock_ns", "ddr_clocks", "flash_read_clocks", "flash_program_clocks", "scaled"},
    "frames": None,
    "workload": {"name", "steps", "heads", "blocks", "renumbered"},
    "cycles": None, "requests": None, "slots_per_cycle": None,
    "events": None,
    "golden": {"checked", "mismatches"},
    "demand": {"hits", "misses", "first_writes", "hit_rate"},
    "baselines": {"lru", "lfu", "belady", "belady_bypass"},
    "evictions": {"count", "exact", "last"},
    "bypasses": None,
    "ddr": {"bytes_read", "bytes_written", "port_bytes_read", "port_bytes_written", "read_per_host_byte",
            "written_per_host_byte"},
    "prefetch": {"announced", "window", "stream"},
    "phase": {"changes", "steps"},
    "devload": {"light", "optimal", "moderate", "severe"},
    "coherency": {"grants_shared", "grants_exclusive", "snoops", "snoops_in_flight_max", "snoops_in_flight_mean",
                  "recalls", "held_requests", "held_clocks_mean", "held_clocks_max", "conflicts_early",
                  "conflicts_late"},
    "flash": {"pages_read", "pages_written"},
    "host": {"bytes_read", "bytes_written"},
    "latency_clocks": {"p50", "p95", "p99", "max"},
    "errors": set(),
    "provenance": {"version", "revision", "date", "system", "processor", "cores", "python", "wall_seconds",
                   "cycles_per_second"},
}  # fmt: skip


def record(lane, **fields):
    return dict.fromkeys((name for name, _ in record_fields(SMALL, lane)), 0) | fields


def touch(outcome, block, kind=SlotKind.READ):
    return Lane.SLOT, record(Lane.SLOT, kind=kind, outcome=outcome, touch=1, block=block)


def note(kind, **fields):
    return Lane.ENGINE, record(Lane.ENGINE, kind=kind, **fields)


RECORDS = [
    note(EngineKind.STEP, aux=3),
    touch(Outcome.FIRST_WRITE, 0, SlotKind.WRITE),
    touch(Outcome.HIT, 0),
    (Lane.SLOT, record(Lane.SLOT, kind=SlotKind.READ, outcome=Outcome.HIT)),
    touch(Outcome.HIT, 0),
    touch(Outcome.MISS, 0),
    (Lane.SLOT, record(Lane.SLOT, kind=SlotKind.REPLAY_READ, outcome=Outcome.HIT)),
    (Lane.SLOT, record(Lane.SLOT, kind=SlotKind.HINT)),
    (Lane.SLOT, record(Lane.SLOT, kind=SlotKind.ANSWER, outcome=Outcome.HINT_DONE)),
    note(EngineKind.VICTIM, head=7, block=9, key=-5 << 19, aux=12 << 8 | 2),
    note(EngineKind.BYPASS),
    note(EngineKind.PAGE_READ),
    note(EngineKind.PAGE_READ),
    note(EngineKind.PAGE_WRITE),
]


def measured(records=RECORDS, **fields):
    statistics = Statistics()
    for lane, values in records:
        statistics.record(lane, values)
    return Measured(statistics, 2.0, **fields)


def result_of(measured, **settings):
    return results(
        config=SMALL,
        simulator="verilator",
        workload=load("attention-a"),
        settings=Settings(**settings),
        timing=SCALED_TIMING,
        measured=measured,
    )


def test_schema_has_every_key_and_survives_json():
    result = result_of(measured())
    for key, inner in KEYS.items():
        assert key in result
        if inner is not None:
            assert inner <= set(result[key])
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["schema"] == 4


def test_counts_follow_the_records():
    unwritable = (Lane.SLOT, record(Lane.SLOT, kind=SlotKind.ANSWER, outcome=Outcome.UNWRITABLE))
    assert result_of(measured([*RECORDS, unwritable]))["requests"] == 6, "it ends a write that was counted"
    result = result_of(measured(cycles=4000, host_reads=3, host_writes=1, exact_victims=1))
    assert result["demand"] == {"hits": 2, "misses": 1, "first_writes": 1, "hit_rate": 2 / 3}
    assert result["requests"] == 6, "a replay and a hint's block are no requests of their own"
    assert result["events"] == len(RECORDS)
    assert result["slots_per_cycle"] == 8 / 4000
    assert result["provenance"]["cycles_per_second"] == 2000
    victim = {"step": 3, "head": 7, "block": 9, "key": -5 << 19, "for_head": 12, "waived": True}
    assert result["evictions"] == {"count": 1, "exact": 1, "last": [victim]}
    assert (result["bypasses"], result["flash"]) == (1, {"pages_read": 2, "pages_written": 1})
    assert result["host"] == {"bytes_read": 192, "bytes_written": 64}
    assert result["baselines"]["lru"] == 1.0, "one block in a pool of 160 frames never leaves"


def test_bytes_of_ddr_for_a_byte_of_the_host_leave_the_pages_out():
    moved = {"ddr_bytes_read": 5000, "ddr_bytes_written": 7000, "port_bytes_read": 640, "port_bytes_written": 96}
    ddr = result_of(measured(host_reads=20, host_writes=3, **moved))["ddr"]
    assert (ddr["read_per_host_byte"], ddr["written_per_host_byte"]) == (0.5, 0.5)
    assert result_of(measured())["ddr"]["read_per_host_byte"] is None, "the golden model alone moves nothing"


def test_loads_and_phases_are_counted():
    records = [
        note(EngineKind.STEP, aux=1),
        note(EngineKind.PHASE, aux=Phase.PREFILL),
        note(EngineKind.PHASE, key=1, aux=Phase.DECODE),
        note(EngineKind.STEP, aux=2),
        note(EngineKind.STEP, aux=3),
        note(EngineKind.PHASE, aux=Phase.DECODE),
        note(EngineKind.STEP, aux=4),
    ]
    result = result_of(measured(records, loads=dict(zip(DevLoad, (6, 0, 0, 2), strict=True))))
    assert result["phase"] == {"changes": 2, "steps": {"decode": 2, "prefill": 2}}, "region 1 is not the run's"
    assert result["devload"] == {"light": 6, "optimal": 0, "moderate": 0, "severe": 2}
    text = summary(result)
    assert "phase: 2 steps in decode, 2 steps in prefill, 2 changes" in text
    assert "light 75.0%, optimal 0.0%, moderate 0.0%, severe 25.0%" in text


def granted(access, grant, outcome=Outcome.HIT, **fields):
    about = {"kind": SlotKind.READ, "access": access, "grant": grant, "outcome": outcome} | fields
    return Lane.SLOT, record(Lane.SLOT, **about)


def test_copies_of_the_host_are_counted():
    records = [
        granted(Access.READ_SHARED, Grant.CMP_S),
        granted(Access.READ_SHARED, Grant.CMP, Outcome.HELD_WAY),
        granted(Access.READ_SHARED, Grant.CMP_S, Outcome.ZEROS, retry=Retry.WAITED),
        granted(Access.READ_OWN, Grant.CMP_E, kind=SlotKind.REPLAY_READ),
        granted(Access.READ_INVALIDATE, Grant.CMP),
        (Lane.SLOT, record(Lane.SLOT, kind=SlotKind.ANSWER, outcome=Outcome.CONFLICT)),
        note(EngineKind.BI_RECALL),
    ]
    seen = {
        "snoops": 4, "snoops_most": 2, "snoop_clocks_total": 500, "conflicts_early": 1, "conflicts_late": 2, "held": 8,
        "held_clocks": 100, "held_longest": 60,
    }  # fmt: skip
    result = result_of(measured(records, cycles=1000, coherency=seen), cacheable=0.25)
    assert result["coherency"] == {
        "grants_shared": 2, "grants_exclusive": 1, "snoops": 4, "snoops_in_flight_max": 2, "snoops_in_flight_mean": 0.5,
        "recalls": 1, "held_requests": 8, "held_clocks_mean": 12.5, "held_clocks_max": 60, "conflicts_early": 1,
        "conflicts_late": 2,
    }  # fmt: skip
    assert result["requests"] == 3, "a retry, a replay and a conflict are no requests of their own"
    assert not failed(result)
    text = summary(result)
    assert "25% of reads cacheable, snoops answered after 64 clocks" in text
    assert "2 lines granted shared, 1 owned" in text
    assert "4 snoops, in flight 0.50 on average and 2 at most; 1 sectors recalled" in text
    assert "8 requests held, for 12.5 clocks on average and 60 at most; conflicts: 1 early, 2 late" in text
    plain = result_of(measured(records, cycles=1000, coherency=seen))
    assert set(plain["coherency"].values()) == {None} and "coherency" not in summary(plain)


def test_blocks_of_heads_apart_count_by_themselves():
    def of_weights(outcome, **fields):
        return Lane.SLOT, record(Lane.SLOT, kind=SlotKind.READ, outcome=outcome, touch=1, head=20, **fields)

    where = {"head": 21, "block": 4}
    records = [
        *RECORDS,
        of_weights(Outcome.MISS),
        of_weights(Outcome.HIT, block=1),
        of_weights(Outcome.HIT, block=2),
        note(EngineKind.PREFETCH_QUEUED, aux=PrefetchSource.STREAM, **where),
        note(EngineKind.VICTIM, head=20, block=3),
        note(EngineKind.BYPASS, head=20),
        note(EngineKind.PAGE_READ, head=20),
        note(EngineKind.PAGE_WRITE, head=20),
    ]
    statistics = Statistics(apart=range(20, 22))
    for lane, values in records:
        statistics.record(lane, values)
    settings = Settings(weights=30)
    workload = load("attention-a")
    about = {"config": SMALL, "simulator": "verilator", "workload": workload, "timing": SCALED_TIMING}
    result = results(
        **about, settings=settings, measured=Measured(statistics, 2.0), weights=weights_of(SMALL, workload, settings)
    )
    plain = result_of(measured())
    for key in ("demand", "baselines", "prefetch"):
        assert result[key] == plain[key], "of the KV cache alone"
    assert result["evictions"] == {"count": 2, "exact": 0, "last": plain["evictions"]["last"]}
    assert (result["bypasses"], result["flash"]) == (2, {"pages_read": 3, "pages_written": 2}), "of all blocks"
    weights = result["weights"]
    fate = weights["prefetch"]["stream"]
    assert weights["reads"] == {"hits": 2, "misses": 1, "hit_rate": 2 / 3}
    assert (fate["candidates"], fate["waiting"]) == (1, 1)
    assert (weights["evictions"], weights["bypasses"]) == (1, 1)
    assert weights["flash"] == {"pages_read": 1, "pages_written": 1}
    assert result["settings"]["weights"] == 30 and "weights" not in plain["settings"]


def test_latency_percentiles_are_latencies_that_occurred():
    result = result_of(measured(latencies=[10] * 94 + [20] * 5 + [1000]))
    assert result["latency_clocks"] == {"p50": 10, "p95": 20, "p99": 20, "max": 1000}


def test_frames_of_a_run():
    workload = load("attention-a")
    for share, frames in ((0.25, 160), (0.125, 80), (0.01, 40), (1, 640)):
        assert Settings(frames_share=share).frames(workload, SMALL) == frames
    assert Settings(pool="per-head").quotas(workload) == dict.fromkeys(range(20), (8, 8))
    assert Settings().quotas(workload) == {}
    with pytest.raises(SettingsError, match="20 frames: preset 'small' needs 30 to"):
        Settings(frames_share=0.01).frames(_OneHead(), _config(minimum=30))


class _OneHead:
    name, heads, blocks = "one", 10, 4


def _config(minimum):
    class Config:
        name, pool_frames_min, pool_frames_max = "small", minimum, 2048

    return Config


@pytest.mark.parametrize(
    ("fields", "records"),
    [
        ({"mismatch": "step 1, head 2"}, RECORDS),
        ({"errors": Counter(read_data=1)}, RECORDS),
        ({}, [*RECORDS, note(EngineKind.ERROR, key=ErrorKind.PAGE_READ)]),
        ({}, [*RECORDS, note(EngineKind.REFUSAL)]),
        ({}, [*RECORDS, (Lane.SLOT, record(Lane.SLOT, kind=SlotKind.ANSWER, outcome=Outcome.UNWRITABLE))]),
    ],
)
def test_a_mismatch_or_an_error_fails_the_run(fields, records):
    assert not failed(result_of(measured()))
    assert failed(result_of(measured(records, **fields)))


def test_results_are_written_whole_or_not_at_all(tmp_path):
    path = write_atomically(tmp_path, {"schema": 1})
    with pytest.raises(ValueError):
        write_atomically(tmp_path, {"schema": float("nan")})
    assert json.loads(path.read_text()) == {"schema": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_summary_shows_rates_latencies_and_verdict():
    text = summary(result_of(measured(cycles=4000, checked=14, latencies=[100], reads_compared=3)))
    for part in ("0.667", "Belady with bypass", "p50 100 (100 ns)", "scaled down from 25 us", "no mismatch", "14 of 14",
                 "data of 3 reads compared", "errors: none"):  # fmt: skip
        assert part in text
    assert "step 3: head 7 block 9 left for head 12: lowest log2(score) + step x lambda, -2.500, though" in text
    text = summary(result_of(measured(mismatch="step 7, head 3, block 2: ema: expected 5, seen 6")))
    assert "MISMATCH" in text and "step 7, head 3, block 2: ema: expected 5, seen 6" in text
