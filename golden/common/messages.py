"""CXL.mem messages that the endpoint understands: fields and encodings.

Fields and encodings: CXL 3.0 section 3.3 (tables 3-29 to 3-50 by the numbering of 3.1). Named fields only; how they are
packed into flit slots is the link layer's matter.
"""

from enum import IntEnum

__all__ = [
    "ADDRESS_BITS", "BISnpOpcode", "BIRspOpcode", "DRSOpcode", "DevLoad", "MetaField", "MetaValue", "NDROpcode",
    "ReqOpcode", "RwDOpcode", "SnpType", "FIELDS",
]  # fmt: skip

#: host physical address bits carried by a message: Address[51:6]
ADDRESS_BITS = 46


class ReqOpcode(IntEnum):
    MEM_INV = 0
    MEM_RD = 1
    MEM_RD_DATA = 2
    MEM_RD_FWD = 3
    MEM_WR_FWD = 4
    MEM_SPEC_RD = 8
    MEM_INV_NT = 9
    MEM_CLN_EVCT = 10


class RwDOpcode(IntEnum):
    MEM_WR = 1
    MEM_WR_PTL = 2
    BI_CONFLICT = 4


class NDROpcode(IntEnum):
    CMP = 0
    CMP_S = 1
    CMP_E = 2
    BI_CONFLICT_ACK = 4


class DRSOpcode(IntEnum):
    MEM_DATA = 0
    MEM_DATA_NXM = 1


class BISnpOpcode(IntEnum):
    CUR = 0
    DATA = 1
    INV = 2
    CUR_BLK = 4
    DATA_BLK = 5
    INV_BLK = 6


class BIRspOpcode(IntEnum):
    I = 0  # noqa: E741 -- the specification's letter
    S = 1
    E = 2
    I_BLK = 4
    S_BLK = 5
    E_BLK = 6


class MetaField(IntEnum):
    META0_STATE = 0
    NO_OP = 3


class MetaValue(IntEnum):
    INVALID = 0
    ANY = 2
    SHARED = 3


class SnpType(IntEnum):
    NO_OP = 0
    SNP_DATA = 1
    SNP_CUR = 2
    SNP_INV = 3


class DevLoad(IntEnum):
    LIGHT = 0
    OPTIMAL = 1
    MODERATE = 2
    SEVERE = 3


_REQ = (
    ("opcode", 4), ("snp_type", 3), ("meta_field", 2), ("meta_value", 2), ("tag", 16), ("address", ADDRESS_BITS),
    ("ld_id", 4), ("tc", 2),
)  # fmt: skip
_NDR = (("opcode", 3), ("meta_field", 2), ("meta_value", 2), ("tag", 16), ("ld_id", 4), ("dev_load", 2))

#: channel -> ((field, bits), ...), first field in the lowest bits; the valid bit is the stream's
FIELDS = {
    "req": _REQ,
    "rwd": (*_REQ, ("poison", 1), ("be_present", 1), ("be", 64), ("data", 512)),
    "ndr": _NDR,
    "drs": (*_NDR, ("poison", 1), ("data", 512)),
    "bisnp": (("opcode", 4), ("bi_id", 12), ("bi_tag", 12), ("address", ADDRESS_BITS)),
    "birsp": (("opcode", 4), ("bi_id", 12), ("bi_tag", 12), ("low_addr", 2)),
}
