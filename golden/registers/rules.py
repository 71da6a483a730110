"""The registers as the golden model, the host code and the benches see them: names, fields, what a policy write does.

Addresses and fields come from `golden/registers/map.py`, which is generated from `hw/registers/csr.rdl`.
"""

from dataclasses import replace
from enum import Enum

from kv_endpoint.golden.common.config import LINE_BYTES, SECTOR_LINES
from kv_endpoint.golden.common.line_access import Access, Grant
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.common.policy import Policy, Priority, ScoreSource
from kv_endpoint.golden.events.port import RefusalKind
from kv_endpoint.golden.front.address import Region
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.golden.registers.map import REGISTERS

__all__ = [
    "NAMES", "COUNTERS", "WRITE_BACKS", "Only", "address", "pack", "unpack", "reset_value", "control", "reset_regions",
    "policy_addresses", "apply", "legal", "refusal", "counted",
]  # fmt: skip

#: every register; those of regions that a configuration does not have answer with SLVERR
NAMES = tuple(REGISTERS)

_NAME_OF = {address: name for name, (address, _) in REGISTERS.items()}
_BASE_LO_BITS = 32
_POLICY_NAMES = ("POLICY", "ALPHA", "LAMBDA", "LEAP_CAP", "PREFETCH", "PHASE")
_REGION_NAMES = ("BASE_LO", "BASE_HI", "HEADS", "FIRST_HEAD", "CTRL")
_STREAM_FIELDS = {"BASE": "base", "LENGTH": "length", "STRIDE": "stride", "AHEAD": "ahead", "CTRL": "enabled"}
#: log2 of a phase window's accesses, lowest and highest
_PHASE_WINDOW = range(4, 15)


class Only(Enum):
    """Which of the slots of its kinds and outcomes a counter counts."""

    ALL = "all"
    TOUCH = "touches"
    #: of a block that was fetched ahead and not used since
    PREFETCHED = "entry prefetched before"
    #: that make it one
    PREFETCH = "entry prefetched after"
    #: that are completed with Cmp-S, Cmp-E
    SHARED = "granted Cmp-S"
    EXCLUSIVE = "granted Cmp-E"
    #: of a host that owned the line
    WRITE_BACK = "write-backs"


_READS, _WRITES = (SlotKind.READ, SlotKind.REPLAY_READ), (SlotKind.WRITE, SlotKind.REPLAY_WRITE)
_HELD = tuple(outcome for outcome in Outcome if outcome.held)
#: accesses of a host that owns the line
WRITE_BACKS = (Access.WRITE_BACK, Access.WRITE_KEEP)

#: counter -> (slot kinds, outcomes, which of them); a commit may count in several
COUNTERS = {
    "HITS": ((SlotKind.READ, SlotKind.WRITE), (Outcome.HIT,), Only.TOUCH),
    "MISSES": ((SlotKind.READ, SlotKind.WRITE), (Outcome.MISS,), Only.TOUCH),
    "FIRST_WRITES": ((SlotKind.WRITE,), (Outcome.FIRST_WRITE,), Only.TOUCH),
    "READS": ((SlotKind.READ,), (Outcome.HIT, Outcome.MISS, Outcome.ZEROS), Only.ALL),
    "WRITES": ((SlotKind.WRITE,), (Outcome.HIT, Outcome.MISS, Outcome.FIRST_WRITE), Only.ALL),
    "ZEROS": ((SlotKind.READ,), (Outcome.ZEROS,), Only.ALL),
    "NXM": ((SlotKind.ANSWER,), (Outcome.NXM,), Only.ALL),
    "COMPLETED": ((SlotKind.ANSWER,), (Outcome.COMPLETED,), Only.ALL),
    "DROPPED": ((SlotKind.ANSWER,), (Outcome.DROPPED,), Only.ALL),
    "CACHEABLE": ((SlotKind.ANSWER,), (Outcome.CACHEABLE,), Only.ALL),
    "ILLEGAL": ((SlotKind.ANSWER,), (Outcome.ILLEGAL,), Only.ALL),
    "CONFLICTS": ((SlotKind.ANSWER,), (Outcome.CONFLICT,), Only.ALL),
    "WINDOW": ((SlotKind.ANSWER,), (Outcome.WINDOW,), Only.ALL),
    "UNWRITABLE": ((SlotKind.ANSWER,), (Outcome.UNWRITABLE,), Only.ALL),
    "HINTS": ((SlotKind.ANSWER,), (Outcome.HINT_DONE,), Only.ALL),
    "HINTS_STALE": ((SlotKind.ANSWER,), (Outcome.HINT_STALE,), Only.ALL),
    "HINTS_MALFORMED": ((SlotKind.ANSWER,), (Outcome.HINT_MALFORMED,), Only.ALL),
    "HINTS_EXHAUSTED": ((SlotKind.ANSWER,), (Outcome.HINT_EXHAUSTED,), Only.ALL),
    "HINTED_BLOCKS": ((SlotKind.HINT,), (Outcome.DONE,), Only.ALL),
    "HINTED_AGAIN": ((SlotKind.HINT,), (Outcome.IGNORED,), Only.ALL),
    "PROMOTIONS": ((SlotKind.PROMOTE,), (Outcome.DONE,), Only.ALL),
    "ALLOCATIONS": ((SlotKind.ALLOCATE,), (Outcome.DONE,), Only.ALL),
    "DEMOTIONS": ((SlotKind.DEMOTE,), (Outcome.DONE,), Only.ALL),
    "EVICTIONS": ((SlotKind.EVICT,), (Outcome.DONE,), Only.ALL),
    "RESTORES": ((SlotKind.RESTORE,), (Outcome.DONE,), Only.ALL),
    "BYPASS_READS": ((SlotKind.BYPASS_READ,), (Outcome.DONE,), Only.ALL),
    "PREFETCH_OVERTAKEN": ((SlotKind.PREFETCH,), (Outcome.IGNORED,), Only.ALL),
    "PREFETCH_ISSUED": ((SlotKind.PROMOTE,), (Outcome.DONE,), Only.PREFETCH),
    "PREFETCH_USEFUL": ((SlotKind.READ, SlotKind.WRITE), (Outcome.HIT,), Only.PREFETCHED),
    "PREFETCH_LATE": ((SlotKind.READ, SlotKind.WRITE), (Outcome.MISS,), Only.PREFETCHED),
    "PREFETCH_MET": ((SlotKind.REPLAY_READ, SlotKind.REPLAY_WRITE), (Outcome.HIT,), Only.PREFETCHED),
    "PREFETCH_UNUSED": ((SlotKind.EVICT,), (Outcome.DONE,), Only.PREFETCHED),
    "GRANTS_SHARED": (_READS, (Outcome.HIT, Outcome.ZEROS), Only.SHARED),
    "GRANTS_EXCLUSIVE": (_READS, (Outcome.HIT, Outcome.ZEROS), Only.EXCLUSIVE),
    "RELEASES": ((SlotKind.RELEASE,), (Outcome.DONE,), Only.ALL),
    "HELD": ((*_READS, SlotKind.RELEASE), _HELD, Only.ALL),
    "WRITE_BACKS": ((SlotKind.WRITE,), (Outcome.HIT, Outcome.MISS, Outcome.FIRST_WRITE), Only.WRITE_BACK),
    "NOT_OWNER": (_WRITES, (Outcome.NOT_OWNER,), Only.ALL),
    "SHARED_WRITES": ((SlotKind.ANSWER,), (Outcome.SHARED_WRITE,), Only.ALL),
}


def address(name):
    """Byte address of the register called `name`, as in `POLICY` or `REGION[1].BASE_LO`."""
    return REGISTERS[name][0]


def pack(name, **fields):
    """The word that sets `fields` of a register, the others to 0. Raises ValueError for a value that does not fit."""
    places, word = REGISTERS[name][1], 0
    for field, value in fields.items():
        low, width, _ = places[field]
        if not 0 <= value < 1 << width:
            raise ValueError(f"{name}.{field} must fit {width} bits, not {value}")
        word |= int(value) << low
    return word


def unpack(name, word):
    """The fields of a register's word as a dict."""
    return {field: word >> low & (1 << width) - 1 for field, (low, width, _) in REGISTERS[name][1].items()}


def reset_value(name):
    """What a register reads after reset, or None if that depends on the configuration."""
    fields = REGISTERS[name][1].values()
    if any(reset is None for _, _, reset in fields):
        return None
    return sum(reset << low for low, _, reset in fields)


def control(region, *, enabled=None):
    """The word that CTRL of a region has; `enabled` where it is to be otherwise."""
    enabled = region.enabled if enabled is None else enabled
    return pack("REGION[0].CTRL", ENABLED=int(enabled), MODE=region.mode, CACHED=int(region.cached), HOSTS=region.hosts)


def reset_regions(config):
    """The regions after reset: the first holds every head, from address 0; the others are off."""
    whole = Region(base=0, heads=config.heads, first_head=0, enabled=True)
    return (whole, *(Region(base=0, heads=0, first_head=0, enabled=False) for _ in range(config.regions - 1)))


def policy_addresses(config):
    """Byte addresses of the policy, region and stream registers that a configuration has, those that `apply` takes."""
    regions = (f"REGION[{number}].{name}" for number in range(config.regions) for name in _REGION_NAMES)
    streams = (f"STREAM[{number}].{name}" for number in range(config.streams) for name in _STREAM_FIELDS)
    return frozenset(map(address, (*_POLICY_NAMES, *regions, *streams)))


def _apply_region(region, register, value):
    if register == "BASE_LO":
        return replace(region, base=region.base >> _BASE_LO_BITS << _BASE_LO_BITS | value)
    if register == "BASE_HI":
        return replace(region, base=value << _BASE_LO_BITS | region.base & (1 << _BASE_LO_BITS) - 1)
    if register == "HEADS":
        return replace(region, heads=value)
    if register == "FIRST_HEAD":
        return replace(region, first_head=value)
    fields = unpack("REGION[0].CTRL", value)
    return replace(
        region,
        enabled=bool(fields["ENABLED"]),
        mode=Mode(fields["MODE"]),
        cached=bool(fields["CACHED"]),
        hosts=fields["HOSTS"],
    )


def _replaced(items, number, item):
    return (*items[:number], item, *items[number + 1 :])


def apply(policy, regions, streams, address, value):
    """`(policy, regions, streams)` after a CSR_WRITE record. Raises ValueError for a register of none of them."""
    name = _NAME_OF.get(address)
    if name == "POLICY":
        fields = unpack(name, value)
        policy = replace(
            policy,
            priority=Priority(fields["PRIORITY"]),
            score=ScoreSource(fields["SCORE"]),
            protect=bool(fields["PROTECT"]),
            bypass=bool(fields["BYPASS"]),
        )
    elif name in ("ALPHA", "LAMBDA", "LEAP_CAP"):
        policy = replace(policy, **{{"ALPHA": "alpha", "LAMBDA": "lam", "LEAP_CAP": "leap_cap"}[name]: value})
    elif name == "PREFETCH":
        fields = unpack(name, value)
        policy = replace(
            policy,
            prefetch_announced=bool(fields["ANNOUNCED"]),
            prefetch_window=bool(fields["WINDOW"]),
            prefetch_streams=bool(fields["STREAMS"]),
            prefetch_depth=fields["DEPTH"],
        )
    elif name == "PHASE":
        fields = unpack(name, value)
        policy = replace(
            policy,
            phase_ratio=fields["RATIO"],
            phase_window=fields["WINDOW"],
            phase_burst=bool(fields["BURST"]),
            phase_burst_lines=fields["BURST_LINES"],
        )
    elif name is not None and name.startswith("REGION["):
        number, register = _element(name)
        regions = _replaced(regions, number, _apply_region(regions[number], register, value))
    elif name is not None and name.startswith("STREAM["):
        number, register = _element(name)
        stream = replace(streams[number], **{_STREAM_FIELDS[register]: bool(value) if register == "CTRL" else value})
        streams = _replaced(streams, number, stream)
    else:
        raise ValueError(f"CSR address {address:#x} must be one of a policy, region or stream register")
    return policy, regions, streams


def _element(name):
    """(number, register) of a register of an array, as in `REGION[1].BASE_LO`."""
    number, register = name[name.index("[") + 1 :].split("].")
    return int(number), register


def _legal_regions(config, regions):
    """Whether enabled regions stay within the endpoint's heads and share none, and cached ones begin with a sector."""
    taken = set()
    for region in regions:
        if region.heads > config.heads or region.first_head >= config.heads:
            return False
        if region.enabled:
            if region.cached and region.base % (SECTOR_LINES * LINE_BYTES):
                return False
            heads = set(range(region.first_head, region.first_head + region.heads))
            if not heads or max(heads) >= config.heads or heads & taken:
                return False
            taken |= heads
    return True


def legal(config, regions, streams, address, value):
    """Whether a write of `value` to a policy, region or stream register respects the rules of the registers.

    What does not is answered with SLVERR and no more; `refusal` may refuse the rest.
    """
    name = _NAME_OF[address]
    fields = unpack(name, value)
    if pack(name, **fields) != value:
        return False
    if name == "POLICY":
        return fields["PRIORITY"] in set(Priority) and fields["SCORE"] in set(ScoreSource)
    if name == "PHASE":
        return fields["RATIO"] > 0 and fields["BURST_LINES"] > 0 and fields["WINDOW"] in _PHASE_WINDOW
    if name.endswith(".AHEAD") and not value:
        return False
    if "[" in name and not name.endswith(".CTRL"):
        # Between the writes that move it a region, or a stream, would be at a place where nobody wants it.
        number, _ = _element(name)
        if (regions if name.startswith("REGION[") else streams)[number].enabled:
            return False
    if name.startswith("REGION[") and name.endswith(".CTRL") and not 0 < fields["HOSTS"] < 1 << config.hosts:
        return False
    _, after, _ = apply(Policy(), regions, streams, address, value)
    for region, then in zip(regions, after, strict=True):
        if (region.enabled, region.mode) != (then.enabled, then.mode):
            # A stream keeps its region, and so its mode.
            if any(stream.enabled and stream.lies_in(config, region) for stream in streams):
                return False
    return _legal_regions(config, after)


def refusal(config, regions, streams, modes, occupied, address, value, *, covered=0, pool_frames=None):
    """Why the endpoint refuses a `legal` write to CTRL of a region or a stream: a `RefusalKind`, or None.

    `modes` is the mode of each head, `occupied` the heads that have had blocks or have a minimum quota. `covered`: how
    many sectors hosts may hold lines of, and requests are neither granted nor refused. `pool_frames`: the size of the
    pool of each mode, None: as large as can be.
    """
    name = _NAME_OF[address]
    if "[" not in name or not name.endswith(".CTRL"):
        return None
    _, after, streams = apply(Policy(), regions, streams, address, value)
    number, _ = _element(name)
    if name.startswith("REGION["):
        frames = config.pool_frames_max if pool_frames is None else pool_frames[after[number].mode]
        return _region_refusal(config, regions[number], after[number], modes, occupied, covered, frames)
    stream = streams[number]
    if not stream.enabled:
        return None
    if not any(stream.lies_in(config, region) for region in regions):
        return RefusalKind.STREAM_RANGE
    others = (*streams[:number], *streams[number + 1 :])
    if any(other.enabled and stream.meets(other) for other in others):
        return RefusalKind.STREAM_OVERLAP
    return None


def _region_refusal(config, before, after, modes, occupied, covered, frames):
    """Why a region is not changed so, or None. `frames`: the pool that it is to have."""
    stays = (after.enabled, after.cached, after.hosts) == (True, True, before.hosts)
    if before.enabled and before.cached and not stays and covered:
        return RefusalKind.COVERED
    if not after.enabled:
        return None
    if after.shared and (not after.cached or after.mode != Mode.EXACT):
        return RefusalKind.SHARED_MODE
    if after.cached and frames < config.pool_frames_min_cached:
        return RefusalKind.POOL_CACHED
    heads = range(after.first_head, after.first_head + after.heads)
    if any(modes[head] != after.mode and head in occupied for head in heads):
        return RefusalKind.MODE_BUSY
    return None


def counted(kind, outcome, touch, prefetched_before, prefetched_after, *, grant=Grant.CMP, access=Access.PLAIN):
    """Names of the counters that a committed slot adds to."""
    counts = {
        Only.ALL: True,
        Only.TOUCH: touch,
        Only.PREFETCHED: prefetched_before,
        Only.PREFETCH: prefetched_after,
        Only.SHARED: grant == Grant.CMP_S,
        Only.EXCLUSIVE: grant == Grant.CMP_E,
        Only.WRITE_BACK: access in WRITE_BACKS,
    }
    return [
        name
        for name, (kinds, outcomes, only) in COUNTERS.items()
        if kind in kinds and outcome in outcomes and counts[only]
    ]
