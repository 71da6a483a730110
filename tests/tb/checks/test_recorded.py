"""What a batch run is told and what it records: the stimulus text, the order of records, numbers of messages, data."""

from dataclasses import replace

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.messages import FIELDS, DRSOpcode, ReqOpcode, RwDOpcode
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import Lane, pack
from kv_endpoint.golden.front.address import encode
from kv_endpoint.golden.front.frontend import Served, serve_req, serve_rwd
from kv_endpoint.golden.host.operations import (
    WAIT_MAX,
    Op,
    Operation,
    fence_all,
    fence_writes,
    read,
    wait,
    write,
    write_partial,
    write_poisoned,
)
from kv_endpoint.golden.registers.rules import reset_regions
from kv_endpoint.tb.checks.image import DataMismatch
from kv_endpoint.tb.checks.recorded import Answer, Offer, read_events, read_messages
from kv_endpoint.tb.checks.recorded_data import check_data
from kv_endpoint.tb.lib import payload
from kv_endpoint.tb.lib.record_order import Merger, SequenceError
from kv_endpoint.tb.stimuli.random_traffic import random_operations
from kv_endpoint.tb.stimuli.stimulus import line, write_stimulus

CONFIG = preset("tiny")
REGION = reset_regions(CONFIG)[0]
HERE = encode(CONFIG, REGION, 1, 2, 3)


def test_stimulus_text(tmp_path):
    operations = [read(0x1F), write(2, 0xAB), write_partial(3, 0xCD, 0xF0), fence_writes(), fence_all()]
    operations += [wait(1000), write_poisoned(4, 5)]
    assert write_stimulus(tmp_path / "stimulus.txt", operations) == 4
    assert (tmp_path / "stimulus.txt").read_text() == "1 1f\n2 2 ab\n3 3 f0 cd\n4\n5\n6 3e8\n7 4 5\n0\n"


@pytest.mark.parametrize("clocks", [0, -1, WAIT_MAX + 1])
def test_wait_of_no_clock_or_too_many_is_refused(clocks):
    with pytest.raises(ValueError, match="clocks must be 1 to"):
        wait(clocks)


@pytest.mark.parametrize("values", [{"address": 1 << 46}, {"data": 1 << 512}, {"be": -1}])
def test_operation_that_fits_no_message_is_refused(values):
    with pytest.raises(ValueError, match=f"{next(iter(values))} must fit"):
        Operation(Op.WRITE, **values)


def test_messages_of_operations_are_served():
    for operation in (read(1), write(1, 2), write_partial(1, 2, 3), write_poisoned(1, 2)):
        message = {name: 0 for name, _ in FIELDS[operation.channel]} | operation.message(7)
        serve = serve_req if operation.channel == "req" else serve_rwd
        served = serve(*(message[name] for name in ("opcode", "meta_field", "meta_value", "snp_type")))
        assert served == (Served.READ if operation.op == Op.READ else Served.WRITE)
        assert message["tag"] == 7
        assert message.get("poison", 0) == (operation.op == Op.WRITE_POISONED)
    assert read(1).message(0)["opcode"] == ReqOpcode.MEM_RD
    assert write_partial(1, 2, 3).message(0)["opcode"] == RwDOpcode.MEM_WR_PTL


def test_random_stimulus_repeats_by_seed():
    first, again, other = (
        [line(op) for op in random_operations(CONFIG, REGION, seed=seed, steps=3, accesses=20)] for seed in (1, 1, 2)
    )
    assert first == again != other


def merged(numbers, start=0):
    seen = []
    merger = Merger(lambda lane, fields: seen.append(fields["sequence"]))
    merger.count = start
    for number in numbers:
        merger.add(Lane.SLOT, {"sequence": number})
    merger.finish()
    return seen


def test_records_are_put_into_the_order_of_their_numbers():
    assert merged([0, 2, 3, 1, 4]) == [0, 1, 2, 3, 4]


def test_record_numbers_wrap():
    last = (1 << 32) - 1
    assert merged([last, 1, 0], start=last) == [last, 0, 1]


@pytest.mark.parametrize("numbers", [[0, 0], [0, 2, 2], [1], [0, 5000]])
def test_missing_or_doubled_record_is_noticed(numbers):
    with pytest.raises(SequenceError):
        merged(numbers)


def test_events_file_is_read_in_order(tmp_path):
    path = tmp_path / "events.txt"
    engine = pack(CONFIG, Lane.ENGINE, sequence=0, kind=1, key=-5)
    slot = pack(CONFIG, Lane.SLOT, sequence=1, kind=2, tag=9)
    path.write_text(f"S {slot:040x}\nE {engine:036x}\n")
    (first, engine_fields), (second, slot_fields) = read_events(path, CONFIG)
    assert (first, engine_fields["key"]) == (Lane.ENGINE, -5)
    assert (second, slot_fields["tag"]) == (Lane.SLOT, 9)


def test_tags_become_running_numbers_beyond_their_width(tmp_path):
    path = tmp_path / "messages.txt"
    numbers = [*range(0, 65530, 1000), *range(65530, 65545)]
    lines = [f"I {number} {number % 65536}" for number in numbers]
    # An answer to a message before the wrap, after it.
    lines.append(f"N 70000 9 {payload.pack(FIELDS['ndr'], {'tag': 65534}):x}")
    path.write_text("\n".join(lines) + "\n")
    *offers, late = read_messages(path)
    assert [offer.number for offer in offers] == numbers
    assert (late.number, late.latency, late.clock) == (65534, 9, 70000)


def answer(clock, number, channel, **fields):
    values = {name: 0 for name, _ in FIELDS[channel]} | fields
    return Answer(clock, number, channel, 1, values)


def test_data_of_recorded_reads_is_checked():
    operations = [write(HERE, 5), read(HERE)]
    messages = [
        Offer(0, 0), answer(9, 0, "ndr"), Offer(10, 1), answer(20, 1, "drs", data=5), answer(20, 1, "ndr"),
    ]  # fmt: skip
    assert check_data(CONFIG, [REGION], operations, messages) == 1
    messages[3] = answer(20, 1, "drs", data=4)
    with pytest.raises(DataMismatch, match="seen 0x4, expected 0x5"):
        check_data(CONFIG, [REGION], operations, messages)
    messages[3] = answer(20, 1, "drs", data=5, opcode=DRSOpcode.MEM_DATA_NXM)
    with pytest.raises(DataMismatch, match="MemData-NXM"):
        check_data(CONFIG, [REGION], operations, messages)


def test_data_of_recorded_reads_is_checked_by_the_mode_of_their_region():
    one, above_one = 0x3C00, 0x3C01
    operations = [write(HERE, one | above_one << 16), read(HERE), write_poisoned(HERE), read(HERE)]
    messages = [
        Offer(0, 0), answer(9, 0, "ndr"), Offer(10, 1), answer(20, 1, "drs", data=one | one << 16),
        answer(20, 1, "ndr"), Offer(21, 2), answer(30, 2, "ndr"), Offer(31, 3), answer(40, 3, "drs", poison=1),
        answer(40, 3, "ndr"),
    ]  # fmt: skip
    compressed = replace(REGION, mode=Mode.MXINT8)
    assert check_data(CONFIG, [compressed], operations, messages) == 2
    with pytest.raises(DataMismatch, match="expected 0x3c013c00"):
        check_data(CONFIG, [REGION], operations, messages)
    messages[8] = answer(40, 3, "drs", data=one)
    with pytest.raises(DataMismatch, match="expected poison"):
        check_data(CONFIG, [compressed], operations, messages)


def test_read_beside_an_open_write_may_return_either():
    operations = [write(HERE, 5), read(HERE)]
    for data in (0, 5):
        messages = [Offer(0, 0), Offer(1, 1), answer(9, 1, "drs", data=data), answer(9, 1, "ndr"), answer(10, 0, "ndr")]
        assert check_data(CONFIG, [REGION], operations, messages) == 1
