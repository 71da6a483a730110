"""What happens in a trace that the solver found, message by message."""

import re

from kv_endpoint.golden.common.messages import FIELDS, BIRspOpcode, BISnpOpcode, NDROpcode, ReqOpcode, RwDOpcode
from kv_endpoint.golden.events.port import EngineKind
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind

__all__ = ["EVENTS", "events_in", "fields_of", "table"]

_OPCODES = {"req": ReqOpcode, "rwd": RwDOpcode, "ndr": NDROpcode, "bisnp": BISnpOpcode, "birsp": BIRspOpcode}
_COLUMNS = ("clock", "channel", "opcode", "address", "tag", "about")
#: channel -> ((field, bits), ...) of signal `event_...` above its lowest bit, which says that it happens in this clock
EVENTS = {
    **{name: tuple(field for field in FIELDS[name] if field[0] not in ("data", "be")) for name in _OPCODES},
    "slot": (("kind", 5), ("outcome", 5), ("tag", 16), ("rwd", 1)),
    "note": (("kind", 6),),
}


def fields_of(payload, channel):
    """The members of a payload that an event keeps, in their order."""
    return [payload[name] for name, _ in EVENTS[channel]]


def _values(text):
    """(clock, {name: value}) of the signals `event_...` of the top in a VCD of yosys-smtbmc, clock by clock.

    The VCD ends with a clock in which nothing is said.
    """
    depth, names = 0, {}
    head, _, body = text.partition("$enddefinitions $end")
    for line in head.splitlines():
        words = line.split()
        if words[:1] == ["$scope"]:
            depth += 1
        elif words[:1] == ["$upscope"]:
            depth -= 1
        elif words[:1] == ["$var"] and depth == 1 and words[4].startswith("event_"):
            names[words[3]] = words[4].removeprefix("event_")
    step, values = "t", {}
    names[step] = step
    for line in body.splitlines():
        found = re.fullmatch(r"b([01]+) (\S+)", line)
        if found and found[2] in names:
            if found[2] == step and values:
                yield values.pop(step), values
                values = dict(values)
            values[names[found[2]]] = int(found[1], 2)


def _fields(channel, value):
    value >>= 1
    for name, bits in EVENTS[channel]:
        yield name, value & (1 << bits) - 1
        value >>= bits


def events_in(text):
    """[(clock, channel, {field: value}), ...] of a VCD, in the order of clocks."""
    return [
        (clock, channel, dict(_fields(channel, values[channel])))
        for clock, values in _values(text)
        for channel in EVENTS
        if values.get(channel, 0) & 1
    ]


def _cells(clock, channel, fields):
    tag, address, about = fields.get("tag", ""), "", ""
    if channel == "slot":
        opcode, about = SlotKind(fields["kind"]).name, Outcome(fields["outcome"]).name
    elif channel == "note":
        opcode = EngineKind(fields["kind"]).name
    else:
        opcode = _OPCODES[channel](fields["opcode"]).name
        address = f"{fields['address'] << 6:#x}" if "address" in fields else ""
    if "bi_tag" in fields:
        tag = f"BI {fields['bi_tag']}"
    if channel == "birsp":
        about = f"LowAddr {fields['low_addr']}"
    if channel == "req":
        about = {2: "for ownership", 3: "for a copy"}[fields["meta_value"]]
    return str(clock), channel, opcode, address, str(tag), about


def table(events):
    """The lines of text of events, under a line of headings."""
    lines = [_COLUMNS, *(_cells(*event) for event in events)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
