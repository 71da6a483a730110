"""Every refusal of the endpoint, and corners of coherency, in golden lock-step."""

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.tb.runs.build import run
from kv_endpoint.tb.runs.tops import interactive_top


def test_every_refusal_has_its_reason(tmp_path):
    settings = {"preset": "tiny", "overrides": {"hosts": 2}, "seed": 1}
    built = interactive_top("verilator", preset("tiny", hosts=2))
    assert (
        run(
            built,
            module="kv_endpoint.tb.scenarios.refusals",
            testcase="every_refusal",
            folder=tmp_path,
            settings=settings,
        )
        == 1
    )


@pytest.mark.parametrize(("testcase", "hosts"), [("corners", 2), ("writes_without_flash", 1)])
def test_what_random_traffic_hardly_comes_to(testcase, hosts, tmp_path):
    settings = {"preset": "tiny", "overrides": {"hosts": 2}, "owners": hosts, "seed": 1}
    built = interactive_top("verilator", preset("tiny", hosts=2))
    assert (
        run(built, module="kv_endpoint.tb.scenarios.corners", testcase=testcase, folder=tmp_path, settings=settings)
        == 1
    )
