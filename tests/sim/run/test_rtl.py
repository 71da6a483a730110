"""Runs of the RTL by the command line: both simulators, the lock-step's verdict, the data check, prefetch, waves."""

import json
import random
from collections import Counter

import numpy as np
import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.events.port import Lane
from kv_endpoint.golden.follow.follower import Follower
from kv_endpoint.golden.pipeline.metadata import SlotKind
from kv_endpoint.sim.cli import main
from kv_endpoint.sim.results.folder import MARKER
from kv_endpoint.sim.run import checker
from kv_endpoint.sim.trace.rows import rows
from kv_endpoint.tb.checks.image import Image
from kv_endpoint.tb.checks.recorded import EVENTS, TRACE, read_trace

STEPS = 14


@pytest.fixture(scope="module")
def workload(tmp_path_factory):
    """An access trace for preset `tiny` in which blocks leave and come back."""
    rng = random.Random(1)
    rows = ["step,op,layer,kv_head,block,score"]
    for step in range(STEPS):
        for layer in range(2):
            hints, accesses = [], []
            for head in range(2):
                newest = step // 2
                for block in sorted({rng.randint(0, newest), newest}):
                    hints.append(f"{step},hint,{layer},{head},{block},{rng.random() / 4:.3f}")
                    if block == newest:
                        accesses.append(f"{step},append,{layer},{head},{block},")
                    accesses.append(f"{step},read,{layer},{head},{block},")
            rows += hints + accesses
    path = tmp_path_factory.mktemp("workload") / "trace.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def run(workload, simulator, out, *options):
    arguments = ["--preset", "tiny", "--workload", str(workload), "--frames-share", "0.4", "--out", str(out)]
    return main(["run", "--simulator", simulator, *arguments, *options])


@pytest.fixture(scope="module")
def plain_run(workload, tmp_path_factory):
    """The folder of a run whose host caches nothing."""
    folder = tmp_path_factory.mktemp("plain")
    assert run(workload, "verilator", folder) == 0
    return folder


def test_every_record_and_every_read_is_checked(plain_run):
    result = json.loads((plain_run / "results.json").read_text())
    assert result["golden"]["checked"] == result["events"] > 1000
    assert result["golden"]["mismatches"] == 0
    assert result["evictions"]["count"] == result["evictions"]["exact"] > 0
    assert result["reads_compared"] * 64 == result["host"]["bytes_read"] > 0
    assert result["demand"]["misses"] > 0
    assert result["latency_clocks"]["p50"] <= result["latency_clocks"]["max"]
    assert result["cycles"] > result["latency_clocks"]["max"]
    assert not any(result["errors"].values())
    assert sorted(path.name for path in plain_run.iterdir()) == [MARKER, "events.txt", "results.json"]


CACHED = ("--cacheable", "0.7", "--trace", "--frames-share", "0.9")
#: what Icarus plays in half a minute; in most of it the endpoint clears its table
BRIEF = ("--steps", "4")


@pytest.mark.parametrize(
    "options",
    [
        CACHED,
        pytest.param((), marks=pytest.mark.long),
        pytest.param(("--prefetch", "streams"), marks=pytest.mark.long),
    ],
)
def test_both_simulators_give_the_same_records_and_the_same_result(options, workload, tmp_path):
    folders = [tmp_path / simulator for simulator in ("verilator", "icarus")]
    for folder in folders:
        assert run(workload, folder.name, folder, *BRIEF, *options) == 0
    for name in [EVENTS, TRACE] if "--trace" in options else [EVENTS]:
        texts = [(folder / name).read_bytes() for folder in folders]
        assert texts[0] == texts[1] and texts[0].count(b"\n") > 100
    results = [json.loads((folder / "results.json").read_text()) for folder in folders]
    for result in results:
        for key in ("simulator", "provenance"):
            del result[key]
    assert results[0] == results[1]


def test_what_the_golden_model_alone_reaches_is_near(workload, plain_run, tmp_path):
    """Timing moves a few misses, not more."""
    assert run(workload, "golden", tmp_path) == 0
    alone = json.loads((tmp_path / "results.json").read_text())
    together = json.loads((plain_run / "results.json").read_text())
    for key in ("host", "frames", "requests"):
        assert alone[key] == together[key]
    assert alone["demand"]["first_writes"] == together["demand"]["first_writes"]
    assert abs(alone["demand"]["hit_rate"] - together["demand"]["hit_rate"]) < 0.1


def test_a_difference_stops_the_run_and_is_shown_with_its_place(workload, tmp_path, capsys, monkeypatch):
    class Misread(Follower):
        """Reads one bit of one score wrongly, as if the RTL had it so."""

        def check(self, lane, record):
            wrong = lane == Lane.SLOT and record["kind"] == SlotKind.HINT and record["sequence"] > 500
            super().check(lane, record | {"ema": record["ema"] ^ 1} if wrong else record)

    monkeypatch.setattr(checker, "golden_endpoint", Misread)
    assert run(workload, "verilator", tmp_path) == 1
    printed = capsys.readouterr()
    result = json.loads((tmp_path / "results.json").read_text())
    assert result["golden"]["mismatches"] == 1
    for part in ("step ", "head ", "block ", "ema: expected ", "seen "):
        assert part in result["golden"]["first_mismatch"]
    assert 500 < result["golden"]["checked"] < 1000
    assert "MISMATCH" in printed.out and result["golden"]["first_mismatch"] in printed.err


def test_wrong_read_data_fails_the_run_with_its_place(workload, tmp_path, capsys, monkeypatch):
    sound = Image.read_done

    def read_done(self, tag, address, data, poison, mode):
        sound(self, tag, address, data ^ 1 if self.checked == 100 else data, poison, mode)

    monkeypatch.setattr(Image, "read_done", read_done)
    assert run(workload, "verilator", tmp_path) == 1
    error = capsys.readouterr().err
    result = json.loads((tmp_path / "results.json").read_text())
    assert result["errors"] == {"read_data": 1}
    for part in ("step ", "head ", "block ", "line ", "data: read", "seen", "expected"):
        assert part in error
    assert (tmp_path / "simulation" / "messages.txt").exists(), "what shows the error is kept"


@pytest.fixture(scope="module")
def attention(tmp_path_factory):
    """An attention trace of 80 tokens for preset `tiny`, its mass spread over all blocks."""
    rng, steps, blocks = np.random.default_rng(1), 80, 5
    mass = np.zeros((steps, 2, 2, blocks))
    for t in range(steps):
        weights = rng.random((2, 2, t // 16 + 1)) ** 4
        mass[t, :, :, : t // 16 + 1] = weights / weights.sum(axis=-1, keepdims=True)
    scalars = {"block_tokens": 16, "layers": 2, "kv_heads": 2, "head_dim": 8, "tokens": steps}
    path = tmp_path_factory.mktemp("attention") / "trace.npz"
    np.savez(path, mass=mass.astype(np.float16), kv=rng.standard_normal((steps, 2, 2, 2, 8)), **scalars)
    return path


PREFILL = ("--prefill", "64", "--prefill-chunk", "16", "--lines-per-read", "16")


def test_a_run_with_prefill_prefetch_and_compression_is_checked_like_any_other(attention, tmp_path):
    options = ["--mode", "mxint8", "--prefetch", "all", "--announce-lead", "700", *PREFILL]
    assert run(attention, "verilator", tmp_path, *options) == 0
    result = json.loads((tmp_path / "results.json").read_text())
    assert result["golden"]["checked"] == result["events"] > 5000
    assert result["evictions"]["count"] == result["evictions"]["exact"] > 0
    assert result["reads_compared"] * 64 == result["host"]["bytes_read"] > 0
    for fate in result["prefetch"].values():
        assert fate["issued"] == sum(fate[end] for end in ("useful", "late", "met", "unused", "unread"))
    announced = result["prefetch"]["announced"]
    assert announced["useful"] > 0.9 * announced["issued"] > 0, "700 clocks are enough for a page"
    assert result["phase"]["steps"]["prefill"] > 0 and result["phase"]["steps"]["decode"] > 0
    assert sum(result["devload"].values()) > result["requests"], "a read has two responses"


def test_announced_blocks_fetched_ahead_of_their_reads_are_hits(attention, tmp_path):
    rates = {}
    for prefetch in ("off", "announced"):
        options = ["--prefetch", prefetch, "--announce-lead", "700", *PREFILL]
        assert run(attention, "verilator", tmp_path, *options) == 0
        rates[prefetch] = json.loads((tmp_path / "results.json").read_text())["demand"]["hit_rate"]
    assert rates["announced"] > rates["off"] + 0.1


def test_streams_are_described_and_fetched(attention, tmp_path):
    assert run(attention, "verilator", tmp_path, "--prefetch", "streams", "--steps", "4", *PREFILL) == 0
    result = json.loads((tmp_path / "results.json").read_text())
    assert result["prefetch"]["stream"]["issued"] > 0


def test_a_host_that_throttles_gets_the_same_data_and_less_load(attention, tmp_path):
    overloads = {}
    for throttle in ("off", "on"):
        options = ["--throttle", throttle, "--lines-per-read", "128", "--steps", "24"]
        assert run(attention, "verilator", tmp_path, *options) == 0
        result = json.loads((tmp_path / "results.json").read_text())
        overloads[throttle] = result["devload"]["moderate"] + result["devload"]["severe"]
        assert result["reads_compared"] * 64 == result["host"]["bytes_read"] > 0
    assert overloads["on"] < overloads["off"] / 2


@pytest.fixture(scope="module")
def cached_run(workload, tmp_path_factory):
    """The folder of a run whose host may cache."""
    folder = tmp_path_factory.mktemp("cached")
    assert run(workload, "verilator", folder, *CACHED) == 0
    return folder


def test_a_host_that_may_cache_is_snooped_and_gets_the_same_data(cached_run, plain_run):
    result = json.loads((cached_run / "results.json").read_text())
    plain = json.loads((plain_run / "results.json").read_text())
    assert result["host"] == plain["host"] and result["requests"] == plain["requests"]
    assert result["reads_compared"] == plain["reads_compared"]
    assert result["golden"]["checked"] == result["events"]
    seen = result["coherency"]
    assert seen["grants_shared"] / result["reads_compared"] == pytest.approx(0.7, abs=0.05)
    assert seen["grants_exclusive"] == 0, "S is asked for"
    assert seen["snoops"] > 50 and 0 < seen["snoops_in_flight_mean"] < seen["snoops_in_flight_max"] <= 4
    assert seen["held_requests"] > 0 and 0 < seen["held_clocks_mean"] <= seen["held_clocks_max"]
    assert set(plain["coherency"].values()) == {None}


def test_the_trace_of_a_run_has_every_message_with_its_states(cached_run):
    made, mismatch = rows(preset("tiny"), cached_run / EVENTS, read_trace(cached_run / TRACE))
    assert mismatch is None
    result = json.loads((cached_run / "results.json").read_text())
    by_opcode = Counter((row.channel, row.opcode) for row in made)
    seen = result["coherency"]
    conflicts = seen["conflicts_early"] + seen["conflicts_late"]
    assert by_opcode["RwD", "BI_CONFLICT"] == by_opcode["NDR", "BI_CONFLICT_ACK"] == conflicts
    assert sum(count for (channel, _), count in by_opcode.items() if channel == "BISnp") == seen["snoops"]
    assert by_opcode["Req", "MEM_RD"] == by_opcode["DRS", "MEM_DATA"] == result["reads_compared"]
    for row in made:
        if (row.channel, row.opcode) == ("NDR", "CMP_S"):
            assert row.after.strip(".") == "S"
        elif row.channel == "BIRsp":
            assert set(row.before.strip(".")) <= {"I", "S"} and set(row.after) <= {".", "I"}
        elif row.channel == "BISnp":
            assert row.before == row.after and "S" in row.before
    held = [row for row in made if row.channel == "Req" and "held" in row.about]
    assert len(held) == seen["held_requests"]
    assert all(row.about.endswith(("hit", "zeros")) for row in held)


@pytest.mark.long
@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_waves_are_raw_vcd(workload, tmp_path, simulator):
    assert run(workload, simulator, tmp_path, "--steps", "1", "--waves") == 0
    with open(tmp_path / "waves.vcd") as waves:
        assert any("$enddefinitions" in line for line in waves)
