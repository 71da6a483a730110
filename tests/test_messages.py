"""Which messages are served follows the request tables; everything else is refused."""

import itertools

import pytest

from golden.messages import (
    MetaField,
    MetaValue,
    ReqOpcode,
    RwDOpcode,
    Served,
    SnpType,
    serve_req,
    serve_rwd,
)

NO_OP, META0 = MetaField.NO_OP, MetaField.META0_STATE
I, A, S = MetaValue.INVALID, MetaValue.ANY, MetaValue.SHARED  # noqa: E741 -- the specification's letters

#: (opcode, meta field, meta value or None for any, snoop type) -> served; CXL 3.0 tables 3-39 and 3-42
LEGAL_REQ = {
    (ReqOpcode.MEM_RD, NO_OP, None, SnpType.SNP_CUR): Served.READ,
    (ReqOpcode.MEM_RD, NO_OP, None, SnpType.SNP_INV): Served.READ,
    (ReqOpcode.MEM_RD, META0, A, SnpType.SNP_INV): Served.CACHEABLE,
    (ReqOpcode.MEM_RD, META0, S, SnpType.SNP_DATA): Served.CACHEABLE,
    (ReqOpcode.MEM_RD_DATA, NO_OP, None, SnpType.SNP_DATA): Served.CACHEABLE,
    (ReqOpcode.MEM_INV, META0, A, SnpType.SNP_INV): Served.CACHEABLE,
    (ReqOpcode.MEM_INV, META0, I, SnpType.SNP_INV): Served.COMPLETE,
    (ReqOpcode.MEM_INV_NT, META0, A, SnpType.SNP_INV): Served.CACHEABLE,
    (ReqOpcode.MEM_INV_NT, META0, I, SnpType.SNP_INV): Served.COMPLETE,
    (ReqOpcode.MEM_CLN_EVCT, META0, I, SnpType.NO_OP): Served.COMPLETE,
}
LEGAL_RWD = {
    (RwDOpcode.MEM_WR, META0, I, SnpType.NO_OP): Served.WRITE,
    (RwDOpcode.MEM_WR, META0, A, SnpType.NO_OP): Served.WRITE,
    (RwDOpcode.MEM_WR, META0, I, SnpType.SNP_INV): Served.WRITE,
    (RwDOpcode.MEM_WR_PTL, META0, I, SnpType.SNP_INV): Served.WRITE,
}


@pytest.mark.parametrize(("serve", "legal"), [(serve_req, LEGAL_REQ), (serve_rwd, LEGAL_RWD)])
def test_served_exactly_what_the_tables_list(serve, legal):
    for opcode, field, value, snoop in itertools.product(range(16), range(4), range(4), range(8)):
        expected = legal.get((opcode, field, value, snoop), legal.get((opcode, field, None, snoop), Served.ILLEGAL))
        if serve is serve_req and opcode == ReqOpcode.MEM_SPEC_RD:
            expected = Served.DROP
        if serve is serve_rwd and opcode == RwDOpcode.BI_CONFLICT:
            expected = Served.CONFLICT
        assert serve(opcode, field, value, snoop) == expected, (opcode, field, value, snoop)
