"""The event port: what a record holds, and how it is packed.

Two lanes, each at most one record a clock. Lane `slot` has one record a metadata slot; lane `engine` has all else. Both
draw from one 32-bit sequence number (modulo 2^32); where both lanes commit in one clock the slot comes first. All
state that the golden model follows changes exactly at a record, in this order.
"""

from enum import IntEnum
from functools import cache

from kv_endpoint.golden.common.config import EMA_BITS

__all__ = [
    "SEQUENCE_BITS",
    "Lane",
    "EngineKind",
    "ErrorKind",
    "Phase",
    "PrefetchDrop",
    "PrefetchSource",
    "RefusalKind",
    "record_fields",
    "pack",
    "unpack",
    "unpacker",
    "width",
]

SEQUENCE_BITS = 32


class Lane(IntEnum):
    SLOT = 0
    ENGINE = 1


class EngineKind(IntEnum):
    """Kinds of lane `engine`; after each the fields that it uses (the others are 0)."""

    #: the step counter moved: aux = new step
    STEP = 0
    #: a CSR write took effect: frame = 0, key = byte address, aux = value written
    CSR_WRITE = 1
    #: a miss was opened for head, block: aux = 1 for a write, 2 for a prefetch, which leaves the prefetch queue so
    MISS_OPEN = 2
    #: its last waiting request was replayed, or answered otherwise: head, block
    MISS_CLOSE = 3
    #: head, block leaves frame: key = its eviction key, aux = `Requester` head << 8 | waived << 1 | for a write
    VICTIM = 4
    #: head, block is served through bypass slot `frame`: key = its own eviction key
    BYPASS = 5
    #: page command to flash: head, block, frame, aux = tag
    PAGE_READ = 6
    PAGE_WRITE = 7
    #: its completion: head, block, frame, aux = tag << 1 | failed
    PAGE_READ_DONE = 8
    PAGE_WRITE_DONE = 9
    #: refused: key = `RefusalKind`, head, block (of POOL_SIZE the `Mode`), aux = the value or the number refused
    REFUSAL = 10
    #: a sticky error: key = `ErrorKind`, aux = detail
    ERROR = 11
    #: quotas of head: key = maximum, aux = minimum
    QUOTA = 12
    #: pool size: aux = frames, key = `Mode`
    POOL = 13
    #: head, block is to be fetched ahead: aux = `PrefetchSource`
    PREFETCH_QUEUED = 14
    #: it is not: aux = `PrefetchSource` | `PrefetchDrop` << 8
    PREFETCH_DROPPED = 15
    #: a region is now in another phase: key = region, aux = `Phase`
    PHASE = 16
    #: a BISnp leaves: head, block, key = sector of the block, aux = BITag | lines << 12 | opcode << 16 | host << 20
    BI_SNOOP = 17
    #: a BIRsp has taken effect: head, block, key = sector, aux = BITag | lines << 12 | `LineState` of each line << 16
    BI_ANSWER = 18
    #: a sector of a block is taken back: head, block, key = sector
    BI_RECALL = 19
    #: a set of the filter is searched for lines to take back: key = set, aux = 1 if every line
    BI_SCRUB = 20


class PrefetchSource(IntEnum):
    """Who asks for a prefetch; the lower goes first."""

    #: a hint named a cold block
    ANNOUNCED = 0
    #: a block near it was touched
    WINDOW = 1
    #: a stream descriptor
    STREAM = 2


class PrefetchDrop(IntEnum):
    """Why a prefetch comes to nothing."""

    #: it waits already
    DUPLICATE = 0
    #: no room in the queue
    FULL = 1
    #: the block has an open miss
    MISSED = 2
    #: its key is below the victim's, or its EMA is 0 and no frame is free
    NOT_WORTH = 3
    #: nothing can leave for it now
    NO_FRAME = 4


class Phase(IntEnum):
    """What the host does with a region."""

    DECODE = 0
    PREFILL = 1


class RefusalKind(IntEnum):
    """Why a command was refused."""

    PIN_CAP = 0
    PIN_QUOTA = 1
    PIN_RANGE = 2
    QUOTA_RANGE = 3
    QUOTA_SUM = 4
    POOL_SIZE = 5
    #: a stream that leaves its region, or has no length or a stride that is no power of two
    STREAM_RANGE = 6
    #: a stream that shares blocks with another
    STREAM_OVERLAP = 7
    #: a region's mode, while one of its heads has blocks or a minimum quota
    MODE_BUSY = 8
    #: a region that is switched off, moved, or no longer cached while hosts may hold lines
    COVERED = 9
    #: a pool too small for the lines that hosts may hold
    POOL_CACHED = 10
    #: hosts that share a region which they may not cache, or whose mode is lossy
    SHARED_MODE = 11


class ErrorKind(IntEnum):
    """Sticky errors; also the bit number in the CSR `ERROR`."""

    STEP_EXHAUSTED = 0
    AXI_READ = 1
    AXI_WRITE = 2
    PAGE_READ = 3
    PAGE_WRITE = 4
    FLASH_UNWRITABLE = 5
    REFUSED_COMMAND = 6
    #: a BIRsp that answers nothing: aux = BITag | opcode << 12 | LowAddr << 16 | BI-ID << 18
    BAD_BIRSP = 7
    #: a BISnp was not answered in time: aux = BITag
    SNOOP_TIMEOUT = 8
    #: no notes of their own, the outcome of a slot says it
    NOT_OWNER = 9
    SHARED_WRITE = 10


def record_fields(config, lane):
    """((field, bits), ...) of a record, lowest bits first; `key` is two's complement.

    A slot record: `kind`, `rwd`, `tag`, `head`, `block`, `line`, `access`, `host`, `retry`, `value` as in the slot;
    `grant`, `outcome` and `touch` of its commit; `step` the current step; `ema` after it; `frame` the slot's for
    PROMOTE, ALLOCATE and BYPASS_READ, else the entry's; state and flags of the entry before and after. An ANSWER
    concerns no entry: `ema` and all behind it are 0.
    """
    where = (("head", config.head_bits), ("block", config.block_bits))
    if lane == Lane.SLOT:
        return (
            ("sequence", SEQUENCE_BITS), ("kind", 5), ("outcome", 5), ("touch", 1), ("rwd", 1), ("tag", 16), *where,
            ("line", config.line_bits), ("access", 4), ("host", 1), ("retry", 2), ("grant", 2), ("value", 16),
            ("step", config.step_bits), ("ema", EMA_BITS),
            ("frame", config.frame_bits), ("state_before", 3), ("flags_before", 5), ("state_after", 3),
            ("flags_after", 5),
        )  # fmt: skip
    return (
        ("sequence", SEQUENCE_BITS), ("kind", 6), *where, ("frame", config.frame_bits), ("key", config.key_bits),
        ("aux", 32),
    )  # fmt: skip


def width(config, lane):
    """Bits of a record."""
    return sum(bits for _, bits in record_fields(config, lane))


def pack(config, lane, **values):
    """A record as an integer; fields that are not given are 0. Raises ValueError for a value that does not fit."""
    record, shift = 0, 0
    for name, bits in record_fields(config, lane):
        value = int(values.pop(name, 0))
        if not -(1 << bits - 1) <= value < 1 << bits or (value < 0 and name != "key"):
            raise ValueError(f"{lane.name.lower()} record: {name} must fit {bits} bits, not {value}")
        record |= (value & (1 << bits) - 1) << shift
        shift += bits
    if values:
        raise ValueError(f"{lane.name.lower()} record has no field {', '.join(values)}")
    return record


@cache
def unpacker(config, lane):
    """A function from a packed record to its fields as a dict, `key` as a signed number: the checker's inner loop."""
    fields, shift = [], 0
    for name, bits in record_fields(config, lane):
        fields.append((name, shift, (1 << bits) - 1))
        shift += bits
    has_key, sign_bit = lane == Lane.ENGINE, 1 << config.key_bits - 1

    def fields_of(record):
        values = {name: record >> shift & mask for name, shift, mask in fields}
        if has_key and values["key"] & sign_bit:
            values["key"] -= 2 * sign_bit
        return values

    return fields_of


def unpack(config, lane, record):
    """The fields of one packed record."""
    return unpacker(config, lane)(record)
