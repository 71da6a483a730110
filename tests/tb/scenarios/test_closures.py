"""Every port of the endpoint closes for long in the middle of traffic, on both simulators; and in a reset."""

import itertools

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.hw.endpoint import Endpoint
from kv_endpoint.tb.runs.build import run
from kv_endpoint.tb.runs.tops import interactive_top
from kv_endpoint.tb.stimuli.faults import channels

#: longer than any timeout of the configuration and than any queue takes to fill
CLOSED_CLOCKS = 4000
STALLED = 0.3
#: traffic of a round
SIZE = {"requests": 60, "accesses": 80}


def closures(simulator, folder, testcase, *, seed, cached_mode, **settings):
    print(f"seed {seed}")
    settings = {
        "preset": "tiny",
        "overrides": {"hosts": 2},
        "owners": 1,
        "seed": seed,
        "cached_mode": cached_mode,
        "closed_clocks": CLOSED_CLOCKS,
    } | settings
    built = interactive_top(simulator, preset("tiny", hosts=2))
    module = "kv_endpoint.tb.scenarios.closures"
    assert run(built, module=module, testcase=testcase, folder=folder, settings=SIZE | settings) == 1


PORTS = list(channels(Endpoint(config=preset("tiny", hosts=2)).signature))
HALVES = {"even": PORTS[::2], "odd": PORTS[1::2]}
ALL = list(itertools.product(Mode, (0.0, STALLED), HALVES))
#: each port once, in either mode of the cached region, with and without stalls
SHORT = [(Mode.EXACT, STALLED, "even"), (Mode.MXINT8, 0.0, "odd")]
LONG = [pytest.param(*case, marks=pytest.mark.long) for case in ALL if case not in SHORT]


@pytest.mark.parametrize(("cached_mode", "share", "half"), [*SHORT, *LONG])
def test_a_port_that_closes_for_long_loses_nothing_and_stops_no_others(cached_mode, share, half, tmp_path):
    options = {"cached_mode": cached_mode, "share": share, "channels": HALVES[half]}
    closures("verilator", tmp_path, "closed_for_long", seed=1 + cached_mode, **options)


@pytest.mark.long
def test_a_port_that_closes_for_long_on_icarus(tmp_path):
    few = ["rwd", "drs", "bisnp", "mem.r", "mem.b", "page_done", "engine_record", "csr.b"]
    short = {"channels": few, "closed_clocks": 2000, "requests": 30, "accesses": 60}
    closures("icarus", tmp_path, "closed_for_long", seed=3, cached_mode=Mode.EXACT, **short)


@pytest.mark.parametrize("cached_mode", [pytest.param(Mode.EXACT, marks=pytest.mark.long), Mode.MXINT8])
def test_a_reset_while_a_port_is_closed_leaves_nothing_behind(cached_mode, tmp_path):
    short = {"closed_clocks": 1000, "share": 0.2}
    closures("verilator", tmp_path, "reset_while_closed", seed=5, cached_mode=cached_mode, **short)
