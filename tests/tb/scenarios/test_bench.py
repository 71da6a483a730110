"""Both forms of the bench around a stand-in for the endpoint, on both simulators; each of their checks can fail."""

import json
from dataclasses import replace

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.messages import DevLoad
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.host.operations import read, register_write, wait, write
from kv_endpoint.golden.registers.rules import reset_regions
from kv_endpoint.tb.checks.recorded import EVENTS, MESSAGES, Answer, Offer, read_events, read_messages
from kv_endpoint.tb.checks.recorded_data import check_data
from kv_endpoint.tb.runs.batch import BatchSettings
from kv_endpoint.tb.runs.batch import run as run_batch
from kv_endpoint.tb.runs.build import SIMULATORS, SimulationFailed, build, run
from kv_endpoint.tb.runs.verilog_header import HEADER_NAME, bench_sources, verilog_header
from kv_endpoint.tb.stimuli.random_traffic import random_operations
from tests.support.stand_ins import stand_in, stand_in_widths

#: with room for two frames a block
CONFIG = preset("tiny", step_bits=28, spare_frames=72)
OVERRIDES = {"step_bits": CONFIG.step_bits, "spare_frames": CONFIG.spare_frames}
WIDTHS = stand_in_widths(CONFIG)
LOOPBACK = stand_in("loopback")
REGION = reset_regions(CONFIG)[0]
#: the stand-in's register for the mode of pages
MODE_REGISTER = "PREFETCH"
#: reads in flight from which on the stand-in says severe overload
LOOPBACK_SEVERE = 6
MAX_READS, MAX_WRITES = 6, 4
BATCH = BatchSettings(
    memory_latency=20,
    flash_read_clocks=70,
    flash_program_clocks=90,
    max_reads=MAX_READS,
    max_writes=MAX_WRITES,
    watchdog_clocks=2000,
    poll_clocks=5000,
)


def interactive(simulator, folder, testcase, **settings):
    sources = LOOPBACK | {HEADER_NAME: verilog_header(CONFIG, WIDTHS)}
    built = build(simulator, top="endpoint", sources=sources)
    limits = {"max_reads": MAX_READS, "max_writes": MAX_WRITES}
    settings = {"preset": CONFIG.name, "overrides": OVERRIDES, "seed": 1} | limits | settings
    return run(built, module="kv_endpoint.tb.scenarios.bench", testcase=testcase, folder=folder, settings=settings)


def batch_build(simulator):
    return build(simulator, top="bench", sources=bench_sources(CONFIG, WIDTHS) | LOOPBACK)


def operations(seed=1, accesses=60, **more):
    return random_operations(CONFIG, REGION, seed=seed, steps=3, accesses=accesses, blocks=3, hints=False, **more)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_coroutines_under_stalls_see_their_data(simulator, tmp_path):
    assert interactive(simulator, tmp_path, "coroutines", share=0.5, messages=12) == 1


def test_a_message_that_waits_for_ever_is_found_while_others_move(tmp_path):
    assert interactive("icarus", tmp_path, "one_message_waits") == 1


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_registers_by_name_and_errors_raised(simulator, tmp_path):
    assert interactive(simulator, tmp_path, "registers") == 1


@pytest.mark.parametrize(
    ("latency", "throttle", "mode"),
    [(1, False, Mode.EXACT), (2, False, Mode.MXINT8), (20, False, Mode.EXACT), (20, True, Mode.MXINT8)],
)
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_both_forms_give_the_same_records_and_responses(simulator, latency, throttle, mode, tmp_path):
    given = {"memory_latency": latency, "throttle": throttle, "max_reads": 12}
    interactive(simulator, tmp_path / "interactive", "play", messages=60, waits=0.1, mode=mode, **given)
    seen = json.loads((tmp_path / "interactive" / "seen.json").read_text())
    folder = tmp_path / "batch"
    batch = replace(BATCH, registers=[(MODE_REGISTER, mode)], **given)
    outcome = run_batch(batch_build(simulator), operations(waits=0.1), batch, folder)
    assert check_data(CONFIG, [REGION], operations(waits=0.1), read_messages(folder / MESSAGES)) > 50
    records = [[int(lane), fields] for lane, fields in read_events(folder / EVENTS, CONFIG)]
    answers = [message for message in read_messages(folder / MESSAGES) if isinstance(message, Answer)]
    assert records == seen["records"]
    assert [[a.channel, a.latency, a.fields] for a in answers] == seen["responses"]
    levels = [answer.fields["dev_load"] for answer in answers]
    assert outcome["loads"] == [levels.count(level) for level in DevLoad] and sum(outcome["loads"][1:])


def depths(folder):
    """Messages offered and not yet answered by NDR, after each message of a recorded run."""
    depth, seen = 0, []
    for message in read_messages(folder / MESSAGES):
        if isinstance(message, Offer):
            depth += 1
        elif message.channel == "ndr":
            depth -= 1
        seen.append(depth)
    return seen


@pytest.mark.parametrize("throttle", [False, True])
def test_a_host_that_throttles_keeps_the_device_out_of_severe_overload(throttle, tmp_path):
    given = replace(BATCH, memory_latency=100, max_reads=32, throttle=throttle)
    outcome = run_batch(batch_build("verilator"), [read(line) for line in range(800)], given, tmp_path)
    settled = depths(tmp_path)[800:]
    if throttle:
        assert max(settled) < LOOPBACK_SEVERE
        assert outcome["loads"][DevLoad.SEVERE] < 0.2 * sum(outcome["loads"])
    else:
        assert max(settled) > LOOPBACK_SEVERE
        assert outcome["loads"][DevLoad.SEVERE] > 0.9 * sum(outcome["loads"])


def test_a_host_that_throttles_is_not_slowed_by_light_loads(tmp_path):
    files = []
    for throttle in (False, True):
        folder = tmp_path / str(throttle)
        given = replace(BATCH, memory_latency=1, max_reads=1, throttle=throttle)
        outcome = run_batch(batch_build("verilator"), operations(), given, folder)
        assert not any(outcome["loads"][1:])
        files.append((folder / MESSAGES).read_text())
    assert files[0] == files[1]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("pause_seed", [0, 12345])
def test_both_simulators_record_the_same_files_and_the_data_is_right(pause_seed, mode, tmp_path):
    texts = []
    for simulator in SIMULATORS:
        folder = tmp_path / simulator
        given = replace(BATCH, pause_seed=pause_seed, registers=[(MODE_REGISTER, mode)])
        outcome = run_batch(batch_build(simulator), operations(), given, folder)
        texts.append([(folder / name).read_text() for name in (EVENTS, MESSAGES)])
        checked = check_data(CONFIG, [REGION], operations(), read_messages(folder / MESSAGES))
        assert checked > 50
        assert outcome["answered"] == sum(op.channel is not None for op in operations())
    assert texts[0] == texts[1]


def test_a_wait_holds_back_everything_after_it_for_its_clocks(tmp_path):
    """The clocks between the offers of a write and of a read behind a wait, which counts from the write on."""
    apart = {}
    for clocks in (1, 3, 1000):
        folder = tmp_path / str(clocks)
        run_batch(batch_build("verilator"), [write(0, 1), wait(clocks), read(1), write(2, 3)], BATCH, folder)
        offers = [message.clock for message in read_messages(folder / MESSAGES) if isinstance(message, Offer)]
        apart[clocks] = [clock - offers[0] for clock in offers[1:]]
    assert apart[1][0] == 1
    assert apart[3][0] == 3
    assert apart[1000] == [1000, 1000]


def test_register_writes_of_a_stimulus_come_between_its_messages(tmp_path):
    stimulus = [read(number) for number in range(30)]
    stimulus += [register_write("ALPHA", VALUE=5), write(1, 1), register_write("LAMBDA", VALUE=7)]
    outcome = run_batch(batch_build("verilator"), stimulus, replace(BATCH, read_back=["ALPHA", "LAMBDA"]), tmp_path)
    assert outcome["registers"] == {"ALPHA": 5, "LAMBDA": 7}
    messages = list(read_messages(tmp_path / MESSAGES))
    *answers, _ = (message.clock for message in messages if isinstance(message, Answer))
    offer = max(message.clock for message in messages if isinstance(message, Offer))
    assert max(answers) < offer
    with pytest.raises(SimulationFailed, match="write of 0x1 to ID was refused"):
        run_batch(batch_build("verilator"), [read(1), register_write("ID", 1)], BATCH, tmp_path)


def test_data_check_of_recorded_files_can_fail(tmp_path):
    run_batch(batch_build("icarus"), operations(), replace(BATCH, registers=[("LEAP_CAP", 2)]), tmp_path)
    with pytest.raises(AssertionError, match="read tag"):
        check_data(CONFIG, [REGION], operations(), read_messages(tmp_path / MESSAGES))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (1, "no response and no record for 2000 clocks; the oldest message is req tag"),
        (2, "DataMismatch|read tag"),
        (3, "twice, or one is missing"),
        (4, "which is not in flight"),
        (5, "not a line of memory"),
        (6, "was never programmed"),
    ],
)
def test_interactive_form_notices(fault, message, tmp_path):
    with pytest.raises(SimulationFailed, match=message):
        interactive("icarus", tmp_path, "play", messages=60, fault=fault)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (1, "no response and no record for 2000 clocks; the oldest message has tag"),
        (4, "a response that is not due, with tag"),
        (5, "not one line of memory"),
        (6, "was? ?never programmed"),
    ],
)
def test_batch_form_notices(fault, message, tmp_path):
    with pytest.raises(SimulationFailed, match=message):
        run_batch(batch_build("icarus"), operations(), replace(BATCH, registers=[("LEAP_CAP", fault)]), tmp_path)


def test_batch_form_refuses_a_register_that_the_endpoint_refuses(tmp_path):
    with pytest.raises(SimulationFailed, match="write of 0x1 to ID was refused"):
        run_batch(batch_build("icarus"), operations(), replace(BATCH, registers=[("ID", 1)]), tmp_path)
