"""The Makefile: what it is told reaches the program as one word, and what it does not know it refuses by name."""

import os
import subprocess

import pytest

from tests.support.paths import ROOT


def make(*arguments, **variables):
    """A dry run: (exit code, what it would run, what it says)."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | variables
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["PREFECH", "sim", "WORKLOADS"])
def test_a_misspelt_variable_is_refused_by_name(name):
    code, run, said = make("sim", f"{name}=all")
    assert code == 2 and run == ""
    assert f"{name}: no variable of this Makefile" in said and "PREFETCH" in said


@pytest.mark.parametrize("word", ["with space.csv", "it's.csv", "a;b.csv", "$$(c).csv", '"quoted".csv', "*.csv"])
def test_what_a_variable_holds_reaches_the_program_as_one_word(word):
    code, run, _ = make("sim", f"WORKLOAD={word}", f"OUT={word}")
    assert code == 0
    command = run.splitlines()[-1].replace(".venv/bin/python", "printf '%s\\n'")
    words = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.splitlines()
    meant = word.replace("$$", "$")
    assert words[words.index("--workload") + 1] == meant and words[words.index("--out") + 1] == meant


def test_variables_of_the_environment_and_of_make_are_nobodys_mistake():
    assert make("sim", PREFECH="all")[0] == 0
    assert make("-j2", "sim", "SEED=3")[0] == 0


def test_cleaning_takes_no_results():
    _, run, _ = make("clean")
    assert "rm -rf build" in run and " out" not in run


def test_coverage_removes_nothing_that_the_user_names():
    _, run, _ = make("coverage", "OUT=precious")
    removed = [line for line in run.splitlines() if "rm " in line]
    assert removed and not any("precious" in line for line in removed)
