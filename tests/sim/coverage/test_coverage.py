"""The coverage command: its verdict, its report, and what Verilator counts."""

import re

import pytest

from kv_endpoint.sim.coverage.coverage import MISSED, main, report, verilog_report
from kv_endpoint.sim.coverage.runs import RUNS
from kv_endpoint.sim.results.folder import claimed
from kv_endpoint.tb.checks.bins_hit import Coverage
from kv_endpoint.tb.checks.coverage_bins import GROUPS
from kv_endpoint.tb.runs.build import build, run
from kv_endpoint.tb.runs.verilator_coverage import FILE, VerilogCoverage
from tests.support.paths import HDL


def everything():
    coverage = Coverage()
    for name, group in GROUPS.items():
        for names in group.legal:
            coverage.hit(name, *names)
    return coverage


def leave(folder, coverage):
    folder.mkdir(parents=True)
    coverage.write(folder / "1.coverage.json")
    return str(folder)


def command(tmp_path, *arguments):
    return main([*arguments, "--out", str(tmp_path / "out"), "--runs", "none"])


def test_every_bin_is_enough_and_one_less_is_not(tmp_path, capsys):
    coverage = everything()
    whole = leave(tmp_path / "whole", coverage)
    assert command(tmp_path, whole) == 0
    assert "100.0%" in capsys.readouterr().out
    del coverage.hits["refusal", "COVERED"]
    part = leave(tmp_path / "part", coverage)
    assert command(tmp_path, part) == 1
    assert "    missed: COVERED\n" in capsys.readouterr().out
    assert command(tmp_path, part, "--at-least", "0.99") == 0
    # What one folder lacks another one has.
    assert command(tmp_path, part, whole) == 0


def test_a_bin_that_cannot_be_is_never_enough(tmp_path, capsys):
    coverage = everything()
    coverage.hit("access", "OWN", "A", "A", "CMP_E")
    assert command(tmp_path, leave(tmp_path / "runs", coverage), "--at-least", "0") == 1
    assert (
        "IMPOSSIBLE and hit: access: OWN / A / A / CMP_E (a line has one owner, or readers)" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "arguments", [["--at-least", "2"], ["--at-least", "much"], ["--runs", "all"], ["--runs", "shared,"]]
)
def test_a_bad_option_is_refused_in_a_line(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_that_is_not_there_is_refused_in_a_line(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere"), "--runs", "none"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_report_counts_each_group():
    lines = list(report(Coverage()))
    legal = sum(len(group.legal) for group in GROUPS.values())
    assert lines[0] == f"0 of {legal} bins hit (0.0%)"
    assert sum("missed: " in line for line in lines) == legal
    assert len(lines) == 1 + len(GROUPS) + legal


def test_runs_have_names_of_their_own_and_meet_on_few_lines():
    assert len({run.name for run in RUNS}) == len(RUNS)
    assert {run.hosts for run in RUNS} == {1, 2}


# Verilog --------------------------------------------------------------------------------------------------------------


def point(page, module, line, about, count, source="endpoint.v"):
    fields = {"f": source, "l": line, "n": 1, "t": "x", "page": f"{page}/{module}", "o": about, "h": "top"}
    return "C '" + "".join(f"\x01{key}\x02{value}" for key, value in fields.items()) + f"' {count}\n"


POINTS = (
    point("v_line", "endpoint__02ecsr", 10, "block", 3),
    point("v_line", "endpoint__02ecsr", 11, "case", 0),
    point("v_line", "endpoint__02ecsr__02eport", 20, "case", 1),
    point("v_toggle", "endpoint__02equeue$7", 30, "level[0]:0->1", 5),
    point("v_toggle", "endpoint__02equeue$7", 30, "level[0]:1->0", 0),
)


def test_points_of_several_runs_add_up(tmp_path):
    first, second = tmp_path / "1.dat", tmp_path / "2.dat"
    first.write_text("# SystemC::Coverage-3\n" + "".join(POINTS))
    second.write_text(point("v_line", "endpoint__02ecsr", 11, "case", 2))
    coverage = VerilogCoverage()
    coverage.read(first)
    assert coverage.shares("lines") == {"endpoint.csr": (1, 2), "endpoint.csr.port": (1, 1)}
    assert coverage.missed("lines") == [("endpoint.csr", (11, "case"))]
    assert coverage.missed("toggles") == [("endpoint.queue$7", "level[0]:1->0")]
    table = {line.split()[0]: line for line in verilog_report(coverage)}
    assert "2 of 3" in table["endpoint.csr"] and "1 of 2" in table["endpoint.queue"] and "2 of 3" in table["all"]
    coverage.read(second)
    assert coverage.shares("lines")["endpoint.csr"] == (2, 2)


@pytest.mark.parametrize("text", ["C 'x' 1\n", "what\n", point("v_line", "m", 1, "case", 1, source="other.v")])
def test_a_file_that_is_not_of_this_build_is_refused(tmp_path, text):
    file = tmp_path / FILE
    file.write_text(POINTS[0])
    coverage = VerilogCoverage()
    coverage.read(file)
    file.write_text(text)
    with pytest.raises(ValueError, match=FILE):
        coverage.read(file)


def test_verilator_counts_the_lines_and_bits_of_what_is_covered(tmp_path):
    sources = {"stream_pass.v": (HDL / "stream_pass.v").read_text()}
    # With waves, as the bus kit's test builds it: Verilator's own library is compiled anew for each such set.
    built = build("verilator", top="stream_pass", sources=sources, waves=True, covered=("stream_pass.v",))
    assert built.folder != build("verilator", top="stream_pass", sources=sources).folder
    run(built, module="kv_endpoint.tb.scenarios.bus_kit", folder=tmp_path, seed=1)
    coverage = VerilogCoverage()
    coverage.read(tmp_path / FILE)
    for kind in ("lines", "toggles"):
        (reached, count), *_ = coverage.shares(kind).values()
        assert 0 < reached <= count
    with pytest.raises(ValueError, match="coverage is Verilator's"):
        build("icarus", top="stream_pass", sources=sources, covered=("stream_pass.v",))


def test_what_was_not_reached_goes_to_a_file(tmp_path, monkeypatch, capsys):
    """The command with a run in the place of the real ones, which leaves coverage of both kinds."""

    def play(run, folder, *, seed, verilog):
        folder.mkdir(parents=True)
        everything().write(folder / "messages.coverage.json")
        if verilog:
            (folder / FILE).write_text("".join(POINTS))

    monkeypatch.setattr("kv_endpoint.sim.coverage.coverage.play", play)
    assert main(["--verilog", "--out", str(tmp_path / "some"), "--runs", "shared,lossy"]) == 0
    assert re.findall(r"^run (\w+): seed 1$", capsys.readouterr().out, re.MULTILINE) == ["shared", "lossy"]
    assert main(["--verilog", "--out", str(tmp_path / "all")]) == 0
    printed = capsys.readouterr().out
    assert all(f"run {run.name}: seed 1" in printed for run in RUNS)
    assert "endpoint.csr" in printed
    assert (tmp_path / "all" / MISSED).read_text().splitlines() == [
        "lines endpoint.csr (11, 'case')", "toggles endpoint.queue$7 level[0]:1->0",
    ]  # fmt: skip
    assert not list(tmp_path.rglob(FILE))


def test_coverage_that_no_finished_run_has_written_is_not_counted(tmp_path, capsys):
    everything().write(tmp_path / "out.coverage.json")
    with claimed(str(tmp_path / "out"), ()):
        pass
    (tmp_path / "out.coverage.json").rename(tmp_path / "out" / "left.coverage.json")
    assert main(["--out", str(tmp_path / "out")]) == 2
    assert "left.coverage.json" in capsys.readouterr().err
