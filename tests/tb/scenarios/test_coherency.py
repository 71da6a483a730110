"""The endpoint with hosts that cache its lines, on both simulators: random traffic, faults, all in golden lock-step.

Each run prints its seed and leaves its counts in `coherency.json`; `settings` are those of `tb/scenarios/coherency.py`.
"""

import json

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.tb.runs.build import SIMULATORS, SimulationFailed, run
from kv_endpoint.tb.runs.tops import interactive_top

STALLED = 0.3
#: requests a host, what some seconds allow
REQUESTS = {"verilator": 400, "icarus": 40}
#: what a run on Verilator must come to at least
LEAST = {
    1: {"early": 5, "late": 5, "victims": 50, "write_backs": 10, "partial_recalls": 1},
    2: {"early": 10, "late": 5, "victims": 50, "write_backs": 10, "partial_recalls": 1},
}


def cocotb_test(
    simulator,
    folder,
    testcase,
    *,
    hosts=1,
    seed=1,
    overrides=None,
    module="kv_endpoint.tb.scenarios.faults",
    **settings,
):
    """Run one cocotb test; the counts that it wrote, if any."""
    print(f"seed {seed}")
    # One build for either number of hosts that are there.
    overrides = {"hosts": 2} | (overrides or {})
    settings = {
        "preset": "tiny",
        "overrides": overrides,
        "owners": hosts,
        "seed": seed,
        "requests": REQUESTS[simulator],
    } | settings
    built = interactive_top(simulator, preset("tiny", **overrides))
    assert run(built, module=module, testcase=testcase, folder=folder, settings=settings) == 1
    counts = folder / "coherency.json"
    return json.loads(counts.read_text()) if counts.exists() else None


def random_test(simulator, folder, **settings):
    return cocotb_test(simulator, folder, "random_coherent", module="kv_endpoint.tb.scenarios.coherency", **settings)


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_random_traffic_of_caching_hosts(hosts, seed, tmp_path):
    random_test("verilator", tmp_path, hosts=hosts, seed=seed, share=STALLED, late=True, least=LEAST[hosts])


@pytest.mark.parametrize("hosts", [1, pytest.param(2, marks=pytest.mark.long)])
def test_random_traffic_of_caching_hosts_on_icarus(hosts, tmp_path):
    random_test("icarus", tmp_path, hosts=hosts, seed=3, share=STALLED, late=True, blocks=4)


def test_random_traffic_in_lossy_memory(tmp_path):
    """Hosts keep copies of what they write back, which differ from what memory gives: each is taken back."""
    weights = {"READ_OWN": 4, "WRITE_KEEP": 6, "store": 8, "READ_SHARED": 2, "WRITE_BACK": 1, "WRITE_THROUGH": 1}
    more = {"weights": weights, "in_flight": 4, "least": {"scrubs": 5, "WRITE_KEEP": 20}}
    random_test("verilator", tmp_path, seed=4, mode=Mode.MXINT8, poisoned=0.2, share=STALLED, **more)


@pytest.mark.long
def test_both_simulators_tell_the_same(tmp_path):
    settings = {"seed": 5, "requests": 40}
    told = [random_test(simulator, tmp_path / simulator, **settings) for simulator in SIMULATORS]
    assert told[0] == told[1] and told[0]["completed"] >= 40


@pytest.mark.long
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_few_read_slots(simulator, tmp_path):
    """All are taken at times; what is unknown to a simulator of four states must not matter then."""
    told = random_test(simulator, tmp_path, seed=5, requests=40, overrides={"read_slots": 8})
    assert told["completed"] >= 40


@pytest.mark.parametrize("hosts", [pytest.param(1, marks=pytest.mark.long), 2])
def test_errors_of_media_reach_hosts_as_poison(hosts, tmp_path):
    faults = {"AXI_READ": 0.02, "AXI_WRITE": 0.02, "PAGE_READ": 0.1, "PAGE_WRITE": 0.1}
    random_test("verilator", tmp_path, hosts=hosts, seed=6, share=STALLED, faults=faults)


def test_every_coherent_message(tmp_path):
    cocotb_test("verilator", tmp_path, "every_coherent_message", share=0.1)


def test_two_hosts_share_a_region_and_not_another(tmp_path):
    cocotb_test("verilator", tmp_path, "two_hosts_share_and_do_not_share", hosts=2, share=0.1)


@pytest.mark.parametrize("hosts", [pytest.param(1, marks=pytest.mark.long), 2])
def test_answers_that_answer_nothing_are_counted_and_change_nothing(hosts, tmp_path):
    cocotb_test("verilator", tmp_path, "bad_answers", hosts=hosts, seed=7, share=STALLED)


def test_an_answer_that_does_not_come_is_reported_and_holds_up_its_lines_only(tmp_path):
    cocotb_test("verilator", tmp_path, "an_answer_that_does_not_come", seed=8)


def test_writes_wait_for_no_snoop(tmp_path):
    cocotb_test("verilator", tmp_path, "writes_wait_for_no_snoop", seed=9)


@pytest.mark.parametrize("hosts", [1, pytest.param(2, marks=pytest.mark.long)])
def test_ports_that_close_for_long_lose_nothing(hosts, tmp_path):
    cocotb_test("verilator", tmp_path, "closed_ports", hosts=hosts, seed=10, requests=300)


def test_illegal_messages_do_no_harm(tmp_path):
    cocotb_test("verilator", tmp_path, "illegal_messages_in_traffic", hosts=2, seed=11, share=STALLED)


@pytest.mark.parametrize("hosts", [1, pytest.param(2, marks=pytest.mark.long)])
def test_nothing_stale_is_answered_after_a_reset_in_traffic(hosts, tmp_path):
    cocotb_test("verilator", tmp_path, "reset_in_traffic", hosts=hosts, seed=12, share=STALLED)


def test_reads_that_may_be_cached_while_flash_cannot_be_written(tmp_path):
    cocotb_test("verilator", tmp_path, "flash_that_cannot_be_written", seed=13)


def test_ownership_is_not_granted_where_flash_leaves_no_frame(tmp_path):
    cocotb_test("verilator", tmp_path, "ownership_without_flash")


def test_a_run_that_comes_to_too_little_fails(tmp_path):
    with pytest.raises(SimulationFailed, match="late: .*, at least 1000000 expected"):
        random_test("verilator", tmp_path, requests=20, least={"late": 1_000_000})
