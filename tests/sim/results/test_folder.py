"""A folder of results: a run replaces what runs have written there, and touches nothing else."""

import json
import os
import subprocess
import sys

import pytest

from kv_endpoint.sim.results.folder import MARKER, check_folder, claimed
from kv_endpoint.sim.settings import SettingsError
from tests.support.paths import ROOT

PLANNED = ("results.json", "simulation/sim.log")


def play(folder, **files):
    """A run that writes these files."""
    with claimed(str(folder), PLANNED) as out:
        for name, text in files.items():
            path = out / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)


def tree(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def listed(folder):
    return json.loads((folder / MARKER).read_text())["written"]


@pytest.mark.parametrize("there", [False, True])
def test_an_empty_folder_is_taken_and_what_comes_into_it_is_listed(there, tmp_path):
    folder = tmp_path / "out"
    if there:
        folder.mkdir()
    play(folder, **{"results.json": "1", "simulation__sim.log": "2", "more.txt": "3"})
    assert listed(folder) == ["more.txt", "results.json", "simulation/sim.log"]


def test_the_next_run_removes_what_is_listed_and_keeps_what_a_user_put_beside_it(tmp_path):
    play(tmp_path, **{"results.json": "old", "simulation__sim.log": "old", "more.txt": "old"})
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "simulation" / "notes.txt").write_text("mine")
    play(tmp_path, **{"results.json": "new"})
    files = tree(tmp_path)
    assert files.pop(MARKER)
    assert files == {"results.json": "new", "notes.txt": "mine", "simulation/notes.txt": "mine"}
    assert listed(tmp_path) == ["results.json"]


@pytest.mark.parametrize("files", [["notes.txt"], ["waves.vcd"], ["simulation/notes.txt"], ["results.json"]])
def test_a_folder_of_somebody_else_is_refused_by_name_and_left_as_it_is(files, tmp_path):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(SettingsError, match=f"--out .*{files[0]}"):
        play(tmp_path, **{"results.json": "new"})
    assert tree(tmp_path) == before


def test_results_without_a_marker_are_replaced_with_what_belongs_to_them(tmp_path):
    ours = dict.fromkeys(("schema", "preset", "simulator", "golden", "demand"), 1)
    (tmp_path / "results.json").write_text(json.dumps(ours))
    (tmp_path / "events.txt").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    play(tmp_path, **{"results.json": "new"})
    files = tree(tmp_path)
    assert files.pop(MARKER)
    assert files == {"results.json": "new", "notes.txt": "mine"}


def test_a_planned_file_that_no_run_has_written_is_named(tmp_path):
    play(tmp_path, **{"more.txt": "1"})
    (tmp_path / "results.json").write_text("mine")
    with pytest.raises(SettingsError, match="no run has written the results.json there"):
        play(tmp_path)
    assert (tmp_path / "results.json").read_text() == "mine"


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside.txt", "link/outside.txt", "", 5])
def test_a_marker_that_lists_a_path_outside_is_refused(name, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    (folder / MARKER).write_text(json.dumps({"written": [name]}))
    with pytest.raises(SettingsError, match="must be below"):
        play(folder)
    assert outside.read_text() == "mine"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"written": "results.json"}', "[" * 100_000])
def test_a_broken_marker_is_refused(text, tmp_path):
    (tmp_path / MARKER).write_text(text)
    with pytest.raises(SettingsError, match="must list the files of a run"):
        play(tmp_path)


def test_a_marker_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere.json").write_text('{"written": []}')
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / MARKER).symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(SettingsError, match="not a link"):
        play(folder)


def test_a_folder_of_the_run_that_is_a_link_is_refused(tmp_path):
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    play(folder)
    elsewhere.mkdir()
    (folder / "simulation").symlink_to(elsewhere)
    with pytest.raises(SettingsError, match=r"simulation/sim\.log would lead outside"):
        play(folder)


def test_a_listed_link_goes_and_what_it_leads_to_stays(tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    folder = tmp_path / "out"
    play(folder, **{"results.json": "old"})
    (folder / "results.json").unlink()
    (folder / "results.json").symlink_to(outside)
    play(folder, **{"results.json": "new"})
    assert outside.read_text() == "mine" and not (folder / "results.json").is_symlink()


def test_folders_of_other_commands_in_it_are_left_alone(tmp_path):
    play(tmp_path / "waves", **{"waves.vcd": "1"})
    (tmp_path / "verilog").mkdir()
    (tmp_path / "verilog" / "manifest.json").write_text('{"top": "endpoint"}')
    play(tmp_path, **{"results.json": "1"})
    play(tmp_path, **{"results.json": "2"})
    assert (tmp_path / "waves" / "waves.vcd").exists() and (tmp_path / "verilog" / "manifest.json").exists()
    assert listed(tmp_path) == ["results.json"]


def test_two_runs_in_one_folder_the_second_is_told_who_has_it(tmp_path):
    program = "from kv_endpoint.sim.results.folder import claimed\nwith claimed({!r}, ()): pass"
    with claimed(str(tmp_path), ()):
        done = subprocess.run(
            [sys.executable, "-c", program.format(str(tmp_path))], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert done.returncode == 1 and f"in use by process {os.getpid()}" in done.stderr
    play(tmp_path)


def test_a_run_that_fails_leaves_a_list_of_what_it_has_written(tmp_path):
    with pytest.raises(RuntimeError), claimed(str(tmp_path), PLANNED) as out:
        (out / "results.json").write_text("half")
        raise RuntimeError
    assert listed(tmp_path) == ["results.json"]
    play(tmp_path)
    assert tree(tmp_path).keys() == {MARKER}


def test_no_name_and_a_file_are_no_folders(tmp_path):
    with pytest.raises(SettingsError, match="--out '': must name a folder"):
        check_folder("", ())
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="must be a folder that can be written"):
        check_folder(str(tmp_path / "file"), ())
