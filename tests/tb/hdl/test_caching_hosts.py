"""The caching hosts of the batch form around a stand-in for the endpoint, on both simulators; each check can fail."""

from dataclasses import replace

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.tb.runs.batch import BatchSettings
from kv_endpoint.tb.runs.batch import run as run_batch
from kv_endpoint.tb.runs.build import SIMULATORS, SimulationFailed, build
from kv_endpoint.tb.runs.verilog_header import bench_sources
from kv_endpoint.tb.stimuli.caching import Action, CachingHosts
from tests.support.stand_ins import stand_in, stand_in_widths

BATCH = BatchSettings(watchdog_clocks=3000, message_clocks=20_000, poll_clocks=5000)
HOSTS = CachingHosts(requests=4000, base=0, blocks=8, snoop_max=60, link_max=60)


def built(simulator, hosts):
    config = preset("tiny", hosts=hosts)
    sources = bench_sources(config, stand_in_widths(config)) | stand_in("coherent")
    return build(simulator, top="bench", sources=sources)


def play(simulator, hosts, folder, given=HOSTS, fault=0, **more):
    given = replace(given, shared=hosts > 1)
    batch = replace(BATCH, hosts=given, registers=[("LEAP_CAP", fault)] if fault else [], **more)
    return run_batch(built(simulator, hosts), [], batch, folder)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (1, "completed as it must not be|a response to a caching host that is not due"),
        (2, "read what the line does not hold"),
        (3, "two hosts hold a line, one of which owns it"),
        (4, "that is not due, with tag"),
        (5, "being snooped"),
        (6, "with a BITag in use"),
        (7, "read what the line does not hold"),
        (8, "completed as it must not be"),
        (9, "no response and no record for 3000 clocks"),
        (10, "a BISnp that is not legal"),
    ],
)
def test_a_broken_rule_is_noticed(fault, message, tmp_path):
    with pytest.raises(SimulationFailed, match=message):
        play("verilator", 2, tmp_path, fault=fault)


@pytest.mark.parametrize(
    "values",
    [{"requests": 0}, {"lines": 6}, {"blocks": 257}, {"in_flight": 97}, {"snoop_min": 101}, {"rate": 257},
     {"shares": {Action.DROP: 0}}, {"shares": {Action.DROP: 256}}],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values)).split("_")[0]):
        replace(HOSTS, **values)


LONG = [pytest.param(*case, marks=pytest.mark.long) for case in ((0, 1), (77, 1), (77, 2))]


@pytest.mark.parametrize(("pause_seed", "hosts"), [(0, 2), *LONG])
def test_both_simulators_do_the_same_and_every_kind_of_thing_happens(hosts, pause_seed, tmp_path):
    outcomes = []
    for simulator in SIMULATORS:
        print(f"seed {HOSTS.seed}, pauses {pause_seed}")
        outcomes.append(play(simulator, hosts, tmp_path / simulator, pause_seed=pause_seed))
    assert outcomes[0] == outcomes[1]
    counts = outcomes[0]["hosts"]
    assert counts["issued"] == counts["answered"] >= HOSTS.requests
    # Hosts that share ask for whole lines of each other; halves are the stand-in's own wish, which has fewer chances.
    seldom = {"cur_2", "data_2", "inv_2"} if hosts > 1 else set()
    assert {name for name, count in counts.items() if not count} <= seldom
