"""Lines and rows that DDR5 cannot give or does not take: poison for just those, counted, and nothing hangs."""

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.tb.runs.build import run
from kv_endpoint.tb.runs.tops import interactive_top

STALLED = 0.3


def uncorrectable(folder, testcase, **settings):
    print("seed 1")
    built = interactive_top("verilator", preset("tiny", hosts=2))
    settings = {"preset": "tiny", "overrides": {"hosts": 2}, "owners": 1, "seed": 1} | settings
    assert (
        run(built, module="kv_endpoint.tb.scenarios.uncorrectable", testcase=testcase, folder=folder, settings=settings)
        == 1
    )


@pytest.mark.parametrize("share", [pytest.param(0.0, marks=pytest.mark.long), STALLED])
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("what", ["line", "row"])
def test_what_cannot_be_read_is_poison_and_nothing_else(what, mode, share, tmp_path):
    uncorrectable(tmp_path, f"a_{what}_that_cannot_be_read", mode=mode, share=share)


@pytest.mark.parametrize("share", [pytest.param(0.0, marks=pytest.mark.long), STALLED])
@pytest.mark.parametrize("mode", Mode)
def test_a_line_that_memory_refuses_is_poison_until_it_is_written(mode, share, tmp_path):
    uncorrectable(tmp_path, "a_line_that_is_not_taken", mode=mode, share=share)


@pytest.mark.parametrize("refuses", ["once", "always", "every"])
@pytest.mark.parametrize("mode", Mode)
def test_a_row_that_memory_refuses_keeps_nobody_waiting(mode, refuses, tmp_path):
    uncorrectable(tmp_path, "a_row_that_is_never_taken", mode=mode, refuses=refuses)
