"""Coherency: what a request asks of the snoop filter, in which states hosts hold lines, and what a snoop may ask.

States and encodings: CXL 3.0 sections 3.3.3 and 3.5.1, tables 3-39 and 3-42 by the numbering of 3.1.
"""

from dataclasses import dataclass
from enum import IntEnum

from kv_endpoint.golden.common.config import LINES_PER_BLOCK, SECTOR_LINES
from kv_endpoint.golden.common.messages import (
    BIRspOpcode,
    BISnpOpcode,
    MetaField,
    MetaValue,
    NDROpcode,
    ReqOpcode,
    RwDOpcode,
    SnpType,
)  # fmt: skip

__all__ = [
    "SECTORS_PER_BLOCK", "Access", "Grant", "LineState", "Retry", "Snoop", "SnoopKind", "access_of_req",
    "access_of_rwd", "answer_lines", "answer_states", "covering", "snoop_opcode",
]  # fmt: skip

SECTORS_PER_BLOCK = LINES_PER_BLOCK // SECTOR_LINES


class LineState(IntEnum):
    """What a host may hold of a line, at most. I, A and S are encoded as the MetaValue that asks for them."""

    I = 0  # noqa: E741 -- the specification's letter
    #: as A, and the copy differs from what memory gives (a lossy mode): it has to be invalidated
    STALE = 1
    #: S, E or M
    A = 2
    S = 3

    @property
    def owned(self):
        """The host may hold the only valid copy."""
        return self in (LineState.A, LineState.STALE)


class Access(IntEnum):
    """What a slot asks of the snoop filter."""

    #: nothing: its region is not for back-invalidation, or the slot is not of a host
    PLAIN = 0
    #: MemRd No-Op SnpCur, SnpInv: the host will not cache the line
    READ_CURRENT = 1
    READ_INVALIDATE = 2
    #: MemRd Meta0 S; MemRdData; MemRd Meta0 A
    READ_SHARED = 3
    READ_DATA = 4
    READ_OWN = 5
    #: MemInv or MemInvNT, Meta0 A: ownership without data
    OWN = 6
    #: MemInv Meta0 I; MemClnEvct
    FLUSH = 7
    FORGET = 8
    #: MemWr or MemWrPtl, Meta0 I SnpInv: the host does not own the line
    WRITE_THROUGH = 9
    #: MemWr No-Op, of a line that the host holds in M: it keeps nothing, or a copy
    WRITE_BACK = 10
    WRITE_KEEP = 11

    @property
    def caches(self):
        """The host may hold the line afterwards, and did not need to before."""
        return Access.READ_SHARED <= self <= Access.OWN

    @property
    def is_write(self):
        return self >= Access.WRITE_THROUGH


class Grant(IntEnum):
    """How a request is completed: the low bits of an NDR opcode."""

    CMP = NDROpcode.CMP
    CMP_S = NDROpcode.CMP_S
    CMP_E = NDROpcode.CMP_E


class Retry(IntEnum):
    """Whether a slot is a held request that is tried again, and what it was held for."""

    NO = 0
    #: a way of the filter, a snoop of another line of its sector, or a place in the snoop table
    WAITED = 1
    #: a snoop that covered its line
    SNOOPED = 2


class SnoopKind(IntEnum):
    """What the device wants of a line that a host may hold; the opcode of a single BISnp."""

    CUR = BISnpOpcode.CUR
    DATA = BISnpOpcode.DATA
    INV = BISnpOpcode.INV


#: (opcode, MetaValue or None without metadata, SnpType) of the legal Reqs that concern the filter
_REQS = {
    (ReqOpcode.MEM_RD, None, SnpType.SNP_CUR): Access.READ_CURRENT,
    (ReqOpcode.MEM_RD, None, SnpType.SNP_INV): Access.READ_INVALIDATE,
    (ReqOpcode.MEM_RD, MetaValue.SHARED, SnpType.SNP_DATA): Access.READ_SHARED,
    (ReqOpcode.MEM_RD_DATA, None, SnpType.SNP_DATA): Access.READ_DATA,
    (ReqOpcode.MEM_RD, MetaValue.ANY, SnpType.SNP_INV): Access.READ_OWN,
    (ReqOpcode.MEM_INV, MetaValue.ANY, SnpType.SNP_INV): Access.OWN,
    (ReqOpcode.MEM_INV_NT, MetaValue.ANY, SnpType.SNP_INV): Access.OWN,
    (ReqOpcode.MEM_INV, MetaValue.INVALID, SnpType.SNP_INV): Access.FLUSH,
    (ReqOpcode.MEM_INV_NT, MetaValue.INVALID, SnpType.SNP_INV): Access.FLUSH,
    (ReqOpcode.MEM_CLN_EVCT, MetaValue.INVALID, SnpType.NO_OP): Access.FORGET,
}
#: added to the opcode of a single BISnp or BIRsp for its block form
_BLOCK = BISnpOpcode.CUR_BLK - BISnpOpcode.CUR
#: what a host may say that it holds, by what it was asked
_LEGAL_ANSWERS = {
    SnoopKind.CUR: {BIRspOpcode.I: LineState.I, BIRspOpcode.S: LineState.S, BIRspOpcode.E: LineState.A},
    SnoopKind.DATA: {BIRspOpcode.I: LineState.I, BIRspOpcode.S: LineState.S},
    SnoopKind.INV: {BIRspOpcode.I: LineState.I},
}


@dataclass(frozen=True)
class Snoop:
    """One BISnp: what is wanted, of which host, and of which `lines` (a mask) of a sector.

    `sector` counts over the endpoint: {head, block, sector of the block}.
    """

    kind: SnoopKind
    host: int
    sector: int
    lines: int


def covering(lines):
    """The lines that the smallest BISnp for `lines` (a mask, not 0) covers: one, a half, or all."""
    if lines & lines - 1 == 0:
        return lines
    return next(form for form in (0b0011, 0b1100, 0b1111) if not lines & ~form)


def snoop_opcode(snoop):
    """(BISnp opcode, its Address[7:6]) of a snoop: the line of a single one, the mask of halves of a block one."""
    if snoop.lines & snoop.lines - 1 == 0:
        return BISnpOpcode(snoop.kind), snoop.lines.bit_length() - 1
    halves = bool(snoop.lines & 0b0011) | bool(snoop.lines & 0b1100) << 1
    return BISnpOpcode(snoop.kind + _BLOCK), halves


def answer_states(kind):
    """The states that a host may say after a snoop of `kind`."""
    return frozenset(_LEGAL_ANSWERS[kind].values())


def answer_lines(snoop, lines_open, opcode, low_addr):
    """{line: state} that a BIRsp says, or None if it is not legal for the snoop.

    `lines_open`: the lines of the snoop that were not answered. A block answer speaks for all lines of a snoop none of
    which was answered; a single one for line `low_addr`, or whatever that is for the one line of a single snoop.
    """
    is_block = snoop.lines & snoop.lines - 1 != 0
    if opcode in (BIRspOpcode.I_BLK, BIRspOpcode.S_BLK, BIRspOpcode.E_BLK):
        opcode -= _BLOCK
        lines = snoop.lines if is_block and lines_open == snoop.lines else 0
    else:
        lines = (1 << low_addr) & lines_open if is_block else lines_open
    state = _LEGAL_ANSWERS[snoop.kind].get(opcode)
    if state is None or not lines:
        return None
    return {line: state for line in range(SECTOR_LINES) if lines >> line & 1}


def access_of_req(opcode, meta_field, meta_value, snp_type):
    """The `Access` of a Req, None if it is no legal one that concerns the filter."""
    meta = None if meta_field == MetaField.NO_OP else meta_value if meta_field == MetaField.META0_STATE else -1
    return _REQS.get((opcode, meta, snp_type))


def access_of_rwd(opcode, meta_field, meta_value, snp_type):
    """The `Access` of an RwD that writes, None if it is no legal one."""
    if meta_field != MetaField.META0_STATE:
        return None
    if opcode in (RwDOpcode.MEM_WR, RwDOpcode.MEM_WR_PTL) and (meta_value, snp_type) == (
        MetaValue.INVALID,
        SnpType.SNP_INV,
    ):
        return Access.WRITE_THROUGH
    if opcode == RwDOpcode.MEM_WR and snp_type == SnpType.NO_OP:
        return {MetaValue.INVALID: Access.WRITE_BACK, MetaValue.ANY: Access.WRITE_KEEP}.get(meta_value)
    return None
