"""What the caching hosts of the batch form do (`tb/hdl/caching_hosts.v`): their actions, settings and counts."""

from dataclasses import asdict, dataclass, field
from enum import IntEnum

from kv_endpoint.golden.common.config import LINES_PER_BLOCK
from kv_endpoint.golden.common.messages import MetaField, MetaValue, ReqOpcode, RwDOpcode, SnpType

__all__ = ["COUNTS", "INPUTS", "PLACES", "Action", "CachingHosts", "ERRORS", "MESSAGES", "channel_of", "counts_of"]

#: lines that the hosts can work on
PLACES = 2048
#: the most messages in flight that the hosts are told to have; what snoops make them write comes on top
IN_FLIGHT_MAX = 96
#: bits of a count, and of a share
COUNT_BITS = 64
SHARE_BITS = 8


class Action(IntEnum):
    """What a host does with a line: `golden.common.line_access.Access` tells more of the messages."""

    READ_CURRENT = 0
    READ_INVALIDATE = 1
    READ_SHARED = 2
    READ_DATA = 3
    READ_OWN = 4
    #: the host overwrites the whole line when it owns it
    OWN = 5
    OWN_NT = 6
    FLUSH = 7
    FLUSH_NT = 8
    FORGET = 9
    #: without owning the line
    WRITE = 10
    WRITE_PARTIAL = 11
    #: of a line in M
    WRITE_BACK = 12
    WRITE_KEEP = 13
    #: has no response
    SPECULATE = 14
    #: a clean line is forgotten without a message
    DROP = 15


_A, _S, _I = ({"meta_field": MetaField.META0_STATE, "meta_value": value} for value in
              (MetaValue.ANY, MetaValue.SHARED, MetaValue.INVALID))  # fmt: skip
_NO_OP = {"meta_field": MetaField.NO_OP}
_INV = {"snp_type": SnpType.SNP_INV}
#: the fields of each action's message; host, tag, address, byte enables and data come on top
MESSAGES = {
    Action.READ_CURRENT: {"opcode": ReqOpcode.MEM_RD, "snp_type": SnpType.SNP_CUR, **_NO_OP},
    Action.READ_INVALIDATE: {"opcode": ReqOpcode.MEM_RD, **_INV, **_NO_OP},
    Action.READ_SHARED: {"opcode": ReqOpcode.MEM_RD, "snp_type": SnpType.SNP_DATA, **_S},
    Action.READ_DATA: {"opcode": ReqOpcode.MEM_RD_DATA, "snp_type": SnpType.SNP_DATA, **_NO_OP},
    Action.READ_OWN: {"opcode": ReqOpcode.MEM_RD, **_INV, **_A},
    Action.OWN: {"opcode": ReqOpcode.MEM_INV, **_INV, **_A},
    Action.OWN_NT: {"opcode": ReqOpcode.MEM_INV_NT, **_INV, **_A},
    Action.FLUSH: {"opcode": ReqOpcode.MEM_INV, **_INV, **_I},
    Action.FLUSH_NT: {"opcode": ReqOpcode.MEM_INV_NT, **_INV, **_I},
    Action.FORGET: {"opcode": ReqOpcode.MEM_CLN_EVCT, "snp_type": SnpType.NO_OP, **_I},
    Action.WRITE: {"opcode": RwDOpcode.MEM_WR, **_INV, **_I},
    Action.WRITE_PARTIAL: {"opcode": RwDOpcode.MEM_WR_PTL, **_INV, **_I, "be_present": 1},
    Action.WRITE_BACK: {"opcode": RwDOpcode.MEM_WR, "snp_type": SnpType.NO_OP, **_I},
    Action.WRITE_KEEP: {"opcode": RwDOpcode.MEM_WR, "snp_type": SnpType.NO_OP, **_A},
    Action.SPECULATE: {"opcode": ReqOpcode.MEM_SPEC_RD, "snp_type": SnpType.NO_OP, **_NO_OP},
}


def channel_of(action):
    """The channel of an action's message."""
    return "rwd" if Action.WRITE <= action <= Action.WRITE_KEEP else "req"


#: shares of the actions of a host that tries everything
_ALL = {
    Action.READ_CURRENT: 4, Action.READ_INVALIDATE: 4, Action.READ_SHARED: 20, Action.READ_DATA: 10,
    Action.READ_OWN: 24, Action.OWN: 6, Action.OWN_NT: 4, Action.FLUSH: 3, Action.FLUSH_NT: 3, Action.FORGET: 6,
    Action.WRITE: 6, Action.WRITE_PARTIAL: 6, Action.WRITE_BACK: 6, Action.WRITE_KEEP: 6, Action.SPECULATE: 2,
    Action.DROP: 10,
}  # fmt: skip

#: counts of a run in the order of the bits of `counts`: messages issued and answered; BIConflicts answered before and
#: after the Cmp of their request; reads whose data was compared, and hits in a host's cache likewise; BISnp by kind and
#: lines; BIRsp of several lines and of one; lines in M that a snoop had written back
COUNTS = (
    "issued", "answered", "early", "late", "fills", "hits", "cur_1", "cur_2", "cur_4", "data_1", "data_2", "data_4",
    "inv_1", "inv_2", "inv_4", "block_answers", "line_answers", "flushed",
)  # fmt: skip

#: what the bench's `error` says of the hosts (tb/hdl/caching_hosts.v)
ERRORS = {
    7: "a response to a caching host that is not due, with tag {tag}",
    8: "a caching host read what the line does not hold, with tag {tag}",
    9: "a request of a caching host was completed as it must not be, with tag {tag}",
    10: "a BISnp that is not legal, with BITag {tag}",
    11: "a BISnp of lines that are being snooped already, or with a BITag in use: {tag}",
    12: "two hosts hold a line, one of which owns it; tag {tag}",
    13: "a request was granted while its line was being snooped, with tag {tag}",
    14: "a BI-ConflictAck that is not due, with tag {tag}",
}


@dataclass(frozen=True)
class CachingHosts:
    """As many hosts as the configuration has, on the first `lines` lines of `blocks` blocks.

    Delays are in clocks, chosen at random up to the maximum; shares are of 256.
    """

    requests: int
    #: line address (HPA >> 6) of the first block, and blocks from one that is used to the next
    base: int
    blocks: int
    lines: int = 8
    block_step: int = 1
    seed: int = 1
    in_flight: int = 32
    #: chance of a new message in a clock
    rate: int = 256
    #: chance that a line is asked for while a BISnp of it is on its way to the host
    races: int = 64
    #: chance that a new message is for the sector of the one before
    near: int = 128
    #: from the arrival of a BISnp to when the host looks at it
    snoop_min: int = 0
    snoop_max: int = 100
    #: the most clocks that NDR and DRS take to the host
    link_max: int = 20
    #: all hosts work on all lines; writes by who does not own the line are refused then
    shared: bool = False
    shares: dict = field(default_factory=lambda: dict(_ALL))

    def __post_init__(self):
        def require(name, ok, rule):
            if not ok:
                raise ValueError(f"caching hosts: {name} must be {rule}, not {getattr(self, name)!r}")

        require("requests", 1 <= self.requests < 1 << 32, "1 to 2^32 - 1")
        require("lines", 4 <= self.lines <= LINES_PER_BLOCK and self.lines % 4 == 0, "whole sectors of a block")
        require("blocks", 1 <= self.blocks and self.blocks * self.lines <= PLACES, f"so many that {PLACES} lines do")
        require("block_step", self.block_step >= 1, "at least 1")
        require("seed", 1 <= self.seed < 1 << 32, "1 to 2^32 - 1")
        require("in_flight", 1 <= self.in_flight <= IN_FLIGHT_MAX, f"1 to {IN_FLIGHT_MAX}")
        require("snoop_max", 0 <= self.snoop_min <= self.snoop_max < 1 << 16, "from snoop_min to 65535")
        require("link_max", 0 <= self.link_max < 1 << 16, "0 to 65535")
        for name in ("rate", "races", "near"):
            require(name, 0 <= getattr(self, name) <= 256, "0 to 256")
        most = (1 << SHARE_BITS) - 1
        require("shares", all(0 <= share <= most for share in self.shares.values()), f"0 to {most} each")
        require("shares", any(self.shares.values()), "not all 0")

    def signals(self):
        """{input of the bench: value}."""
        values = asdict(self)
        values["shares"] = sum(share << SHARE_BITS * Action(action) for action, share in self.shares.items())
        return {f"hosts_{name}": int(value) for name, value in values.items()}


#: inputs of the bench
INPUTS = tuple(f"hosts_{name}" for name in CachingHosts.__dataclass_fields__)


def counts_of(word):
    """{name: count} of the bench's `hosts_counts`."""
    return {name: word >> COUNT_BITS * i & (1 << COUNT_BITS) - 1 for i, name in enumerate(COUNTS)}
