"""A result says where it comes from, and names neither user nor host."""

import re
import subprocess

import pytest

from kv_endpoint.sim.results.provenance import provenance, revision


def git(folder, *arguments):
    names = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True)


def test_it_names_version_date_and_machine_and_nothing_else():
    found = provenance()
    assert list(found) == ["version", "revision", "date", "system", "processor", "cores", "python"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["date"])
    assert found["cores"] >= 1 and found["processor"]


def test_a_changed_file_makes_the_revision_dirty(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "one")
    git(tmp_path, "tag", "v1")
    clean = revision(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{12}", clean)
    (tmp_path / "file").write_text("2")
    assert revision(tmp_path) == f"{clean}-dirty"


@pytest.mark.parametrize("made", [False, True])
def test_outside_of_a_checkout_there_is_none(made, tmp_path):
    if made:
        (tmp_path / ".git").mkdir()
    assert revision(tmp_path) is None
