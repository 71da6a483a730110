"""What a host does to an endpoint, as a sequence of operations: messages, fences, waits, register writes.

Whoever plays them follows the same rules. Operations are taken in order; a read waits for its turn among the reads, a
write among the writes, and neither for the other; a fence waits, and so does everything after it; a wait takes its
clocks from the moment everything before it was taken, messages that still wait for their turn included.
"""

from dataclasses import dataclass
from enum import IntEnum

from kv_endpoint.golden.common.messages import ADDRESS_BITS, MetaField, MetaValue, ReqOpcode, RwDOpcode, SnpType
from kv_endpoint.golden.registers import rules as csr

__all__ = [
    "FULL", "MESSAGES", "READS", "WAIT_MAX", "Op", "Operation", "fence_all", "fence_writes", "read", "read_shared",
    "register_write", "wait", "write", "write_partial", "write_poisoned",
]  # fmt: skip

#: byte enables of a whole line
FULL = (1 << 64) - 1


class Op(IntEnum):
    """The first number of a line of the text."""

    END = 0
    READ = 1
    WRITE = 2
    WRITE_PARTIAL = 3
    #: goes on when every write before it is completed
    FENCE_WRITES = 4
    #: goes on when every message before it is answered
    FENCE_ALL = 5
    #: goes on `clocks` clocks after it has come to the front
    WAIT = 6
    #: a write of a line whose data the host knows to be wrong
    WRITE_POISONED = 7
    #: a register write (batch form only): `address` is its byte address, `data` the word; begins when every message
    #: before it is answered, and goes on when it is
    REGISTER = 8
    #: a read of a line that the host may cache then, shared with others
    READ_SHARED = 9


#: a write after which the host has no copy
_NO_COPY = {
    "snp_type": SnpType.SNP_INV,
    "meta_field": MetaField.META0_STATE,
    "meta_value": MetaValue.INVALID,
}
#: the fields that make a message of an operation; tag, address, byte enables and data come on top
MESSAGES = {
    Op.READ: {"opcode": ReqOpcode.MEM_RD, "snp_type": SnpType.SNP_INV, "meta_field": MetaField.NO_OP},
    Op.READ_SHARED: {
        "opcode": ReqOpcode.MEM_RD,
        "snp_type": SnpType.SNP_DATA,
        "meta_field": MetaField.META0_STATE,
        "meta_value": MetaValue.SHARED,
    },
    Op.WRITE: {"opcode": RwDOpcode.MEM_WR, **_NO_COPY},
    Op.WRITE_PARTIAL: {"opcode": RwDOpcode.MEM_WR_PTL, **_NO_COPY, "be_present": 1},
    Op.WRITE_POISONED: {"opcode": RwDOpcode.MEM_WR, **_NO_COPY, "poison": 1},
}
#: operations whose message is a Req and asks for data
READS = (Op.READ, Op.READ_SHARED)
#: the most clocks of one wait
WAIT_MAX = (1 << 32) - 1


@dataclass(frozen=True)
class Operation:
    """One operation; `address` is a line address (HPA >> 6), `data` a line as an integer, `be` one bit a byte."""

    op: Op
    address: int = 0
    data: int = 0
    be: int = FULL
    clocks: int = 0

    def __post_init__(self):
        for name, bits in (("address", ADDRESS_BITS), ("data", 512), ("be", 64)):
            value = getattr(self, name)
            if not 0 <= value < 1 << bits:
                raise ValueError(f"{self.op.name}: {name} must fit {bits} bits, not {value!r}")
        if self.op == Op.WAIT and not 1 <= self.clocks <= WAIT_MAX:
            raise ValueError(f"{self.op.name}: clocks must be 1 to {WAIT_MAX}, not {self.clocks!r}")

    @property
    def channel(self):
        """The channel of its message; None for what is no message."""
        if self.op not in MESSAGES:
            return None
        return "req" if self.op in READS else "rwd"

    @property
    def poison(self):
        return self.op == Op.WRITE_POISONED

    def message(self, tag):
        """Its message's fields."""
        fields = MESSAGES[self.op] | {"tag": tag, "address": self.address}
        if self.op not in READS:
            fields |= {"data": self.data}
        if self.op == Op.WRITE_PARTIAL:
            fields |= {"be": self.be}
        return fields


def read(address):
    return Operation(Op.READ, address)


def read_shared(address):
    return Operation(Op.READ_SHARED, address)


def write(address, data):
    """Also a hint, with `golden.front.hints.pack_hint` and `golden.front.address.hint_address`."""
    return Operation(Op.WRITE, address, data)


def write_partial(address, data, be):
    return Operation(Op.WRITE_PARTIAL, address, data, be)


def write_poisoned(address, data=0):
    return Operation(Op.WRITE_POISONED, address, data)


def register_write(name, value=None, **fields):
    """Write a register called as in `golden.registers.rules`: its word, or the word with `fields` set."""
    return Operation(Op.REGISTER, csr.address(name), csr.pack(name, **fields) if value is None else value)


def fence_writes():
    return Operation(Op.FENCE_WRITES)


def fence_all():
    return Operation(Op.FENCE_ALL)


def wait(clocks):
    return Operation(Op.WAIT, clocks=clocks)
