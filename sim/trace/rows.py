"""The messages of a run as rows that people read: each with the states of its lines before and after it.

The states are those of the golden snoop filter, which follows the run's records on the way. A request's states are
those before its first slot and after its last one, so those of its messages, however long it was held.
"""

import csv
from collections import defaultdict, deque
from dataclasses import asdict, dataclass, fields

from kv_endpoint.golden.common.config import LINE_BYTES, SECTOR_LINES
from kv_endpoint.golden.common.line_access import LineState
from kv_endpoint.golden.common.messages import BIRspOpcode, BISnpOpcode, DRSOpcode, NDROpcode, ReqOpcode, RwDOpcode
from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.events.port import EngineKind, Lane
from kv_endpoint.golden.follow.follower import Follower
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.tb.checks.recorded import read_events

__all__ = ["Filter", "Row", "rows", "write_csv"]

_OPCODES = {
    "req": ReqOpcode, "rwd": RwDOpcode, "ndr": NDROpcode, "drs": DRSOpcode, "bisnp": BISnpOpcode, "birsp": BIRspOpcode,
}  # fmt: skip
_NAMES = {"req": "Req", "rwd": "RwD", "ndr": "NDR", "drs": "DRS", "bisnp": "BISnp", "birsp": "BIRsp"}
#: slots of a message, and what does not end it
_TAGGED = {
    SlotKind.READ, SlotKind.WRITE, SlotKind.REPLAY_READ, SlotKind.REPLAY_WRITE, SlotKind.BYPASS_READ, SlotKind.ANSWER,
    SlotKind.RELEASE,
}  # fmt: skip
_GOES_ON = {Outcome.MISS, Outcome.FIRST_WRITE, *(outcome for outcome in Outcome if outcome.held)}
_LETTERS = {LineState.I: "I", LineState.A: "A", LineState.S: "S", LineState.STALE: "T"}
_LINES_SHIFT, _HOST_SHIFT = 12, 20
_BI_TAG_MASK = 0xFFF


@dataclass(frozen=True)
class Row:
    """A message. `address` is a byte address; of a snoop of several lines that of its sector.

    `before`, `after`: a letter for each line of the sector, a dot for one that the message does not concern: I, S, A,
    or T for a stale copy (`golden.common.line_access.LineState`). Empty where the snoop filter is not asked. `about`:
    what came of a request, slot by slot.
    """

    clock: int
    channel: str
    opcode: str
    host: int
    address: int | None = None
    head: int | None = None
    block: int | None = None
    line: int | None = None
    lines: int = 0
    tag: int | None = None
    bi_tag: int | None = None
    before: str = ""
    after: str = ""
    about: str = ""


@dataclass
class _Request:
    """What the records say of a message; `states`: those before and after."""

    head: int = 0
    block: int = 0
    line: int = 0
    states: tuple = ("", "")
    outcomes: tuple = ()

    @property
    def about(self):
        return ", ".join(outcome.name.lower() for outcome in self.outcomes)


@dataclass
class _Snooped:
    """What the records say of a BISnp, or of answered lines of one."""

    head: int
    block: int
    sector: int
    lines: int
    states: tuple


class _Records:
    """Follows the records with a golden endpoint; `mismatch` is the first difference, where following ends.

    `requests` by (rwd, tag), `snoops` and `answers` by BITag: queues in the order of the messages.
    """

    def __init__(self, config):
        self._endpoint = Follower(config)
        self._open = {}
        self.requests, self.snoops, self.answers = (defaultdict(deque) for _ in range(3))
        self.mismatch = None

    def follow(self, records):
        try:
            for lane, fields in records:
                if lane == Lane.SLOT:
                    self._slot(fields)
                else:
                    self._note(fields)
        except Mismatch as mismatch:
            self.mismatch = str(mismatch)

    def _letters(self, host, head, block, line, lines):
        coherent = self._endpoint.coherent
        sector = coherent.sector(head, block, line)
        return "".join(
            _LETTERS[coherent.filter.state(host, sector, i)] if lines >> i & 1 else "." for i in range(SECTOR_LINES)
        )

    def _slot(self, fields):
        place = fields["host"], fields["head"], fields["block"], fields["line"], 1 << fields["line"] % SECTOR_LINES
        filtered = bool(fields["access"])
        before = self._letters(*place) if filtered else ""
        self._endpoint.check(Lane.SLOT, fields)
        if fields["kind"] not in _TAGGED:
            return
        after = self._letters(*place) if filtered else ""
        key = bool(fields["rwd"]), fields["tag"]
        request = self._open.get(key)
        if request is None:
            request = self._open[key] = _Request(*place[1:4], (before, after))
            self.requests[key].append(request)
        outcome = Outcome(fields["outcome"])
        request.states = (request.states[0], after)
        request.outcomes += (outcome,)
        if outcome not in _GOES_ON:
            del self._open[key]

    def _note(self, fields):
        kind, aux = fields["kind"], fields["aux"]
        if kind not in (EngineKind.BI_SNOOP, EngineKind.BI_ANSWER):
            self._endpoint.check(Lane.ENGINE, fields)
            return
        tag, lines = aux & _BI_TAG_MASK, aux >> _LINES_SHIFT & (1 << SECTOR_LINES) - 1
        outstanding = self._endpoint.coherent.snoops.outstanding.get(tag)
        host = outstanding.snoop.host if outstanding else 0
        place = host, fields["head"], fields["block"], fields["key"] * SECTOR_LINES, lines
        before = self._letters(*place)
        self._endpoint.check(Lane.ENGINE, fields)
        snooped = _Snooped(fields["head"], fields["block"], fields["key"], lines, (before, self._letters(*place)))
        (self.snoops if kind == EngineKind.BI_SNOOP else self.answers)[tag].append(snooped)


def _name(channel, opcode):
    """An opcode by name, as the specification spells it where that is what its enumeration has."""
    known = _OPCODES[channel]
    return known(opcode).name if opcode in set(known) else f"opcode {opcode}"


class _Messages:
    """Makes rows of messages in the order of their clocks."""

    def __init__(self, records):
        self._records = records
        #: by tag: the request, and its Req or RwD, that responses and Acks are of
        self._asked, self._conflicts = {}, {}
        #: by BITag: the snoop's row, and the lines that are not answered yet
        self._snoops = {}

    def row(self, message):
        return getattr(self, f"_{message.channel}")(message)

    def _base(self, message, host):
        return {
            "clock": message.clock,
            "channel": _NAMES[message.channel],
            "opcode": _name(message.channel, message.fields["opcode"]),
            "host": host,
        }

    def _request(self, message):
        fields = message.fields
        found = self._records.requests.get((message.channel == "rwd", fields["tag"]))
        request = found.popleft() if found else None
        row = Row(
            **self._base(message, fields["ld_id"]),
            address=fields["address"] * LINE_BYTES,
            tag=fields["tag"],
            lines=1 << fields["address"] % SECTOR_LINES,
            **self._told(request),
        )
        is_conflict = message.channel == "rwd" and fields["opcode"] == RwDOpcode.BI_CONFLICT
        (self._conflicts if is_conflict else self._asked)[fields["tag"]] = row
        return row

    _req = _rwd = _request

    @staticmethod
    def _told(request):
        if request is None:
            return {}
        told = {"before": request.states[0], "after": request.states[1], "about": request.about}
        if request.states[0]:
            told |= {"head": request.head, "block": request.block, "line": request.line}
        return told

    def _response(self, message):
        fields = message.fields
        is_ack = message.channel == "ndr" and fields["opcode"] == NDROpcode.BI_CONFLICT_ACK
        asked = (self._conflicts if is_ack else self._asked).get(fields["tag"])
        base = self._base(message, fields["ld_id"]) | {"tag": fields["tag"]}
        if asked is None:
            return Row(**base)
        same = ("address", "head", "block", "line", "lines", "before", "after")
        return Row(
            **base, **{name: getattr(asked, name) for name in same}, about="poison" if fields.get("poison") else ""
        )

    _ndr = _drs = _response

    def _bisnp(self, message):
        fields = message.fields
        found = self._records.snoops.get(fields["bi_tag"])
        snooped = found.popleft() if found else None
        low = fields["address"] % SECTOR_LINES
        is_block = fields["opcode"] >= BISnpOpcode.CUR_BLK
        lines = sum(0b11 << 2 * half for half in range(2) if low >> half & 1) if is_block else 1 << low
        row = Row(
            **self._base(message, fields["bi_id"]),
            address=(fields["address"] - (low if is_block else 0)) * LINE_BYTES,
            bi_tag=fields["bi_tag"],
            lines=lines,
            **self._snooped(snooped, 0 if is_block else low),
        )
        self._snoops[fields["bi_tag"]] = row
        return row

    @staticmethod
    def _snooped(snooped, low):
        if snooped is None:
            return {}
        before, after = snooped.states
        line = snooped.sector * SECTOR_LINES + low
        return {"head": snooped.head, "block": snooped.block, "line": line, "before": before, "after": after}

    def _birsp(self, message):
        fields = message.fields
        base = self._base(message, fields["bi_id"]) | {"bi_tag": fields["bi_tag"]}
        snoop = self._snoops.get(fields["bi_tag"])
        if snoop is None:
            return Row(**base)
        is_block = fields["opcode"] >= BIRspOpcode.I_BLK
        single = snoop.lines & snoop.lines - 1 == 0
        lines = snoop.lines if is_block or single else 1 << fields["low_addr"]
        sector = snoop.address // LINE_BYTES // SECTOR_LINES * SECTOR_LINES
        address = snoop.address if is_block or single else (sector + fields["low_addr"]) * LINE_BYTES
        told = {}
        for answer in self._records.answers.get(fields["bi_tag"], ()):
            if answer.lines & lines:
                letters = ("".join(c if lines >> i & 1 else "." for i, c in enumerate(s)) for s in answer.states)
                before, after = letters
                told = {
                    "head": answer.head,
                    "block": answer.block,
                    "line": snoop.line,
                    "before": before,
                    "after": after,
                }
                answer.lines &= ~lines
                break
        queue = self._records.answers.get(fields["bi_tag"])
        while queue and not queue[0].lines:
            queue.popleft()
        return Row(**base, address=address, lines=lines, **told)


@dataclass(frozen=True)
class Filter:
    """Which rows are wanted: those of a line (a byte address in it), of a tag or a BITag, of a time. None: any."""

    address: int | None = None
    tag: int | None = None
    bi_tag: int | None = None
    first: int | None = None
    last: int | None = None

    def __call__(self, row):
        if self.address is not None:
            if row.address is None:
                return False
            line, sector = self.address // LINE_BYTES, row.address // LINE_BYTES // SECTOR_LINES
            if line // SECTOR_LINES != sector or not row.lines >> line % SECTOR_LINES & 1:
                return False
        if self.first is not None and row.clock < self.first or self.last is not None and row.clock > self.last:
            return False
        if self.tag is None and self.bi_tag is None:
            return True
        return (self.tag is not None and row.tag == self.tag) or (self.bi_tag is not None and row.bi_tag == self.bi_tag)


def rows(config, events, messages):
    """(rows of all messages, the first difference between records and golden model in words or None).

    `events` is the path of the records, `messages` what `tb.checks.recorded.read_trace` gives.
    """
    records = _Records(config)
    records.follow(read_events(events, config))
    made = _Messages(records)
    return [made.row(message) for message in messages if message.channel is not None], records.mismatch


def write_csv(path, made):
    """The rows as a table with one column a field; `lines` as a mask."""
    names = [field.name for field in fields(Row)]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(asdict(row) for row in made)
