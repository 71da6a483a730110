"""The regression notices mistakes in the RTL: some of the mutations here, all of them by `make mutants`."""

import shutil
from dataclasses import replace

import pytest

from tests.mutants.__main__ import MutationError, apply, main, run_mutation
from tests.mutants.mutations import MUTATIONS, Mutation
from tests.support.paths import ROOT

BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}
REQUIRED = {
    "forwarding-removed", "tie-break-reversed", "dirty-bit-dropped", "ema-rounding-changed", "decay-skipped",
    "protection-ignored", "waiver-missing", "quota-ignored", "reserve-ignored", "sidecar-not-cleared",
    "cancelled-demotion-completed", "event-dropped",
}  # fmt: skip
HARMLESS = Mutation(
    name="harmless",
    file="hw/victims/tournament.py",
    old='"""The tournament over heads: which',
    new='"""The tournament among heads: which',
    tests=("tests/golden/common/test_config.py",),
    why="nothing is broken",
)


@pytest.mark.parametrize("name", ["forwarding-removed", "tie-break-reversed", "event-dropped"])
def test_the_regression_kills(name, tmp_path):
    verdict = run_mutation(BY_NAME[name], tmp_path)
    assert verdict.killed, verdict.by


@pytest.mark.parametrize("name", BY_NAME)
def test_a_mutation_fits_the_sources_and_changes_them(name, tmp_path):
    mutation = BY_NAME[name]
    (tmp_path / mutation.file).parent.mkdir(parents=True)
    shutil.copy(ROOT / mutation.file, tmp_path / mutation.file)
    apply(mutation, tmp_path)
    changed = (tmp_path / mutation.file).read_text()
    assert changed != (ROOT / mutation.file).read_text()
    compile(changed, mutation.file, "exec")
    with pytest.raises(MutationError, match="must stand once"):
        apply(replace(mutation, old="no such text"), tmp_path)


def test_every_required_mistake_is_there_and_names_are_unique():
    assert BY_NAME.keys() >= REQUIRED
    assert len(BY_NAME) == len(MUTATIONS)


def test_a_mutant_that_nothing_notices_is_a_survivor(tmp_path, capsys):
    assert main([], mutations=(HARMLESS,), folder=tmp_path) == 1
    assert "harmless survived: nothing is broken: all passed" in capsys.readouterr().out


def test_a_mutant_that_cannot_be_built_is_no_kill(tmp_path):
    broken = replace(
        BY_NAME["tie-break-reversed"],
        new="sibling_is_lower = no_such_name",
        tests=("tests/hw/victims/test_tournament.py",),
    )
    with pytest.raises(MutationError, match="no check: .*NameError"):
        run_mutation(broken, tmp_path)


def test_a_test_that_fails_without_a_mutation_kills_nothing(tmp_path, capsys):
    (failing := tmp_path / "test_failing.py").write_text("def test_failing():\n    assert False\n")
    assert main([], mutations=(replace(HARMLESS, tests=(str(failing),)),), folder=tmp_path) == 1
    assert "the sources without a mutation: FAILED" in capsys.readouterr().out
    assert not (tmp_path / "verdicts.json").exists()
