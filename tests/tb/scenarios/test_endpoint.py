"""The endpoint on both simulators: directed and random cocotb tests in golden lock-step; both forms of the bench."""

import itertools
import json
from dataclasses import replace
from types import MappingProxyType

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.messages import DevLoad
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.common.policy import Priority, ScoreSource
from kv_endpoint.golden.front.address import encode
from kv_endpoint.golden.host.operations import fence_all, read, write
from kv_endpoint.golden.host.regions import regions_writes
from kv_endpoint.golden.registers.rules import pack, reset_regions, unpack
from kv_endpoint.tb.checks.golden_endpoint import golden_endpoint
from kv_endpoint.tb.checks.image import DataMismatch
from kv_endpoint.tb.checks.recorded import EVENTS, MESSAGES, Answer, Offer, read_events, read_messages
from kv_endpoint.tb.checks.recorded_data import check_data
from kv_endpoint.tb.runs.batch import BatchSettings
from kv_endpoint.tb.runs.batch import run as run_batch
from kv_endpoint.tb.runs.build import SIMULATORS, SimulationFailed, run
from kv_endpoint.tb.runs.tops import batch_top, interactive_top
from kv_endpoint.tb.stimuli.random_traffic import random_operations

#: the build that the tests of the whole endpoint share; a host that caches nothing does not see the other
CONFIG = preset("tiny", hosts=2)
REGION = reset_regions(CONFIG)[0]
#: steps x accesses of a random test: what some seconds allow
SIZE = {"verilator": (4, 80), "icarus": (2, 50)}
POOL_FRAMES = 8
#: part of the clocks in which a port stalls
STALLED = 0.5
#: Where four states make no difference that other tests on Icarus would not show, its turn is in `make regress`.
SELDOM_ICARUS = ["verilator", pytest.param("icarus", marks=pytest.mark.long)]


def seldom(*values):
    return pytest.param(*values, marks=pytest.mark.long)


def cocotb_test(simulator, folder, testcase, *, seed=1, **settings):
    steps, accesses = SIZE[simulator]
    settings = {
        "preset": CONFIG.name,
        "overrides": {"hosts": CONFIG.hosts},
        "seed": seed,
        "pool_frames": POOL_FRAMES,
        "steps": steps,
        "accesses": accesses,
    } | settings
    built = interactive_top(simulator, CONFIG)
    assert (
        run(built, module="kv_endpoint.tb.scenarios.endpoint", testcase=testcase, folder=folder, settings=settings) == 1
    )


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_every_kind_of_message_is_answered_as_it_must(simulator, tmp_path):
    cocotb_test(simulator, tmp_path, "every_message")


@pytest.mark.parametrize("simulator", SELDOM_ICARUS)
def test_regions_split_the_heads_and_can_move(simulator, tmp_path):
    cocotb_test(simulator, tmp_path, "two_regions")


@pytest.mark.parametrize(("simulator", "seed"), [("verilator", 1), seldom("verilator", 2), seldom("icarus", 3)])
def test_random_traffic_with_every_port_stalling(simulator, seed, tmp_path):
    cocotb_test(simulator, tmp_path, "random_traffic", seed=seed, share=STALLED)


POLICIES = list(itertools.product(Priority, ScoreSource))
#: each priority and each score once
SOME_POLICIES = list(zip(Priority, ScoreSource, strict=True))


@pytest.mark.parametrize(
    ("simulator", "priority", "score"),
    [
        *(("verilator", *policy) if policy in SOME_POLICIES else seldom("verilator", *policy) for policy in POLICIES),
        *(seldom("icarus", *policy) for policy in POLICIES),
    ],
)
def test_random_traffic_under_every_policy(simulator, priority, score, tmp_path):
    policy = pack("POLICY", PRIORITY=priority, SCORE=score, PROTECT=int(score != ScoreSource.ACCESS), BYPASS=1)
    registers = [("POLICY", policy), ("ALPHA", 0x8000), ("LAMBDA", 1 << 20)]
    cocotb_test(simulator, tmp_path, "random_traffic", seed=4 + priority, registers=registers, share=0.2, steps=4)


@pytest.mark.parametrize("simulator", SELDOM_ICARUS)
def test_commands_while_messages_flow(simulator, tmp_path):
    cocotb_test(simulator, tmp_path, "commands_under_traffic", seed=5, share=0.3)


@pytest.mark.parametrize(
    ("simulator", "share"), [("verilator", STALLED), seldom("verilator", 0.0), seldom("icarus", STALLED)]
)
def test_errors_of_media_become_poison_and_are_reported(simulator, share, tmp_path):
    cocotb_test(simulator, tmp_path, "media_errors", seed=6, share=share, steps=8)


#: traffic of mode mxint8: partial writes always, poison and pauses of the host besides
COMPRESSED = {"mode": Mode.MXINT8, "poisoned": 0.1, "waits": 0.05}


@pytest.mark.parametrize("simulator", SELDOM_ICARUS)
def test_lines_of_mode_mxint8_read_as_they_must(simulator, tmp_path):
    cocotb_test(simulator, tmp_path, "compressed_lines", mode=Mode.MXINT8)


@pytest.mark.parametrize("simulator", SELDOM_ICARUS)
def test_a_region_with_blocks_keeps_its_mode(simulator, tmp_path):
    cocotb_test(simulator, tmp_path, "mode_of_a_region_with_blocks")


@pytest.mark.parametrize(("simulator", "seed"), [("verilator", 1), seldom("verilator", 2), seldom("icarus", 3)])
def test_random_traffic_of_mode_mxint8_with_every_port_stalling(simulator, seed, tmp_path):
    cocotb_test(simulator, tmp_path, "random_traffic", seed=seed, share=STALLED, **COMPRESSED)


@pytest.mark.parametrize("simulator", SELDOM_ICARUS)
def test_random_traffic_of_mode_mxint8_under_commands(simulator, tmp_path):
    cocotb_test(simulator, tmp_path, "commands_under_traffic", seed=8, share=0.3, **COMPRESSED)


@pytest.mark.parametrize(
    ("simulator", "share"), [("verilator", 0.0), seldom("verilator", STALLED), seldom("icarus", STALLED)]
)
def test_errors_of_media_in_mode_mxint8_become_poison_and_are_reported(simulator, share, tmp_path):
    cocotb_test(simulator, tmp_path, "media_errors", seed=9, share=share, steps=8, **COMPRESSED)


@pytest.mark.parametrize(
    ("simulator", "share"), [("verilator", STALLED), seldom("verilator", 0.0), seldom("icarus", STALLED)]
)
def test_random_traffic_in_a_region_of_each_mode(simulator, share, tmp_path):
    cocotb_test(simulator, tmp_path, "two_modes", seed=10, share=share, poisoned=0.05, waits=0.05)


#: traffic that either form plays on either simulator
BRIEF = {"steps": 2, "accesses": 35}


def operations(mode=Mode.EXACT, *, steps=3, accesses=60):
    region, more = REGION, {}
    if mode == Mode.MXINT8:
        region, more = replace(REGION, mode=mode), {"poisoned": 0.1, "waits": 0.05}
    return random_operations(CONFIG, region, seed=7, steps=steps, accesses=accesses, blocks=6, **more)


def mode_writes(mode):
    """Both pools to their size, and region 0 to `mode`, as the cocotb tests do it."""
    pools = [("POOL_FRAMES", POOL_FRAMES), ("POOL_FRAMES_MX", POOL_FRAMES)]
    if mode == Mode.EXACT:
        return pools
    return pools + regions_writes((replace(REGION, mode=mode), *reset_regions(CONFIG)[1:]))


def batch(simulator, folder, mode=Mode.EXACT, *, size=MappingProxyType({}), **more):
    given = BatchSettings(
        registers=mode_writes(mode),
        read_back=["READS", "WRITES"],
        flash_read_clocks=80,
        flash_program_clocks=120,
        poll_clocks=10_000,
    )
    return run_batch(batch_top(simulator, CONFIG), operations(mode, **size), replace(given, **more), folder)


def recorded(folder):
    records = [[int(lane), fields] for lane, fields in read_events(folder / EVENTS, CONFIG)]
    answers = [message for message in read_messages(folder / MESSAGES) if isinstance(message, Answer)]
    return {"records": records, "responses": [[a.channel, a.latency, a.fields] for a in answers]}


@pytest.mark.parametrize(
    ("mode", "simulators"),
    [(Mode.MXINT8, ["verilator"]), seldom(Mode.EXACT, SIMULATORS), seldom(Mode.MXINT8, SIMULATORS)],
)
def test_both_forms_give_the_same_records_and_responses(mode, simulators, tmp_path):
    seen = []
    settings = {"seed": 7} | BRIEF | (COMPRESSED if mode == Mode.MXINT8 else {})
    for simulator in simulators:
        cocotb_test(simulator, tmp_path / simulator, "random_traffic", **settings)
        seen.append(json.loads((tmp_path / simulator / "seen.json").read_text()))
        folder = tmp_path / f"{simulator}-batch"
        outcome = batch(simulator, folder, mode, size=BRIEF)
        seen.append(recorded(folder))
        assert outcome["registers"]["READS"] and outcome["registers"]["WRITES"]
    assert len(seen[0]["records"]) > 200
    for other in seen[1:]:
        assert other == seen[0]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("simulator", SELDOM_ICARUS)
def test_batch_form_with_pauses_keeps_lock_step_and_data(simulator, mode, tmp_path):
    batch(simulator, tmp_path, mode, pause_seed=99)
    golden = golden_endpoint(CONFIG)
    for lane, fields in read_events(tmp_path / EVENTS, CONFIG):
        golden.check(lane, fields)
    golden.finish()
    regions = [replace(REGION, mode=mode)]
    assert check_data(CONFIG, regions, operations(mode), read_messages(tmp_path / MESSAGES)) > 50


@pytest.mark.parametrize("simulator", SELDOM_ICARUS)
def test_errors_of_media_in_the_batch_form_become_poison_and_are_reported(simulator, tmp_path):
    """A share of all accesses to DDR5, sidecar rows included, and of all pages fails."""
    errors = {"error_seed": 5, "read_errors": 1 << 11, "write_errors": 1 << 11}
    errors |= {"page_read_errors": 1 << 13, "page_write_errors": 1 << 13}
    outcome = batch(simulator, tmp_path, read_back=["ERROR"], **errors)
    reported = unpack("ERROR", outcome["registers"]["ERROR"])
    assert all(reported[kind] for kind in ("AXI_READ", "AXI_WRITE", "PAGE_READ", "PAGE_WRITE")), reported
    golden = golden_endpoint(CONFIG)
    for lane, fields in read_events(tmp_path / EVENTS, CONFIG):
        golden.check(lane, fields)
    golden.finish()
    assert any(fields.get("poison") for _, _, fields in recorded(tmp_path)["responses"])
    check_data(CONFIG, [REGION], operations(), read_messages(tmp_path / MESSAGES), poison_allowed=True)
    with pytest.raises(DataMismatch, match="seen poison"):
        check_data(CONFIG, [REGION], operations(), read_messages(tmp_path / MESSAGES))


@pytest.mark.parametrize("throttle", [False, True])
def test_a_host_that_throttles_brings_the_endpoint_out_of_severe_overload(throttle, tmp_path):
    """Slow memory and as many reads as there are slots; the depth counts in the second half of the run."""
    severe = 24
    thresholds = pack("DEVLOAD", OPTIMAL=8, MODERATE=16, SEVERE=severe)
    reads = 3000
    lines = [encode(CONFIG, REGION, head, 0, line) for head in range(4) for line in range(16)]
    stimulus = [*(write(line, line) for line in lines), fence_all()]
    stimulus += [read(lines[number % len(lines)]) for number in range(reads)]
    given = BatchSettings(registers=[("DEVLOAD", thresholds)], memory_latency=200, throttle=throttle)
    outcome = run_batch(batch_top("verilator", CONFIG), stimulus, given, tmp_path)
    depth, depths = 0, []
    for message in read_messages(tmp_path / MESSAGES):
        if isinstance(message, Offer) or message.channel == "ndr":
            depth += 1 if isinstance(message, Offer) else -1
            depths.append(depth)
    assert (max(depths[len(depths) // 2 :]) < severe) == throttle
    share = outcome["loads"][DevLoad.SEVERE] / sum(outcome["loads"])
    assert share < 0.1 if throttle else share > 0.9


def test_lock_step_notices_a_wrong_record(tmp_path):
    with pytest.raises(SimulationFailed, match=r"Mismatch: step .* ema: expected"):
        cocotb_test("verilator", tmp_path, "random_traffic", wrong_record=200)
