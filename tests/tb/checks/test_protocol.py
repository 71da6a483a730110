"""The protocol monitor, message by message: what it lets pass, and which rule each wrong message breaks."""

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.common.messages import BIRspOpcode, BISnpOpcode, DRSOpcode, NDROpcode, RwDOpcode
from kv_endpoint.golden.events.port import Lane
from kv_endpoint.golden.front.address import Region
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.tb.agents.caching_host import MESSAGES
from kv_endpoint.tb.checks.protocol import ProtocolMonitor
from kv_endpoint.tb.checks.responses import ProtocolError

LINE = 0x41
ANSWER = {"opcode": BIRspOpcode.I, "bi_id": 0, "bi_tag": 1, "low_addr": LINE % 4}


class Script:
    """Messages about line `LINE` and others, to a monitor of one cached region."""

    def __init__(self, **options):
        config = preset("tiny")
        self.monitor = ProtocolMonitor(config, regions=(Region(0, config.heads, cached=True),), **options)

    def ask(self, tag, access=Access.READ_OWN, address=LINE):
        channel = "rwd" if access.is_write else "req"
        absent = {"meta_value": 0, "snp_type": 0, "ld_id": 0}
        self.monitor.take(channel, absent | MESSAGES[access] | {"tag": tag, "address": address})

    def conflict(self, tag):
        absent = {"meta_field": 0, "meta_value": 0, "snp_type": 0, "ld_id": 0}
        self.monitor.take("rwd", absent | {"opcode": RwDOpcode.BI_CONFLICT, "tag": tag, "address": LINE})

    def ndr(self, tag, opcode=NDROpcode.CMP_E):
        self.monitor.take("ndr", {"opcode": opcode, "tag": tag, "ld_id": 0})

    def drs(self, tag, opcode=DRSOpcode.MEM_DATA):
        self.monitor.take("drs", {"opcode": opcode, "tag": tag, "ld_id": 0})

    def snoop(self, tag=1, opcode=BISnpOpcode.INV, address=LINE, host=0):
        self.monitor.take("bisnp", {"opcode": opcode, "bi_id": host, "bi_tag": tag, "address": address})

    def answer(self, **changes):
        self.monitor.take("birsp", ANSWER | changes)

    def granted(self, tag):
        block, line = divmod(LINE, 128)
        where = {"head": 0, "block": block, "line": line, "host": 0, "tag": tag}
        kinds = {"kind": SlotKind.READ, "access": Access.READ_OWN, "outcome": Outcome.HIT}
        self.monitor.record(Lane.SLOT, where | kinds)


def test_late_and_early_conflicts_pass():
    script = Script()
    script.ask(1)
    script.snoop()
    script.conflict(1)
    script.ndr(1)
    script.ndr(1, NDROpcode.BI_CONFLICT_ACK)
    script.drs(1)
    script.ask(2)
    script.conflict(2)
    script.ndr(2, NDROpcode.BI_CONFLICT_ACK)
    script.answer()
    script.ndr(2)
    script.drs(2)
    script.monitor.finish()


@pytest.mark.parametrize("between", ["nothing", "ack", "another completion", "illegal answer", "another line"])
def test_no_request_that_came_after_a_snoop_is_completed_before_its_answer(between):
    script = Script()
    script.ask(1)
    script.snoop()
    if between == "ack":
        script.conflict(1)
        script.ndr(1, NDROpcode.BI_CONFLICT_ACK)
    elif between == "another completion":
        # What was transferred after the snoop and is completed first shows that tag 1 was not queued before.
        script.ask(2, Access.READ_CURRENT, LINE + 64)
        script.ndr(2, NDROpcode.CMP)
    elif between == "illegal answer":
        script.ask(3, Access.FORGET)
        script.answer(opcode=BIRspOpcode.E)
        with pytest.raises(ProtocolError, match="P1: ndr tag 3"):
            script.ndr(3, NDROpcode.CMP)
        return
    elif between == "another line":
        script.ask(4, address=LINE + 1)
        script.ndr(4)
        return
    else:
        # It may have been queued before.
        script.ndr(1)
        return
    with pytest.raises(ProtocolError, match="P1: ndr tag 1"):
        script.ndr(1)


@pytest.mark.parametrize("recorded", [False, True])
def test_an_ack_behind_a_grant_of_its_line_waits_for_the_completion(recorded):
    script = Script()
    script.ask(1)
    script.snoop()
    if recorded:
        script.granted(1)
    script.conflict(1)
    if recorded:
        with pytest.raises(ProtocolError, match="P4: BI-ConflictAck tag 1 before the completion of tag 1"):
            script.ndr(1, NDROpcode.BI_CONFLICT_ACK)
    else:
        script.ndr(1, NDROpcode.BI_CONFLICT_ACK)


def test_one_ack_a_conflict():
    script = Script()
    script.conflict(7)
    script.ndr(7, NDROpcode.BI_CONFLICT_ACK)
    with pytest.raises(ProtocolError, match="P4: BI-ConflictAck with tag 7"):
        script.ndr(7, NDROpcode.BI_CONFLICT_ACK)


@pytest.mark.parametrize(
    ("snoop", "message"),
    [
        ({"tag": 1, "address": LINE + 64}, "P6: BISnp with BITag 1, which is in flight"),
        ({"tag": 2, "address": LINE + 1}, "P6: BISnp BITag 2 .* of which another"),
        ({"tag": 4, "address": LINE + 64}, "P6: BISnp with BITag 4: must be below 4"),
        ({"tag": 2, "opcode": BISnpOpcode.INV_BLK, "address": 0}, "P7: block BISnp with BITag 2 has mask 0"),
        ({"tag": 2, "opcode": 3, "address": 0}, "P7: BISnp with BITag 2 has opcode 3"),
        ({"tag": 2, "address": 0, "host": 1}, "P7: .* which BI-ID 1 cannot cache"),
        ({"tag": 2, "address": 1 << 40}, "P7: .* which BI-ID 0 cannot cache"),
    ],
)
def test_snoops_that_break_a_rule(snoop, message):
    script = Script()
    script.snoop()
    with pytest.raises(ProtocolError, match=message):
        script.snoop(**snoop)


@pytest.mark.parametrize("unwritable", [False, True])
def test_requests_are_refused_only_while_flash_cannot_be_written(unwritable):
    read, own = Script(unwritable_allowed=unwritable), Script(unwritable_allowed=unwritable)
    read.ask(1)
    own.ask(1, Access.OWN)
    if unwritable:
        read.drs(1, DRSOpcode.MEM_DATA_NXM)
        own.ndr(1, NDROpcode.CMP)
        read.monitor.finish()
        own.monitor.finish()
        return
    with pytest.raises(ProtocolError, match="P8: drs tag 1: MemData-NXM inside a region"):
        read.drs(1, DRSOpcode.MEM_DATA_NXM)
    with pytest.raises(ProtocolError, match="P8: ndr tag 1: opcode must be CMP_E"):
        own.ndr(1, NDROpcode.CMP)


def test_nothing_may_be_owed_at_the_end_and_nothing_answered_after_a_reset():
    script = Script()
    script.ask(1)
    script.conflict(2)
    script.snoop()
    with pytest.raises(ProtocolError, match="req tag 1, BIConflict tag 2, BISnp BITag 1"):
        script.monitor.finish()
    script.monitor.forget()
    script.monitor.finish()
    with pytest.raises(ProtocolError, match="P8: ndr with tag 1 .* which is not in flight"):
        script.ndr(1)
