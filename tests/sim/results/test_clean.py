"""Results are removed when asked for, and nothing else."""

from kv_endpoint.sim.results.clean import main
from kv_endpoint.sim.results.folder import MARKER, claimed


def results(folder):
    with claimed(str(folder), ()) as out:
        (out / "results.json").write_text("1")
    (folder / "notes.txt").write_text("mine")


def test_it_says_what_it_would_remove_and_removes_nothing(tmp_path, capsys):
    results(tmp_path / "a")
    assert main([str(tmp_path)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[:-1] == [str(tmp_path / "a" / "results.json")] and told[-1].startswith("1 files would be removed")
    assert (tmp_path / "a" / "results.json").exists()


def test_it_removes_what_runs_have_written_and_the_markers(tmp_path):
    results(tmp_path)
    results(tmp_path / "a")
    assert main([str(tmp_path), "--remove"]) == 0
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "notes.txt", "notes.txt"]


def test_a_marker_that_lists_a_path_outside_stops_it(tmp_path, capsys):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / MARKER).write_text('{"written": ["../notes.txt"]}')
    (tmp_path / "notes.txt").write_text("mine")
    assert main([str(tmp_path), "--remove"]) == 2
    assert "must be below" in capsys.readouterr().err and (tmp_path / "notes.txt").exists()


def test_nothing_there_is_nothing_to_remove(tmp_path, capsys):
    assert main([str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out.startswith("0 files")
