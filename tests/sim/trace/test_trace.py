"""The trace of a run: what its rows say, which are shown, and that bad input ends in one line."""

import csv
import json
from dataclasses import replace

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.messages import FIELDS, BIRspOpcode, BISnpOpcode, NDROpcode, ReqOpcode, RwDOpcode
from kv_endpoint.golden.events.port import Lane, pack
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.sim.cli import main
from kv_endpoint.sim.results.results import NAME
from kv_endpoint.sim.trace.rows import Filter, Row, rows
from kv_endpoint.sim.trace.trace import table
from kv_endpoint.tb.checks.recorded import EVENTS, TRACE, Traced, read_trace
from kv_endpoint.tb.lib import payload

TINY = preset("tiny")
NO_DATA = ("be", "data")


def message(clock, channel, **fields):
    return Traced(clock, channel, {name: 0 for name, _ in FIELDS[channel] if name not in NO_DATA} | fields)


def text_of(letter, message):
    layout = [(name, bits) for name, bits in FIELDS[message.channel] if name not in NO_DATA]
    return f"{letter} {message.clock} {payload.pack(layout, message.fields):x}"


#: a Req with its responses, a BIConflict with its Ack, a BISnp of two lines with an answer each
MESSAGES = [
    ("Q", message(5, "req", opcode=ReqOpcode.MEM_RD, tag=7, address=0x43, ld_id=1)),
    ("B", message(9, "bisnp", opcode=BISnpOpcode.INV_BLK, bi_tag=3, address=0x42, bi_id=1)),
    ("W", message(12, "rwd", opcode=RwDOpcode.BI_CONFLICT, tag=7, address=0x43, ld_id=1)),
    ("N", message(20, "ndr", opcode=NDROpcode.BI_CONFLICT_ACK, tag=7, ld_id=1)),
    ("P", message(25, "birsp", opcode=BIRspOpcode.I, bi_tag=3, low_addr=2, bi_id=1)),
    ("P", message(26, "birsp", opcode=BIRspOpcode.I, bi_tag=3, low_addr=3, bi_id=1)),
    ("N", message(40, "ndr", opcode=NDROpcode.CMP_E, tag=7, ld_id=1)),
    ("D", message(41, "drs", tag=7, ld_id=1, poison=1)),
]


@pytest.fixture
def folder(tmp_path):
    lines = [text_of(letter, message) for letter, message in MESSAGES]
    # A record between them.
    lines.insert(3, "S 13")
    (tmp_path / TRACE).write_text("\n".join(lines) + "\n")
    (tmp_path / EVENTS).write_text("")
    (tmp_path / NAME).write_text(json.dumps({"preset": "tiny"}))
    return tmp_path


def test_a_trace_file_is_read_as_it_was_written(folder):
    read = list(read_trace(folder / TRACE))
    assert read.pop(3) == Traced(13, None, None, Lane.SLOT)
    assert read == [message for _, message in MESSAGES]


def test_messages_have_names_and_responses_the_address_of_their_request(folder):
    made, mismatch = rows(TINY, folder / EVENTS, read_trace(folder / TRACE))
    assert mismatch is None
    assert [(row.clock, row.channel, row.opcode) for row in made] == [
        (5, "Req", "MEM_RD"), (9, "BISnp", "INV_BLK"), (12, "RwD", "BI_CONFLICT"), (20, "NDR", "BI_CONFLICT_ACK"),
        (25, "BIRsp", "I"), (26, "BIRsp", "I"), (40, "NDR", "CMP_E"), (41, "DRS", "MEM_DATA"),
    ]  # fmt: skip
    assert [row.address for row in made] == [0x10C0, 0x1000, 0x10C0, 0x10C0, 0x1080, 0x10C0, 0x10C0, 0x10C0]
    assert {row.host for row in made} == {1}
    assert made[-1].about == "poison"


@pytest.mark.parametrize(
    ("options", "clocks"),
    [
        ([], [5, 9, 12, 20, 25, 26, 40, 41]),
        (["--line", "0x10c0"], [5, 9, 12, 20, 26, 40, 41]),
        (["--line", "0x10ff"], [5, 9, 12, 20, 26, 40, 41]),
        (["--line", "0x1080"], [9, 25]),
        (["--line", "0x1040"], []),
        (["--tag", "7"], [5, 12, 20, 40, 41]),
        (["--bi-tag", "3"], [9, 25, 26]),
        (["--tag", "7", "--bi-tag", "3", "--first", "20", "--last", "40"], [20, 25, 26, 40]),
    ],
)
def test_rows_are_chosen_by_line_tag_and_time(folder, options, clocks, capsys):
    table_file = folder / "rows.csv"
    assert main(["trace", str(folder), *options, "--csv", str(table_file)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:5] == ["clock", "channel", "opcode", "host", "address"]
    assert [int(line.split()[0]) for line in lines] == clocks
    with open(table_file, newline="") as file:
        assert [int(row["clock"]) for row in csv.DictReader(file)] == clocks


def test_states_are_those_of_the_golden_filter_around_a_messages_slots(tmp_path):
    """A read of an absent block is answered with zeros, and with a second slot where the first one missed."""
    record = {"kind": SlotKind.READ, "outcome": Outcome.ZEROS, "tag": 9, "head": 1, "block": 2, "line": 5}
    (tmp_path / EVENTS).write_text(f"S {pack(TINY, Lane.SLOT, **record):x}\n")
    (row,), mismatch = rows(TINY, tmp_path / EVENTS, [message(3, "req", opcode=ReqOpcode.MEM_RD, tag=9)])
    assert (row.about, row.before, row.after, mismatch) == ("zeros", "", "", None)
    (tmp_path / EVENTS).write_text(f"S {pack(TINY, Lane.SLOT, **record | {'outcome': Outcome.HIT}):x}\n")
    (row,), mismatch = rows(TINY, tmp_path / EVENTS, [message(3, "req", opcode=ReqOpcode.MEM_RD, tag=9)])
    assert row.about == "" and "outcome: expected 4, seen 1" in mismatch


def test_a_trace_that_differs_from_the_golden_model_says_so(folder, capsys):
    (folder / EVENTS).write_text(f"S {pack(TINY, Lane.SLOT, kind=SlotKind.FILL):x}\n")
    assert main(["trace", str(folder)]) == 1
    assert "records and golden model differ" in capsys.readouterr().err


def test_columns_are_as_wide_as_their_widest_cell():
    made = [Row(1, "Req", "MEM_RD", 0, 0x40, tag=3, about="hit"), Row(20000, "BISnp", "INV", 0, bi_tag=12)]
    head, first, second = table(made)
    assert first.index("MEM_RD") == second.index("INV") == head.index("opcode")
    assert "BI 12" in second


def test_a_filter_of_a_line_leaves_out_what_has_no_address():
    row = Row(1, "NDR", "CMP", 0, tag=3)
    assert Filter(tag=3)(row) and not Filter(address=0)(row)
    assert Filter(address=0x40)(replace(row, address=0, lines=0b0010))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--line", "here"], "--line: must be a whole number, such as 64 or 0x40, not 'here'"),
        (["--preset", "big"], "preset 'big': must be one of"),
        (["--hosts", "3"], "hosts = 3"),
    ],
)
def test_bad_options_end_in_one_line(folder, options, error, capsys):
    try:
        code = main(["trace", str(folder), *options])
    except SystemExit as stopped:
        code = stopped.code
    printed = capsys.readouterr()
    assert code == 2 and not printed.out
    assert printed.err.count("\n") == 1 and error in printed.err


def test_a_folder_without_a_trace_is_refused(tmp_path, capsys):
    assert main(["trace", str(tmp_path)]) == 2
    assert "must be the folder of a run with --trace" in capsys.readouterr().err
