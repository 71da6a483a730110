"""What a regression of coherency has to have seen: groups of bins, and why the other combinations cannot be.

A bin is a tuple of names, one of each axis of its group. `sim/coverage/coverage.py` counts them.
"""

from dataclasses import dataclass
from itertools import product

from kv_endpoint.golden.common.line_access import (
    Access,
    Grant,
    LineState,
    Retry,
    SnoopKind,
    access_of_req,
    access_of_rwd,
    answer_states,
)
from kv_endpoint.golden.common.messages import BIRspOpcode, MetaField, MetaValue, ReqOpcode, RwDOpcode, SnpType
from kv_endpoint.golden.events.port import ErrorKind, RefusalKind

__all__ = ["ANY", "GROUPS", "NOTHING", "Group", "message_bin"]

#: of the state of the other host, where it does not matter
ANY = "any"
_HELD = ("HELD_LINE", "HELD_WAY", "HELD_TABLE")
_OWNED = ("A", "STALE")
_FORMS = ("single", "half", "all")


def _names(members):
    return tuple(member.name for member in members)


@dataclass(frozen=True)
class Group:
    """`axes`: {axis: names}. `rules`: (why, impossible) pairs, `impossible(bin)` with a name of each axis."""

    name: str
    meaning: str
    axes: dict
    rules: tuple = ()

    def why_not(self, *names):
        """Why a bin cannot be hit, or None."""
        return next((why for why, impossible in self.rules if impossible(*names)), None)

    @property
    def legal(self):
        """The bins that a regression has to hit."""
        return tuple(names for names in product(*self.axes.values()) if self.why_not(*names) is None)


# What a slot asks of the filter ---------------------------------------------------------------------------------------

_SHARED_READS = ("READ_SHARED", "READ_DATA")
_OWNERSHIP = ("READ_OWN", "OWN")
_WRITE_BACKS = ("WRITE_BACK", "WRITE_KEEP")
_WRITES = (*_WRITE_BACKS, "WRITE_THROUGH")
_CACHING = (*_SHARED_READS, *_OWNERSHIP)
_READS = ("READ_CURRENT", "READ_INVALIDATE", *_CACHING)
#: access -> states of the other host that have to end first
_GIVEN_UP = {
    "READ_CURRENT": _OWNED,
    **dict.fromkeys(_SHARED_READS, _OWNED),
    **dict.fromkeys(("READ_INVALIDATE", *_OWNERSHIP, "FLUSH"), (*_OWNED, "S")),
}


def _needs_snoop(access, other):
    return other in _GIVEN_UP.get(access, ())


def _data_grant(own, other):
    return "CMP_E" if own in _OWNED or (own, other) == ("I", "I") else "CMP_S"


_ACCESS_RULES = (
    (
        "whether a write-back is refused does not depend on the other host",
        lambda access, own, other, result: (result == "NOT_OWNER") != (other == ANY),
    ),
    (
        "a line has one owner, or readers",
        lambda access, own, other, result: (
            (own in _OWNED and other in ("S", *_OWNED)) or (other in _OWNED and own != "I")
        ),
    ),
    (
        "a region of a lossy mode has one host",
        lambda access, own, other, result: other == "STALE",
    ),
    (
        "only a write-back is refused, and only of a line that the host does not own",
        lambda access, own, other, result: (access in _WRITE_BACKS and own not in _OWNED) != (result == "NOT_OWNER"),
    ),
    (
        "a write of a line that the host does not own is refused where hosts share the region",
        lambda access, own, other, result: access == "WRITE_THROUGH" and other != "I",
    ),
    (
        "a write is never held",
        lambda access, own, other, result: access in _WRITES and result in _HELD,
    ),
    (
        "a host that may not hold the line afterwards is completed with Cmp",
        lambda access, own, other, result: access not in _CACHING and result in ("CMP_S", "CMP_E"),
    ),
    (
        "ownership is completed with Cmp-E, a shared read with Cmp-S",
        lambda access, own, other, result: (
            (access in _OWNERSHIP and result in ("CMP", "CMP_S"))
            or (access == "READ_SHARED" and result in ("CMP", "CMP_E"))
        ),
    ),
    (
        "MemRdData gives Cmp-E to an owner and where nobody holds the line, else Cmp-S",
        lambda access, own, other, result: (
            access == "READ_DATA" and not result.startswith("HELD") and result != _data_grant(own, other)
        ),
    ),
    (
        "the other host has to give the line up first",
        lambda access, own, other, result: (
            _needs_snoop(access, other) and not result.startswith("HELD") and access != "READ_CURRENT"
        ),
    ),
    (
        "a current read is held for its line by a snoop of its own alone",
        lambda access, own, other, result: (
            (access, result) == ("READ_CURRENT", "HELD_LINE") and not _needs_snoop(access, other)
        ),
    ),
    (
        "it needs neither a way of the filter nor a snoop",
        lambda access, own, other, result: (
            result in ("HELD_WAY", "HELD_TABLE")
            and (access, result) != ("READ_CURRENT", "HELD_WAY")
            and not _needs_snoop(access, other)
            and not (access in _CACHING and (own, other) == ("I", "I"))
        ),
    ),
)

# Messages -------------------------------------------------------------------------------------------------------------

#: of a message: it says nothing of a line that a host may cache, or is not for this kind of memory
NOTHING = "nothing"
_NOTHING = ("MEM_SPEC_RD", "MEM_RD_FWD", "MEM_WR_FWD", "BI_CONFLICT")
_CHANNELS = {"req": (ReqOpcode, access_of_req), "rwd": (RwDOpcode, access_of_rwd)}


def message_bin(channel, fields):
    """The bin of a Req or RwD in group `message`; None for an encoding that no table has."""
    opcodes, access_of = _CHANNELS[channel]
    what = fields["opcode"], fields["meta_field"], fields["meta_value"], fields["snp_type"]
    if what[0] not in set(opcodes):
        return None
    name, access = opcodes(what[0]).name, access_of(*what)
    if name in _NOTHING:
        return name, NOTHING
    return None if access is None else (name, access.name)


def _all_message_bins():
    for channel, (opcodes, _) in _CHANNELS.items():
        for opcode, field, value, snoop in product(opcodes, MetaField, MetaValue, SnpType):
            fields = {"opcode": opcode, "meta_field": field, "meta_value": value, "snp_type": snoop}
            yield message_bin(channel, fields)


_MESSAGE_BINS = frozenset(_all_message_bins()) - {None}
_OPCODES = tuple(dict.fromkeys(opcode.name for opcodes, _ in _CHANNELS.values() for opcode in opcodes))

# Snoops ---------------------------------------------------------------------------------------------------------------

_SNOOP_RULES = (
    ("only a request of another host leaves a copy", lambda cause, kind, form: cause != "REQUEST" and kind != "INV"),
    (
        "what is to be owned is taken line by line",
        lambda cause, kind, form: (cause, kind) == ("REQUEST", "INV") and form != "single",
    ),
)
#: a BIRsp says E where the host may hold the line in S or E
_ANSWERS = {kind.name: ["E" if state.owned else state.name for state in answer_states(kind)] for kind in SnoopKind}
_ANSWER_RULES = (
    ("one line has no block answer", lambda kind, form, way, state: form == "single" and way == "block"),
    ("such an answer is an error", lambda kind, form, way, state: state not in _ANSWERS[kind]),
)

# Messages that concern no block ---------------------------------------------------------------------------------------

_RWD_ONLY = ("CONFLICT", "HINT_DONE", "HINT_STALE", "HINT_MALFORMED", "HINT_EXHAUSTED", "SHARED_WRITE")
_REQ_ONLY = ("COMPLETED", "DROPPED", "CACHEABLE")
_ANSWERED = (*_REQ_ONLY, *_RWD_ONLY, "NXM", "ILLEGAL", "WINDOW", "UNWRITABLE")
_ANSWERED_RULES = (
    (
        "not an answer to a message of this channel",
        lambda outcome, channel: (
            (channel == "req" and outcome in _RWD_ONLY) or (channel == "rwd" and outcome in _REQ_ONLY)
        ),
    ),
)

# ----------------------------------------------------------------------------------------------------------------------

_ALL_GROUPS = (
    Group(
        "access",
        "what a slot asks of the snoop filter, what the filter knows of the line of both hosts, and what comes of it",
        {
            "access": _names(access for access in Access if access != Access.PLAIN),
            "own": _names(LineState),
            "other": (*_names(LineState), ANY),
            "result": (*_names(Grant), *_HELD, "NOT_OWNER"),
        },
        _ACCESS_RULES,
    ),
    Group(
        "found",
        "where the block of a line is that is asked for",
        {"access": (*_READS, *_WRITES), "block": ("resident", "absent", "away")},
        (
            (
                "a block of which a host owns a line does not leave",
                lambda access, block: access in _WRITE_BACKS and block == "away",
            ),
        ),
    ),
    Group(
        "retry",
        "a held request that is tried again, by what it was held for",
        {"retry": _names(retry for retry in Retry if retry), "result": ("done", *_HELD)},
    ),
    Group(
        "snoop",
        "BISnp: what it is for (a request of the other host, a way of the filter, a block that is to leave, stale "
        "lines, RECALL_ALL), what it asks, of how many lines",
        {"cause": ("REQUEST", "WAY", "RECALL", "STALE", "ALL"), "kind": _names(SnoopKind), "form": _FORMS},
        _SNOOP_RULES,
    ),
    Group(
        "answer",
        "BIRsp: to which BISnp, in block form or for a line, and what it says",
        {"kind": _names(SnoopKind), "form": _FORMS, "by": ("line", "block"), "state": _names(BIRspOpcode)[:3]},
        _ANSWER_RULES,
    ),
    Group("conflict", "BIConflict before or after the completion of its Req", {"kind": ("early", "late")}),
    Group(
        "message",
        "requests by opcode and what they ask",
        {"opcode": _OPCODES, "access": (*_names(Access), NOTHING)},
        (("not in the tables of requests", lambda *names: names not in _MESSAGE_BINS),),
    ),
    Group(
        "answered",
        "messages that concern no block, and those that are refused",
        {"outcome": _ANSWERED, "channel": tuple(_CHANNELS)},
        _ANSWERED_RULES,
    ),
    Group("poison", "lines known to be bad, in and out", {"channel": ("rwd", "drs")}),
    Group("refusal", "refused register writes and commands", {"kind": _names(RefusalKind)}),
    Group("error", "sticky errors", {"kind": _names(ErrorKind)}),
)
#: by name
GROUPS = {group.name: group for group in _ALL_GROUPS}
