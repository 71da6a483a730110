"""Which messages are served and ask what of the snoop filter, and what snoops and their answers may say."""

from itertools import product

import pytest

from kv_endpoint.golden.common.line_access import (
    Access,
    LineState,
    Snoop,
    SnoopKind,
    access_of_req,
    access_of_rwd,
    answer_lines,
    answer_states,
    covering,
    snoop_opcode,
)
from kv_endpoint.golden.common.messages import (
    BIRspOpcode,
    BISnpOpcode,
    MetaField,
    MetaValue,
    ReqOpcode,
    RwDOpcode,
    SnpType,
)
from kv_endpoint.golden.front.frontend import Served, serve_req, serve_rwd

META0, NO_OP = MetaField.META0_STATE, MetaField.NO_OP
INVALID, ANY, SHARED = MetaValue.INVALID, MetaValue.ANY, MetaValue.SHARED
#: (opcode, MetaField, MetaValue or None for any, SnpType) -> access: tables 3-39 and 3-42
REQS = {
    (ReqOpcode.MEM_RD, NO_OP, None, SnpType.SNP_CUR): Access.READ_CURRENT,
    (ReqOpcode.MEM_RD, NO_OP, None, SnpType.SNP_INV): Access.READ_INVALIDATE,
    (ReqOpcode.MEM_RD, META0, SHARED, SnpType.SNP_DATA): Access.READ_SHARED,
    (ReqOpcode.MEM_RD_DATA, NO_OP, None, SnpType.SNP_DATA): Access.READ_DATA,
    (ReqOpcode.MEM_RD, META0, ANY, SnpType.SNP_INV): Access.READ_OWN,
    (ReqOpcode.MEM_INV, META0, ANY, SnpType.SNP_INV): Access.OWN,
    (ReqOpcode.MEM_INV_NT, META0, ANY, SnpType.SNP_INV): Access.OWN,
    (ReqOpcode.MEM_INV, META0, INVALID, SnpType.SNP_INV): Access.FLUSH,
    (ReqOpcode.MEM_INV_NT, META0, INVALID, SnpType.SNP_INV): Access.FLUSH,
    (ReqOpcode.MEM_CLN_EVCT, META0, INVALID, SnpType.NO_OP): Access.FORGET,
}
RWDS = {
    (RwDOpcode.MEM_WR, META0, INVALID, SnpType.SNP_INV): Access.WRITE_THROUGH,
    (RwDOpcode.MEM_WR_PTL, META0, INVALID, SnpType.SNP_INV): Access.WRITE_THROUGH,
    (RwDOpcode.MEM_WR, META0, INVALID, SnpType.NO_OP): Access.WRITE_BACK,
    (RwDOpcode.MEM_WR, META0, ANY, SnpType.NO_OP): Access.WRITE_KEEP,
}
#: how the messages of each access are served
SERVED = {
    Access.READ_CURRENT: Served.READ, Access.READ_INVALIDATE: Served.READ, Access.READ_SHARED: Served.CACHEABLE,
    Access.READ_DATA: Served.CACHEABLE, Access.READ_OWN: Served.CACHEABLE, Access.OWN: Served.CACHEABLE,
    Access.FLUSH: Served.COMPLETE, Access.FORGET: Served.COMPLETE, Access.WRITE_THROUGH: Served.WRITE,
    Access.WRITE_BACK: Served.WRITE, Access.WRITE_KEEP: Served.WRITE, None: Served.ILLEGAL,
}  # fmt: skip
EVERY_FIELD = tuple(product(range(16), range(4), range(4), range(8)))


def row(table, opcode, meta_field, meta_value, snp_type):
    """The access of the row of a table that a message is in, or None."""
    for any_value in (False, True):
        access = table.get((opcode, meta_field, None if any_value else meta_value, snp_type))
        if access is not None:
            return access
    return None


def test_every_req_is_what_its_row_says_and_nothing_else_is_one():
    for fields in EVERY_FIELD:
        access = row(REQS, *fields)
        assert access_of_req(*fields) == access, fields
        served = Served.DROP if fields[0] == ReqOpcode.MEM_SPEC_RD else SERVED[access]
        assert serve_req(*fields) == served, fields
        assert access is None or not access.is_write


def test_every_rwd_that_writes_is_what_its_row_says_and_nothing_else_is_one():
    for fields in EVERY_FIELD:
        access = row(RWDS, *fields)
        assert access_of_rwd(*fields) == access, fields
        served = Served.CONFLICT if fields[0] == RwDOpcode.BI_CONFLICT else SERVED[access]
        assert serve_rwd(*fields) == served, fields
        assert access is None or (access.is_write and not access.caches)


def test_the_accesses_after_which_a_host_may_hold_what_it_did_not():
    assert {access for access in Access if access.caches} == {
        Access.READ_SHARED, Access.READ_DATA, Access.READ_OWN, Access.OWN,
    }  # fmt: skip
    assert {state for state in LineState if state.owned} == {LineState.A, LineState.STALE}


@pytest.mark.parametrize("wanted", range(1, 16))
def test_a_snoop_covers_what_is_wanted_with_as_few_lines_as_its_form_allows(wanted):
    forms = [form for form in (0b0001, 0b0010, 0b0100, 0b1000, 0b0011, 0b1100, 0b1111) if not wanted & ~form]
    assert covering(wanted) == min(forms, key=int.bit_count)


@pytest.mark.parametrize(
    ("lines", "low_address", "is_block"),
    [
        (0b0001, 0, False), (0b0010, 1, False), (0b0100, 2, False), (0b1000, 3, False),
        (0b0011, 1, True), (0b1100, 2, True), (0b1111, 3, True),
    ],
)  # fmt: skip
def test_the_opcode_and_low_address_of_a_snoop_name_its_lines(lines, low_address, is_block):
    """P7: the mask of a block snoop is never 0."""
    for kind in SnoopKind:
        opcode = {
            (SnoopKind.CUR, False): BISnpOpcode.CUR, (SnoopKind.CUR, True): BISnpOpcode.CUR_BLK,
            (SnoopKind.DATA, False): BISnpOpcode.DATA, (SnoopKind.DATA, True): BISnpOpcode.DATA_BLK,
            (SnoopKind.INV, False): BISnpOpcode.INV, (SnoopKind.INV, True): BISnpOpcode.INV_BLK,
        }[kind, is_block]  # fmt: skip
        assert snoop_opcode(Snoop(kind, 0, 0, lines)) == (opcode, low_address)


#: what a host may say after which snoop
LEGAL = {
    (SnoopKind.CUR, BIRspOpcode.I): LineState.I, (SnoopKind.CUR, BIRspOpcode.S): LineState.S,
    (SnoopKind.CUR, BIRspOpcode.E): LineState.A, (SnoopKind.DATA, BIRspOpcode.I): LineState.I,
    (SnoopKind.DATA, BIRspOpcode.S): LineState.S, (SnoopKind.INV, BIRspOpcode.I): LineState.I,
}  # fmt: skip
BLOCK_FORM = {
    BIRspOpcode.I_BLK: BIRspOpcode.I, BIRspOpcode.S_BLK: BIRspOpcode.S, BIRspOpcode.E_BLK: BIRspOpcode.E,
}  # fmt: skip


def mask(lines):
    return [line for line in range(4) if lines >> line & 1]


@pytest.mark.parametrize("kind", SnoopKind)
def test_every_answer_to_every_snoop(kind):
    for lines, opcode, low_addr in product((0b0010, 0b0011, 0b1100, 0b1111), range(16), range(4)):
        for lines_open in [each for each in range(1, 16) if not each & ~lines]:
            if lines == 0b0010:
                # One line: its number need not be told.
                state, answers = LEGAL.get((kind, opcode)), lines_open
            elif opcode in BLOCK_FORM:
                # All at once, or not at all
                state, answers = LEGAL.get((kind, BLOCK_FORM[opcode])), lines if lines_open == lines else 0
            else:
                state, answers = LEGAL.get((kind, opcode)), 1 << low_addr & lines_open
            expected = None if state is None or not answers else dict.fromkeys(mask(answers), state)
            assert answer_lines(Snoop(kind, 0, 0, lines), lines_open, opcode, low_addr) == expected


def test_the_states_that_a_host_may_say():
    for kind in SnoopKind:
        assert answer_states(kind) == {state for (of, _), state in LEGAL.items() if of == kind}
