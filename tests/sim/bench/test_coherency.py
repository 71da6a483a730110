"""The benches of coherency in their short forms, and that each can say no."""

import re

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import EngineKind, Lane, pack
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.sim.bench import batch as bench_batch
from kv_endpoint.sim.bench import regress as bench_regress
from kv_endpoint.sim.bench.coherency import coherency, granted_per_clock
from kv_endpoint.sim.bench.regress import PARTS, Recalls, regress
from kv_endpoint.sim.run import progress
from kv_endpoint.tb.checks.recorded import EVENTS
from kv_endpoint.tb.runs.batch import SLOTS

TINY = preset("tiny")


def failed(rows):
    return [row.text() for row in rows if row.verdict == "FAILED"]


#: the parts of one host; two share a line in `tests/tb/scenarios` too, and their bench costs a build of its own
ALONE = [part for part in PARTS if part[0] == 1]


@pytest.mark.parametrize("parts", [ALONE, pytest.param(PARTS, marks=pytest.mark.long)], ids=["one host", "all"])
def test_the_regression_in_its_short_form_reaches_its_bars(parts, tmp_path):
    """Printed seeds repeat a part that fails."""
    assert failed(regress(tmp_path, requests=1_500 * len(parts), parts=parts)) == []


@pytest.mark.long
@pytest.mark.parametrize("hosts", [1, 2])
def test_both_simulators_record_the_same_of_hosts_that_race(hosts, tmp_path):
    files = []
    for simulator in ("verilator", "icarus"):
        rows = regress(tmp_path / simulator, simulator=simulator, requests=60, parts=[(hosts, Mode.EXACT, True)])
        assert failed(rows[4:]) == []
        files.append((tmp_path / simulator / "0" / "0" / EVENTS).read_bytes())
    assert files[0] == files[1]
    assert files[0].count(b"\n") > 100


def test_each_seed_has_rows_and_seeds_of_its_own(tmp_path, capsys):
    rows = regress(tmp_path, requests=150, parts=[(1, Mode.EXACT, False)], seed=7, seeds=2)
    assert [sum(f"seed {seed}:" in row.name for row in rows) for seed in (7, 8)] == [len(rows) // 2] * 2
    assert re.findall(r"exact: seed (\d+)", capsys.readouterr().out) == ["7", "8"]
    first, second = ((tmp_path / number / "0" / EVENTS).read_bytes() for number in "01")
    assert first != second


def test_bars_of_the_regression_grow_with_its_requests(tmp_path, monkeypatch):
    monkeypatch.setitem(bench_regress.REQUIRED, "late conflicts", 1_000_000)
    rows = regress(tmp_path, requests=150, parts=[(1, Mode.EXACT, False)])
    assert len(failed(rows)) == 1 and "late conflicts" in failed(rows)[0]


def test_the_regression_says_meanwhile_how_far_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "FILE_SECONDS", 0)
    monkeypatch.setattr(bench_batch, "WATCH_SECONDS", 0.01)
    monkeypatch.setitem(bench_regress.POLL_CLOCKS, "verilator", 500)
    regress(tmp_path, requests=400, parts=[(1, Mode.EXACT, False)] * 2)
    said = [
        [int(number.replace(",", "")) for number in found]
        for found in re.findall(
            r"([\d,]+) of 400 requests  ([\d,]+) clocks  ([\d,]+) conflicts", capsys.readouterr().err
        )
    ]
    assert said == sorted(said)
    assert any(answered < 200 for answered, _, _ in said)
    assert any(answered > 200 and clocks > 2_000 for answered, clocks, _ in said)


def test_recalls_counts_blocks_that_left_after_sectors_were_asked_back():
    recalls = Recalls()
    block = {"head": 1, "block": 2}
    demoted = block | {"kind": SlotKind.DEMOTE, "outcome": Outcome.DONE}
    recalls(Lane.SLOT, demoted)
    recalls(Lane.ENGINE, block | {"kind": EngineKind.BI_RECALL})
    recalls(Lane.ENGINE, block | {"kind": EngineKind.BI_RECALL})
    recalls(Lane.ENGINE, block | {"kind": EngineKind.BI_SCRUB})
    recalls(Lane.ENGINE, block | {"kind": EngineKind.BI_SNOOP})
    recalls(Lane.SLOT, demoted | {"block": 3})
    recalls(Lane.SLOT, demoted)
    recalls(Lane.SLOT, demoted)
    assert (recalls.blocks, recalls.snoops, recalls.asked_back) == (1, 1, 3)


def test_granted_per_clock_counts_what_was_completed_only(tmp_path):
    outcomes = [Outcome.HIT, Outcome.HELD_LINE, Outcome.HIT, Outcome.HIT, Outcome.MISS, Outcome.HIT]
    about = {"kind": SlotKind.READ, "access": Access.READ_SHARED}
    lines = [f"S {pack(TINY, Lane.SLOT, outcome=outcome, **about):x}" for outcome in outcomes]
    lines.insert(2, f"E {pack(TINY, Lane.ENGINE, kind=EngineKind.BI_SNOOP):x}")
    (tmp_path / EVENTS).write_text("\n".join(lines) + "\n")
    (tmp_path / SLOTS).write_text("3\n4\n10\n11\n12\n15\n")
    assert granted_per_clock(TINY, tmp_path) == 4 / 13
    assert granted_per_clock(TINY, tmp_path, skip=1) == 3 / 6
    assert granted_per_clock(TINY, tmp_path, skip=-2) == 2 / 5


def test_snoops_that_nobody_answers_cost_other_requests_nothing_and_a_stream_is_the_faster_the_more_are(tmp_path):
    """At `tiny` there are too few snoops at once for the bar of streaming."""
    rows = coherency(tmp_path, preset_name="tiny", reads=4_000)
    others = [row for row in rows if "stream" not in row.name]
    assert len(others) == 5 and failed(others) == []
    rates = [row.measured for row in rows if "stream" in row.name and row.unit == "requests/clock"]
    assert rates == sorted(rates, reverse=True) and rates[0] > 2 * rates[-1]
