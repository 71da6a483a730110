"""`docs/measured.md` is made of the rows of benches: theirs replace older ones, and nothing else."""

import json

import pytest

from kv_endpoint.sim.bench.measured import KEPT, PAGE, main, merged, page
from kv_endpoint.sim.bench.row import Row, write_rows

ROWS = [
    Row("lions", "roars in a night", 12, "times", ">=", 10),
    Row("lions", "loudest of them", 114.2, "dB"),
    Row("zebras", "stripes", 5.5, "of 6", "=", 6, command="make zebras"),
]


@pytest.fixture
def files(tmp_path):
    return tmp_path / "kept.json", tmp_path / "page.md"


def rows_file(path, rows, broken=()):
    write_rows(path, rows, broken)
    return str(path)


def test_a_file_becomes_a_page_with_where_each_bench_comes_from(tmp_path, files):
    assert main([rows_file(tmp_path / "rows.json", ROWS)], *files) == 0
    text = files[1].read_text()
    lions, zebras = text.split("## ")[1:]
    assert lions.startswith("lions\n") and zebras.startswith("zebras\n")
    assert "- command: `python -m sim bench --only lions`" in lions
    assert "- command: `make zebras`" in zebras
    assert "| roars in a night | 12 | times | >= 10 | ok |" in lions
    assert "| loudest of them | 114 | dB |  |  |" in lions
    assert "| stripes | 5.500 | of 6 | = 6 | FAILED |" in zebras
    for heading in ("revision", "date", "machine"):
        assert text.count(f"- {heading}: ") == 2


def test_a_later_file_replaces_whole_benches_and_leaves_others(tmp_path, files):
    main([rows_file(tmp_path / "rows.json", ROWS)], *files)
    main([rows_file(tmp_path / "later.json", [Row("lions", "roars in a night", 3, "times")])], *files)
    kept = json.loads(files[0].read_text())
    assert [row["measured"] for row in kept["lions"]["rows"]] == [3]
    assert [row["measured"] for row in kept["zebras"]["rows"]] == [5.5]
    assert "loudest" not in files[1].read_text()


@pytest.mark.parametrize("text", ["", "[]", '{"rows": []}', '{"rows": [{}], "broken": []}', "\x00"])
def test_what_is_no_file_of_rows_is_refused_in_one_line_and_changes_nothing(text, tmp_path, files, capsys):
    (tmp_path / "rows.json").write_text(text)
    assert main([str(tmp_path / "rows.json")], *files) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "rows.json" in error
    assert not files[0].exists() and not files[1].exists()


def test_rows_of_a_broken_bench_are_refused(tmp_path, files, capsys):
    assert main([rows_file(tmp_path / "rows.json", ROWS, ["zebras"])], *files) == 2
    assert "zebras" in capsys.readouterr().err


def test_the_page_in_docs_is_that_of_the_rows_kept_beside_it():
    benches = json.loads(KEPT.read_text())
    assert PAGE.read_text() == page(benches)
    assert merged(benches, {"rows": [], "broken": []}) == benches
