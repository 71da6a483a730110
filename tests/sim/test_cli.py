"""The command line: what it does with good input, and that bad input ends in one line and exit code 2."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from kv_endpoint.sim.cli import main
from kv_endpoint.sim.results.folder import MARKER
from tests.support.paths import ROOT


def run(*arguments, **environment):
    """The command in a process of its own, as people start it."""
    return subprocess.run(
        [sys.executable, "-m", "sim", "run", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def test_a_golden_run_reports_and_writes_its_result(tmp_path):
    out = tmp_path / "new" / "folder"
    done = run("--simulator", "golden", "--steps", "40", "--out", str(out), "--pool", "per-head")
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "results.json").read_text())
    assert result["settings"]["steps"] == 40 and result["settings"]["pool"] == "per-head"
    assert result["frames"] == 160
    assert result["demand"]["first_writes"] == 60, "three blocks in each of 20 heads"
    assert f"{result['demand']['hit_rate']:.3f}" in done.stdout
    assert sorted(path.name for path in out.iterdir()) == [MARKER, "results.json"]


def test_the_same_seed_gives_the_same_result(tmp_path):
    seen = []
    for name in ("a", "b"):
        assert main(["run", "--simulator", "golden", "--steps", "30", "--out", str(tmp_path / name)]) == 0
        result = json.loads((tmp_path / name / "results.json").read_text())
        provenance = result.pop("provenance")
        assert provenance["command"] == f"python -m sim run --simulator golden --steps 30 --out {tmp_path / name}"
        assert provenance["workload"] == "attention-a" and len(provenance["workload_sha256"]) == 64
        seen.append(json.dumps(result))
    assert seen[0] == seen[1]


BAD_OPTIONS = [
    (["--preset", "big"], "preset 'big': must be one of tiny, small"),
    (["--preset", "tiny"], "20 heads: preset 'tiny' holds 4"),
    (["--workload", "nowhere.npz"], "'nowhere.npz'"),
    (["--simulator", "modelsim"], "'modelsim'"),
    (["--priority", "fifo"], "'fifo'"),
    (["--pool", "none"], "'none'"),
    (["--announce", "head"], "'head'"),
    (["--score", "x"], "'x'"),
    (["--alpha", "1"], "--alpha 1.0: must be 1/65536 to 0.9999"),
    (["--alpha", "1e-5"], "--alpha 1e-05: must be 1/65536"),
    (["--alpha", "0"], "--alpha 0.0: must be 1/65536"),
    (["--alpha", "a fifth"], "--alpha: must be a number, not 'a fifth'"),
    (["--gain", "0"], "--gain 0.0: must be a number above 0"),
    (["--gain", "inf"], "--gain inf"),
    (["--coverage", "1.5"], "--coverage 1.5: must be above 0 and at most 1"),
    (["--coverage", "nan"], "--coverage nan"),
    (["--frames-share", "0"], "--frames-share 0.0"),
    (["--bypass", "yes"], "--bypass: must be on or off, not 'yes'"),
    (["--protect", "1"], "--protect: must be on or off, not '1'"),
    (["--lines-per-read", "129"], "--lines-per-read 129: must be 1 to 128"),
    (["--lines-per-read", "4.5"], "--lines-per-read: must be a whole number, not '4.5'"),
    (["--steps", "0"], "--steps 0: must be at least 1"),
    (["--steps", "513"], "--steps 513: workload attention-a.npz has 512"),
    (["--seed", "-1"], "--seed -1"),
    (["--waves"], "--waves"),
    (["--mode", "fp8"], "'fp8'"),
    (["--prefetch", "on"], "'on'"),
    (["--announce-lead", "-1"], "--announce-lead -1: must be 0 to 1,000,000 clocks"),
    (["--announce-lead", "9", "--announce", "none"], "--announce-lead 9: must be 0 with --announce none"),
    (["--prefill", "-1"], "--prefill -1: must be at least 0 tokens"),
    (["--prefill", "512"], "--prefill 512: must be below the 512 tokens of workload attention-a.npz"),
    (["--prefill-chunk", "0"], "--prefill-chunk 0: must be at least 1 token"),
    (["--prefill", "256", "--steps", "261"], "--steps 261: workload attention-a.npz has 260"),
    (["--cacheable", "1.5"], "--cacheable 1.5: must be 0 to 1"),
    (["--cacheable", "0.5"], "--cacheable: must be 0 with --simulator golden"),
    (["--cacheable", "0.5", "--frames-share", "0.125"], "needs 145 to 2048 where the host may cache"),
    (["--snoop-clocks", "65536"], "--snoop-clocks 65536: must be 0 to 65,535 clocks"),
    (["--weights", "-1"], "--weights -1: must be at least 0 blocks a layer"),
    (["--weights", "many"], "--weights: must be a whole number, not 'many'"),
    (["--weights", "154"], "--weights 154: 5 layers x 154 blocks: must fit the 12 heads of 64 blocks"),
    (["--weights", "3", "--mode", "mxint8"], "which must have at least 9 at preset 'small'"),
    (["--stream-order", "columns"], "'columns'"),
    (["--trace"], "--trace: must be left out with --simulator golden"),
    (["--throttle", "maybe"], "--throttle: must be on or off, not 'maybe'"),
    (["--stepps", "4"], "--stepps"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS, ids=lambda value: str(value)[:40])
def test_bad_options_are_refused_in_one_line(tmp_path, capsys, options, message):
    out = tmp_path / "out"
    try:
        code = main(["run", "--simulator", "golden", "--out", str(out), *options])
    except SystemExit as stopped:
        code = stopped.code
    printed = capsys.readouterr()
    assert code == 2
    assert printed.err.count("\n") == 1 and message in printed.err, printed.err
    assert not printed.out
    assert not out.exists(), "nothing is left behind"


def test_prefill_of_an_access_trace_is_refused(tmp_path, capsys):
    path = tmp_path / "trace.csv"
    path.write_text("step,op,layer,kv_head,block,score\n0,append,0,0,0,\n")
    code = main(["run", "--simulator", "golden", "--preset", "tiny", "--workload", str(path), "--prefill", "1"])
    assert code == 2
    assert "--prefill 1: must be 0 with an access trace such as trace.csv" in capsys.readouterr().err


def test_an_access_trace_has_no_reads_that_are_known_layer_after_layer(tmp_path, capsys):
    path = tmp_path / "trace.csv"
    path.write_text("step,op,layer,kv_head,block,score\n0,append,0,0,0,\n")
    options = ["--simulator", "golden", "--preset", "tiny", "--workload", str(path), "--out", str(tmp_path / "out")]
    assert main(["run", *options, "--stream-order", "layers"]) == 2
    assert "--stream-order layers: must be heads with an access trace such as trace.csv" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_of_an_access_trace_are_read_in_every_step_whatever_layers_it_has(tmp_path):
    """Three steps, one of them with the second layer only."""
    path = tmp_path / "trace.csv"
    rows = ["0,append,0,0,0,", "0,append,1,0,0,", "1,append,1,0,0,", "5,read,0,0,0,", "5,read,1,0,0,"]
    path.write_text("\n".join(["step,op,layer,kv_head,block,score", *rows]) + "\n")
    options = ["--simulator", "golden", "--preset", "tiny", "--workload", str(path), "--frames-share", "1"]
    assert main(["run", *options, "--weights", "3", "--out", str(tmp_path / "out")]) == 2, (
        "two frames are too few for `tiny`"
    )
    path.write_text(
        "\n".join(["step,op,layer,kv_head,block,score", *rows, "5,append,0,0,1,", "5,append,0,0,2,"]) + "\n"
    )
    assert main(["run", *options, "--weights", "3", "--out", str(tmp_path / "out")]) == 0
    weights = json.loads((tmp_path / "out" / "results.json").read_text())["weights"]
    assert weights["reads"] == {"hits": 18, "misses": 0, "hit_rate": 1.0}, "six blocks, all of them resident"


def test_frames_are_blocks_in_both_modes(tmp_path):
    """The pool of the mode is the one that is set: blocks leave, and the same ones do."""
    seen = []
    for mode in ("exact", "mxint8"):
        out = tmp_path / mode
        options = ["--simulator", "golden", "--steps", "100", "--frames-share", "0.125", "--mode", mode]
        assert main(["run", *options, "--out", str(out)]) == 0
        result = json.loads((out / "results.json").read_text())
        assert (result["frames"], result["settings"]["mode"]) == (80, mode)
        seen.append((result["evictions"], result["demand"], result["flash"]))
    assert seen[0] == seen[1] and seen[0][0]["count"] > 0


@pytest.mark.parametrize("prefetch", ["announced", "window", "streams", "all"])
def test_every_prefetch_of_a_golden_run_is_followed_to_its_end(tmp_path, prefetch):
    options = ["--simulator", "golden", "--prefill", "192", "--steps", "30", "--prefetch", prefetch]
    assert main(["run", *options, "--frames-share", "0.125", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "results.json").read_text())
    for source, fate in result["prefetch"].items():
        dropped = fate["dropped"]
        before = dropped["duplicate"] + dropped["full"]
        given_up = sum(dropped.values()) - before + fate["overtaken"] + fate["demanded"]
        assert fate["candidates"] == fate["queued"] + before
        assert fate["queued"] == given_up + fate["issued"] + fate["waiting"]
        assert fate["issued"] == sum(fate[end] for end in ("useful", "late", "met", "unused", "unread"))
        on = prefetch == "all" or source in prefetch
        assert on == bool(fate["candidates"]), source
        if prefetch == source:
            assert fate["issued"] and fate["useful"]


def test_defective_workload_is_refused_without_a_traceback(tmp_path):
    path = tmp_path / "cut.npz"
    path.write_bytes((ROOT / "sim/data/attention-a.npz").read_bytes()[:1000])
    done = run("--simulator", "golden", "--workload", str(path), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and str(path) in done.stderr


def test_share_too_small_for_the_preset_is_refused(tmp_path, capsys):
    path = tmp_path / "small.npz"
    scalars = {"block_tokens": 16, "layers": 1, "kv_heads": 1, "head_dim": 8, "tokens": 16}
    np.savez(path, mass=np.ones((16, 1, 1, 1)), kv=np.ones((16, 1, 1, 2, 8)), **scalars)
    code = main(["run", "--simulator", "golden", "--workload", str(path), "--out", str(tmp_path / "out")])
    assert code == 2
    assert "2 frames: preset 'small' needs" in capsys.readouterr().err


def test_output_that_cannot_be_a_folder_is_refused(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("kept")
    for out in (file, file / "below"):
        assert main(["run", "--simulator", "golden", "--steps", "1", "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and str(out) in error
    assert file.read_text() == "kept"


def test_missing_tools_are_named(tmp_path):
    for simulator, tool in (("icarus", "iverilog"), ("verilator", "perl")):
        done = run("--simulator", simulator, "--steps", "1", "--out", str(tmp_path / "out"), PATH=str(tmp_path))
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1 and tool in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_old_verilator_package_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "5.6.0")
    assert main(["run", "--simulator", "verilator", "--steps", "1", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "5.6.0" in error and "at least 5.36" in error


@pytest.mark.parametrize("hinted", [False, True])
def test_a_trace_without_hints_scores_by_accesses_and_says_so(hinted, tmp_path, capsys):
    rows = [f"{step},append,0,0,{block}," for step, block in enumerate(range(6))]
    rows += ["6,hint,0,0,0,0.5"] * hinted + ["6,read,0,0,0,"]
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(["step,op,layer,kv_head,block,score", *rows]) + "\n")
    options = ["--simulator", "golden", "--preset", "tiny", "--workload", str(path), "--frames-share", "1"]
    assert main(["run", *options, "--out", str(tmp_path / "out")]) == 0
    said = "workload trace.csv has no hints, which --score mass needs: blocks score by --score access"
    assert (said in capsys.readouterr().out) != hinted
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert result["settings"]["score"] == ("mass" if hinted else "access")


def test_heads_of_a_trace_that_counts_from_one_are_renumbered_and_listed(tmp_path, capsys):
    path = tmp_path / "trace.csv"
    rows = [f"{step},append,1,1,{step}," for step in range(6)]
    path.write_text("\n".join(["step,op,layer,kv_head,block,score", *rows]) + "\n")
    options = ["--simulator", "golden", "--preset", "tiny", "--workload", str(path), "--frames-share", "1"]
    options += ["--out", str(tmp_path / "out")]
    assert main(["run", *options]) == 2
    assert "3 of 2 x 2 heads never occur: (layer 0, kv_head 0)" in capsys.readouterr().err
    assert main(["run", *options, "--renumber"]) == 0
    workload = json.loads((tmp_path / "out" / "results.json").read_text())["workload"]
    assert workload["heads"] == 1 and workload["renumbered"] == {"layers": [1], "kv_heads": [1]}
