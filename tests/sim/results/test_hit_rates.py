"""On the bundled trace the reset policy comes near the best that a policy with bypass could do knowing the future."""

import json

import pytest

from kv_endpoint.sim.cli import main

#: share of frames, pool, part of the hit rate of Belady with bypass that must be reached
REQUIRED = [
    pytest.param("0.25", "shared", 0.95, marks=pytest.mark.long),
    pytest.param("0.125", "shared", 0.88, marks=pytest.mark.long),
    pytest.param("0.25", "per-head", 0.97, marks=pytest.mark.long),
    ("0.125", "per-head", 0.95),
]


@pytest.mark.parametrize(("share", "pool", "part"), REQUIRED)
def test_demand_hit_rate_against_belady_with_bypass(share, pool, part, tmp_path):
    options = ["--simulator", "golden", "--frames-share", share, "--pool", pool, "--out", str(tmp_path)]
    assert main(["run", *options]) == 0
    result = json.loads((tmp_path / "results.json").read_text())
    assert result["demand"]["hit_rate"] >= part * result["baselines"]["belady_bypass"]
