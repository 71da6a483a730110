"""The benches: the adversarial one in its short form, and that each can say no."""

import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.data.mxint8 import VALUES
from kv_endpoint.golden.events.port import EngineKind, Lane, pack
from kv_endpoint.golden.front.address import Target, decode
from kv_endpoint.golden.front.hints import HeaderCheck, check_header
from kv_endpoint.golden.host.operations import Op
from kv_endpoint.golden.pipeline.metadata import SlotKind
from kv_endpoint.golden.registers.rules import reset_regions
from kv_endpoint.sim.bench import bench
from kv_endpoint.sim.bench.batch import run_checked
from kv_endpoint.sim.bench.codec import codec, lines_of
from kv_endpoint.sim.bench.compression import compression
from kv_endpoint.sim.bench.progress import Pressure, progress
from kv_endpoint.sim.bench.resident import slots_per_clock
from kv_endpoint.sim.bench.row import Row
from kv_endpoint.sim.bench.streams import layer_replay, prefix_replay, weights
from kv_endpoint.sim.host.adversary import adversarial_operations, adversarial_registers, adversarial_rounds
from kv_endpoint.sim.workload.steps import WorkloadError
from kv_endpoint.tb.checks.recorded import EVENTS
from kv_endpoint.tb.runs.batch import SLOTS, BatchSettings
from kv_endpoint.tb.runs.build import SimulationFailed
from kv_endpoint.tb.runs.tops import batch_top

TINY = preset("tiny")
REGION = reset_regions(TINY)[0]
SHORT = {"clocks": 200_000, "steps": 40}


def test_no_request_is_left_unanswered_in_the_short_form(tmp_path):
    rows = progress(tmp_path, **SHORT)
    assert [row.text() for row in rows if row.verdict == "FAILED"] == []


def test_compressed_blocks_take_half_of_the_bandwidth(tmp_path):
    rows = compression(tmp_path, preset_name="tiny", blocks=16, single=2_000)
    assert [row.text() for row in rows if row.verdict == "FAILED"] == []


def test_streams_fetch_a_cold_prefix_in_the_order_of_its_replay(tmp_path):
    """At `tiny` two prefetches at once are too slow for the reads, so not all of them are in time."""
    useful, fetched, mismatches = prefix_replay(tmp_path, preset_name="tiny")
    assert useful.measured > 0.6 and fetched.measured > 0.8
    assert mismatches.verdict == "ok", mismatches.text()


@pytest.mark.long
def test_streams_fetch_a_cold_prefix_layer_after_layer(tmp_path):
    rows = layer_replay(tmp_path)
    assert [row.text() for row in rows if row.verdict == "FAILED"] == []


@pytest.mark.long
def test_a_stream_has_weights_in_time_in_the_short_form_too(tmp_path):
    rows = weights(tmp_path, steps=2)
    assert [row.text() for row in rows if row.verdict == "FAILED"] == []


@pytest.mark.long
def test_both_simulators_record_the_same_under_adversarial_traffic(tmp_path):
    files = []
    for simulator in ("verilator", "icarus"):
        progress(tmp_path / simulator, simulator=simulator, clocks=1_500, steps=2)
        files.append((tmp_path / simulator / EVENTS).read_bytes())
    assert files[0] == files[1]
    assert files[0].count(b"\n") > 100


def test_a_message_that_waits_too_long_stops_the_run(tmp_path):
    given = BatchSettings(flash_read_clocks=3000, message_clocks=1000, registers=adversarial_registers(TINY))
    operations = adversarial_operations(TINY, REGION, seed=1, steps=3)
    with pytest.raises(SimulationFailed, match="has waited for 1000 clocks"):
        run_checked(batch_top("verilator", TINY), TINY, operations, given, tmp_path)


def test_a_lock_step_that_breaks_stops_the_bench_and_says_why(tmp_path):
    def wrong(lane, fields):
        raise RuntimeError("the observer saw a record")

    operations = list(islice(adversarial_operations(TINY, REGION, seed=1, steps=1), 20))
    given = BatchSettings(registers=adversarial_registers(TINY))
    with pytest.raises(SimulationFailed, match="the observer saw a record"):
        run_checked(batch_top("verilator", TINY), TINY, operations, given, tmp_path, observer=wrong)


def test_a_stimulus_without_messages_is_not_played_again_and_again(tmp_path):
    with pytest.raises(ValueError, match="must have a message"):
        run_checked(batch_top("verilator", TINY), TINY, [], BatchSettings(play_clocks=1000), tmp_path)


def test_the_adversary_can_be_played_again_and_its_hints_go_on():
    now, loaded, checks = 0, False, set()
    for _ in range(2):
        for operation in adversarial_operations(TINY, REGION, seed=2, steps=60):
            if operation.op != Op.WRITE or decode(TINY, [REGION], operation.address).target != Target.HINT:
                continue
            check, now = check_header(TINY, operation.data, now, loaded, 256)
            loaded = loaded or check == HeaderCheck.ADVANCE
            checks.add(check)
    assert now == 2 << 16
    assert checks == {HeaderCheck.CURRENT, HeaderCheck.ADVANCE, HeaderCheck.STALE, HeaderCheck.MALFORMED}


def test_the_adversary_reaches_every_kind_of_place():
    targets = {
        (operation.op, decode(TINY, [REGION], operation.address).target)
        for operation in adversarial_operations(TINY, REGION, seed=3, steps=60)
        if operation.channel
    }
    reads_and_writes = {(op, target) for op in (Op.READ, Op.WRITE, Op.WRITE_PARTIAL) for target in Target}
    assert targets == reads_and_writes


def test_rounds_stay_within_the_rules_but_for_the_pin_too_many():
    """The quotas of a round sum to the smallest pool and leave each head two frames."""
    quotas = [word for name, word in adversarial_rounds(TINY)[0] if name in ("QUOTA_MIN", "QUOTA_MAX")]
    assert sum(quotas[::2]) == TINY.pool_frames_min
    assert min(quotas[1::2]) >= 2


def test_pressure_counts_frames_of_the_reserve_and_pins():
    pressure = Pressure(TINY)
    nothing = {"head": 1, "state_before": 2, "flags_before": 0, "flags_after": 0}
    pressure(Lane.ENGINE, {"kind": EngineKind.POOL, "aux": 1})
    for _ in range(2):
        pressure(Lane.SLOT, nothing | {"kind": SlotKind.PROMOTE, "state_after": 3})
    pressure(Lane.SLOT, nothing | {"kind": SlotKind.PIN, "state_after": 2, "flags_after": 2})
    pressure(Lane.ENGINE, {"kind": EngineKind.VICTIM, "aux": 2})
    assert (pressure.reserve, pressure.most_pins, pressure.waived) == (1, 1, 1)


def test_slots_per_clock_counts_bubbles_and_notes_between_the_first_and_the_last_read(tmp_path):
    step, phase = EngineKind.STEP, EngineKind.PHASE
    kinds = [SlotKind.WRITE, SlotKind.READ, step, phase, SlotKind.READ, SlotKind.READ, SlotKind.WRITE, step]
    lines = []
    for i, kind in enumerate(kinds):
        letter, lane = ("S", Lane.SLOT) if isinstance(kind, SlotKind) else ("E", Lane.ENGINE)
        lines.append(f"{letter} {pack(TINY, lane, sequence=i, kind=kind):x}")
    (tmp_path / EVENTS).write_text("\n".join(lines) + "\n")
    (tmp_path / SLOTS).write_text("3\n10\n11\n13\n20\n")
    assert slots_per_clock(TINY, tmp_path) == (3 / 4, 1)


@pytest.mark.parametrize(
    ("relation", "required", "verdict"),
    [(">=", 5, "ok"), (">=", 6, "FAILED"), ("<=", 4, "FAILED"), ("=", 5, "ok"), ("", None, "reported")],
)
def test_a_row_compares_what_was_measured(relation, required, verdict):
    row = Row("progress", "a number", 5, "of them", relation, required)
    assert row.verdict == verdict
    assert row.as_dict()["verdict"] == verdict and verdict in row.text()


def test_the_exit_code_says_whether_every_number_was_reached(tmp_path, monkeypatch, capsys):
    good = Row("resident_reads", "good", 1, "of it", ">=", 1)

    def broken(folder):
        """Breaks."""
        raise SimulationFailed("it hangs")

    def rows(*given):
        def run(folder):
            """Measures."""
            return list(given)

        return run

    file = tmp_path / "rows.json"
    for runner, code in ((rows(good), 0), (rows(good, replace(good, measured=0)), 1), (broken, 1)):
        monkeypatch.setitem(bench.BENCHES, "resident_reads", runner)
        assert bench.main(["--only", "resident_reads", "--json", str(file)]) == code
        assert set(json.loads(file.read_text())) == {"provenance", "rows", "broken"}
    assert "it hangs" in capsys.readouterr().out


def test_quality_of_the_codec_on_gaussian_values_and_on_the_trace(tmp_path):
    rows = codec(tmp_path)
    assert [row.text() for row in rows if row.verdict != "ok"] == []
    assert len(rows) == 5


def test_lines_of_the_trace_are_consecutive_values_of_one_head():
    tokens, layers, heads, values = 9, 2, 3, 8
    numbered = np.arange(tokens * layers * heads * values).reshape(tokens, layers, heads, values)
    lines = lines_of(numbered)
    assert lines.shape == (2 * layers * heads, VALUES), "a token that fills no line is left out"
    assert lines[2].tolist() == [value for token in range(4) for value in numbered[token, 0, 1]]


def test_another_workload_reaches_the_benches_that_take_one(capsys):
    assert bench.main(["--only", "codec", "--workload", "attention-a.npz"]) == 0
    with pytest.raises(SystemExit) as refused:
        bench.main(["--only", "codec", "--workload", "nowhere.npz"])
    assert refused.value.code == 2
    assert "'nowhere.npz'" in capsys.readouterr().err


def test_the_codec_has_nothing_to_say_about_a_workload_without_values(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("step,op,layer,kv_head,block,score\n0,append,0,0,0,\n")
    with pytest.raises(WorkloadError, match="must be an attention trace"):
        codec(tmp_path, workload=str(path))


def test_unknown_bench_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit) as refused:
        bench.main(["--only", "everything"])
    assert refused.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
