"""Counting what runs cover: records of the golden model with hosts that cache, and messages by hand."""

import json
import os

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import Snoop, SnoopKind, snoop_opcode
from kv_endpoint.golden.common.messages import FIELDS, BIRspOpcode, MetaField, MetaValue, ReqOpcode, RwDOpcode, SnpType
from kv_endpoint.golden.events.port import EngineKind, ErrorKind, Lane, RefusalKind
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.tb.checks import golden_endpoint as golden
from kv_endpoint.tb.checks.bins_hit import Coverage
from kv_endpoint.tb.checks.coverage_bins import GROUPS
from kv_endpoint.tb.lib.payload import pack
from tests.support.coherent_golden import CoherentDevice, regions_of

PAIR = preset("tiny", hosts=2, regions=3)


def records_of(seed, actions=1500):
    device = CoherentDevice(PAIR, seed, regions=regions_of(PAIR), faults=True, pool_frames=PAIR.pool_frames_min_cached)
    return device, device.run(actions)


def covered(device, records):
    coverage, endpoint = Coverage(), device.fresh()
    for lane, record in records:
        coverage.follow(endpoint, lane, record, endpoint.check)
    return coverage


def test_records_count_in_the_bins_of_what_they_say():
    seed = 5
    print(f"seed {seed}")
    device, records = records_of(seed)
    coverage = covered(device, records)
    slots = [record for lane, record in records if lane == Lane.SLOT]
    held = [record for record in slots if record["outcome"] in (6, 7, 22)]
    by_group = {name: sum(count for (group, *_), count in coverage.hits.items() if group == name) for name in GROUPS}
    done = {
        SlotKind.READ: (Outcome.HIT, Outcome.ZEROS), SlotKind.REPLAY_READ: (Outcome.HIT,),
        SlotKind.WRITE: (Outcome.HIT,), SlotKind.REPLAY_WRITE: (Outcome.HIT,), SlotKind.RELEASE: (Outcome.DONE,),
    }  # fmt: skip
    of_hosts = [record for record in slots if record["access"]]
    refused = [record for record in of_hosts if record["outcome"] == Outcome.NOT_OWNER]
    completed = [record for record in of_hosts if record["outcome"] in done.get(record["kind"], ())]
    assert held and refused and by_group["access"] == len(held) + len(refused) + len(completed)
    grants = [record["grant"] for record in completed]
    for grant, name in enumerate(("CMP", "CMP_S", "CMP_E")):
        hits = sum(count for names, count in coverage.hits.items() if names[0] == "access" and names[-1] == name)
        assert hits == grants.count(grant) > 0
    notes = [record["kind"] for lane, record in records if lane == Lane.ENGINE]
    assert by_group["snoop"] == notes.count(EngineKind.BI_SNOOP)
    # A recall and a scrub begin a snoop each.
    for causes, kind in ((("RECALL",), EngineKind.BI_RECALL), (("STALE", "ALL"), EngineKind.BI_SCRUB)):
        hits = sum(count for names, count in coverage.hits.items() if names[0] == "snoop" and names[1] in causes)
        assert hits == notes.count(kind) > 0
    assert coverage.hits["error", "NOT_OWNER"] == len(refused)
    assert coverage.hits["error", "SHARED_WRITE"] == coverage.hits["answered", "SHARED_WRITE", "rwd"] > 0
    assert list(coverage.impossible()) == []
    assert 0.2 < coverage.share < 0.9


def test_notes_of_refusals_and_errors_count():
    coverage = Coverage()
    endpoint = golden.golden_endpoint(PAIR)
    fields = {"head": 0, "block": 0, "frame": 0}
    coverage.follow(endpoint, Lane.ENGINE, fields | {"kind": EngineKind.REFUSAL, "key": RefusalKind.COVERED}, skip)
    coverage.follow(endpoint, Lane.ENGINE, fields | {"kind": EngineKind.ERROR, "key": ErrorKind.BAD_BIRSP}, skip)
    assert dict(coverage.hits) == {("refusal", "COVERED"): 1, ("error", "BAD_BIRSP"): 1}


def skip(lane, record):
    """A check that finds nothing wrong."""


def bisnp(tag, snoop):
    opcode, low = snoop_opcode(snoop)
    return "bisnp", {"opcode": opcode, "bi_id": snoop.host, "bi_tag": tag, "address": 0x40 | low}


def birsp(tag, opcode, low_addr=0, host=1):
    return "birsp", {"opcode": opcode, "bi_id": host, "bi_tag": tag, "low_addr": low_addr}


MESSAGES = [
    bisnp(3, Snoop(SnoopKind.DATA, 1, 0, 0b1100)),
    bisnp(4, Snoop(SnoopKind.INV, 1, 0, 0b0100)),
    birsp(3, BIRspOpcode.S, 3),
    birsp(4, BIRspOpcode.I),
    # Not legal: a line that is answered, another host's, one form after the other, no such answer, no such snoop.
    birsp(3, BIRspOpcode.I, 3),
    birsp(3, BIRspOpcode.I, 2, host=0),
    birsp(3, BIRspOpcode.I_BLK),
    birsp(3, BIRspOpcode.E, 2),
    birsp(7, BIRspOpcode.I),
    birsp(3, BIRspOpcode.I, 2),
    bisnp(3, Snoop(SnoopKind.CUR, 0, 0, 0b1111)),
    birsp(3, BIRspOpcode.E_BLK, host=0),
    ("req", {"opcode": ReqOpcode.MEM_RD, "snp_type": SnpType.SNP_DATA, "meta_value": MetaValue.SHARED}),
    ("rwd", {"opcode": RwDOpcode.BI_CONFLICT}),
    ("rwd", {"opcode": RwDOpcode.MEM_WR, "snp_type": SnpType.SNP_INV, "poison": 1}),
    ("drs", {"poison": 1, "meta_field": MetaField.NO_OP}),
    ("ndr", {}),
]
EXPECTED = {
    ("answer", "DATA", "half", "line", "S"): 1,
    ("answer", "DATA", "half", "line", "I"): 1,
    ("answer", "INV", "single", "line", "I"): 1,
    ("answer", "CUR", "all", "block", "E"): 1,
    ("message", "MEM_RD", "READ_SHARED"): 1,
    ("message", "BI_CONFLICT", "nothing"): 1,
    ("message", "MEM_WR", "WRITE_THROUGH"): 1,
    ("poison", "rwd"): 1,
    ("poison", "drs"): 1,
}


def test_a_trace_counts_its_messages(tmp_path):
    letters = {"req": "Q", "rwd": "W", "ndr": "N", "drs": "D", "bisnp": "B", "birsp": "P"}
    lines = [f"{letters[channel]} {clock} {pack(FIELDS[channel], fields):x}" for clock, (channel, fields) in
             enumerate(MESSAGES)]  # fmt: skip
    trace = tmp_path / "trace.txt"
    trace.write_text("\n".join(["S 1", *lines, "E 99", ""]))
    coverage = Coverage()
    coverage.read_trace(trace)
    assert dict(coverage.hits) == EXPECTED


def test_coverage_adds_up_and_is_read_back(tmp_path):
    one, other = Coverage(), Coverage()
    one.hit("conflict", "early")
    other.hit("conflict", "early")
    other.hit("message", "MEM_RD", "READ_OWN")
    other.hit("access", "OWN", "A", "A", "CMP_E")
    one.add(other)
    file = tmp_path / "coverage.json"
    one.write(file)
    again = Coverage.read(file)
    assert again.hits == one.hits and again.hits["conflict", "early"] == 2
    assert again.missed("conflict") == [("late",)]
    assert [(group, names) for group, names, _ in again.impossible()] == [("access", ("OWN", "A", "A", "CMP_E"))]


@pytest.mark.parametrize("counts", [False, True])
def test_checkers_leave_what_they_covered(tmp_path, monkeypatch, counts):
    monkeypatch.setattr(golden, "_covered", {})
    if counts:
        monkeypatch.setenv(golden.COVERAGE_FOLDER, str(tmp_path / "coverage"))
    device, records = records_of(7, actions=300)
    endpoint = golden.golden_endpoint(PAIR)
    endpoint.allocator.pools[0].size = endpoint.allocator.pools[1].size = PAIR.pool_frames_min_cached
    for lane, record in records:
        endpoint.check(lane, record)
    endpoint.finish()
    files = list(tmp_path.glob(f"coverage/{golden.COVERAGE_FILES}"))
    assert len(files) == counts
    if counts:
        assert files[0].name.startswith(f"{os.getpid()}-")
        assert Coverage.read(files[0]).hits == covered(device, records).hits
        assert json.loads(files[0].read_text())
