"""The registers as the golden model, the host code and the benches see them: names, fields, what a policy write does.

Addresses and fields come from `golden/csr_map.py`, which is generated from `hw/csr.rdl`.
"""

from dataclasses import replace

from golden.address import Region
from golden.csr_map import REGISTERS
from golden.metadata import Outcome, SlotKind
from golden.policy import Policy, Priority, ScoreSource

__all__ = [
    "NAMES", "COUNTERS", "address", "pack", "unpack", "reset_value", "reset_regions", "policy_addresses", "apply",
    "legal", "counted",
]  # fmt: skip

#: every register; those of regions that a configuration does not have answer with SLVERR
NAMES = tuple(REGISTERS)

_NAME_OF = {address: name for name, (address, _) in REGISTERS.items()}
_BASE_LO_BITS = 32
_POLICY_NAMES = ("POLICY", "ALPHA", "LAMBDA", "LEAP_CAP")
_REGION_NAMES = ("BASE_LO", "BASE_HI", "HEADS", "FIRST_HEAD", "CTRL")

#: counter -> (slot kinds, outcomes, whether only touches count); a commit may count in several
COUNTERS = {
    "HITS": ((SlotKind.READ, SlotKind.WRITE), (Outcome.HIT,), True),
    "MISSES": ((SlotKind.READ, SlotKind.WRITE), (Outcome.MISS,), True),
    "FIRST_WRITES": ((SlotKind.WRITE,), (Outcome.FIRST_WRITE,), True),
    "READS": ((SlotKind.READ,), (Outcome.HIT, Outcome.MISS, Outcome.ZEROS), False),
    "WRITES": ((SlotKind.WRITE,), (Outcome.HIT, Outcome.MISS, Outcome.FIRST_WRITE), False),
    "ZEROS": ((SlotKind.READ,), (Outcome.ZEROS,), False),
    "NXM": ((SlotKind.ANSWER,), (Outcome.NXM,), False),
    "COMPLETED": ((SlotKind.ANSWER,), (Outcome.COMPLETED,), False),
    "DROPPED": ((SlotKind.ANSWER,), (Outcome.DROPPED,), False),
    "CACHEABLE": ((SlotKind.ANSWER,), (Outcome.CACHEABLE,), False),
    "ILLEGAL": ((SlotKind.ANSWER,), (Outcome.ILLEGAL,), False),
    "CONFLICTS": ((SlotKind.ANSWER,), (Outcome.CONFLICT,), False),
    "WINDOW": ((SlotKind.ANSWER,), (Outcome.WINDOW,), False),
    "UNWRITABLE": ((SlotKind.ANSWER,), (Outcome.UNWRITABLE,), False),
    "HINTS": ((SlotKind.ANSWER,), (Outcome.HINT_DONE,), False),
    "HINTS_STALE": ((SlotKind.ANSWER,), (Outcome.HINT_STALE,), False),
    "HINTS_MALFORMED": ((SlotKind.ANSWER,), (Outcome.HINT_MALFORMED,), False),
    "HINTS_EXHAUSTED": ((SlotKind.ANSWER,), (Outcome.HINT_EXHAUSTED,), False),
    "HINTED_BLOCKS": ((SlotKind.HINT,), (Outcome.DONE,), False),
    "HINTED_AGAIN": ((SlotKind.HINT,), (Outcome.IGNORED,), False),
    "PROMOTIONS": ((SlotKind.PROMOTE,), (Outcome.DONE,), False),
    "ALLOCATIONS": ((SlotKind.ALLOCATE,), (Outcome.DONE,), False),
    "DEMOTIONS": ((SlotKind.DEMOTE,), (Outcome.DONE,), False),
    "EVICTIONS": ((SlotKind.EVICT,), (Outcome.DONE,), False),
    "RESTORES": ((SlotKind.RESTORE,), (Outcome.DONE,), False),
    "BYPASS_READS": ((SlotKind.BYPASS_READ,), (Outcome.DONE,), False),
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


def reset_regions(config):
    """The regions after reset: the first holds every head, from address 0; the others are off."""
    whole = Region(base=0, heads=config.heads, first_head=0, enabled=True)
    return (whole, *(Region(base=0, heads=0, first_head=0, enabled=False) for _ in range(config.regions - 1)))


def policy_addresses(config):
    """Byte addresses of the policy and region registers that a configuration has, those that `apply` takes."""
    regions = (f"REGION[{number}].{name}" for number in range(config.regions) for name in _REGION_NAMES)
    return frozenset(map(address, (*_POLICY_NAMES, *regions)))


def _apply_region(region, register, value):
    if register == "BASE_LO":
        return replace(region, base=region.base >> _BASE_LO_BITS << _BASE_LO_BITS | value)
    if register == "BASE_HI":
        return replace(region, base=value << _BASE_LO_BITS | region.base & (1 << _BASE_LO_BITS) - 1)
    if register == "HEADS":
        return replace(region, heads=value)
    if register == "FIRST_HEAD":
        return replace(region, first_head=value)
    return replace(region, enabled=bool(value))


def apply(policy, regions, address, value):
    """`(policy, regions)` after a CSR_WRITE record. Raises ValueError for a register that is neither."""
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
    elif name is not None and name.startswith("REGION["):
        number, register = name.removeprefix("REGION[").split("].")
        regions = list(regions)
        regions[int(number)] = _apply_region(regions[int(number)], register, value)
        regions = tuple(regions)
    else:
        raise ValueError(f"CSR address {address:#x} must be one of a policy or region register")
    return policy, regions


def _legal_regions(config, regions):
    """Whether enabled regions stay within the endpoint's heads and share none."""
    taken = set()
    for region in regions:
        if region.heads > config.heads or region.first_head >= config.heads:
            return False
        if region.enabled:
            heads = set(range(region.first_head, region.first_head + region.heads))
            if not heads or max(heads) >= config.heads or heads & taken:
                return False
            taken |= heads
    return True


def legal(config, regions, address, value):
    """Whether a write of `value` to a policy or region register is one that the endpoint accepts."""
    name = _NAME_OF[address]
    fields = unpack(name, value)
    if pack(name, **fields) != value:
        return False
    if name == "POLICY":
        return fields["PRIORITY"] in set(Priority) and fields["SCORE"] in set(ScoreSource)
    if name.startswith("REGION[") and not name.endswith(".CTRL"):
        # Between the writes that move it a region would be at a place where nobody wants it.
        if regions[int(name[len("REGION[") : name.index("]")])].enabled:
            return False
    _, regions = apply(Policy(), regions, address, value)
    return _legal_regions(config, regions)


def counted(kind, outcome, touch):
    """Names of the counters that a committed slot adds to."""
    return [
        name
        for name, (kinds, outcomes, touches_only) in COUNTERS.items()
        if kind in kinds and outcome in outcomes and (touch or not touches_only)
    ]
