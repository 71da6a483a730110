"""Snoops that are never answered leave all other traffic its pace."""

import json

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.tb.runs.build import run
from kv_endpoint.tb.runs.tops import interactive_top

READS = 5000
#: what the endpoint may lose while it asks again and again
LOSS = 0.05


def clocks(folder, **settings):
    """Clocks that the reads take."""
    print("seed 1")
    settings = {"preset": "tiny", "overrides": {"hosts": 2}, "owners": 1, "seed": 1, "reads": READS} | settings
    built = interactive_top("verilator", preset("tiny", hosts=2))
    assert run(built, module="kv_endpoint.tb.scenarios.pace", folder=folder, settings=settings) == 1
    return json.loads((folder / "pace.json").read_text())["clocks"]


RECALLS, SCRUBS = (Mode.EXACT, ["recall", "recall_all"]), (Mode.MXINT8, ["scrub"])


@pytest.mark.parametrize(
    ("mode", "causes", "one_set"),
    [
        (*RECALLS, True),
        (*SCRUBS, False),
        pytest.param(*RECALLS, False, marks=pytest.mark.long),
        pytest.param(*SCRUBS, True, marks=pytest.mark.long),
    ],
)
def test_asking_again_for_what_nobody_answers_costs_little(mode, causes, one_set, tmp_path):
    alone = clocks(tmp_path / "alone", mode=mode, cause="nothing", one_set=one_set)
    assert alone < 1.1 * READS
    for cause in causes:
        beside = clocks(tmp_path / cause, mode=mode, cause=cause, one_set=one_set)
        print(f"{cause}: {beside} clocks, {alone} without")
        assert beside <= (1 + LOSS) * alone, cause
