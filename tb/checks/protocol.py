"""The protocol monitor: the coherency rules that can be seen at the endpoint's ports, checked message by message.

The messages of `ProtocolError` name the rule (CXL 3.0 sections 3.3.3 and 3.5.1). P1: no grant of a line between its
BISnp and its answer. P4: one Ack a conflict, behind the earlier completions of its line. P6: BITags in flight are
unique. P7: a snoop's mask is legal. P8: the right responses a message. It knows messages only, no clocks.
"""

from collections import Counter, deque
from dataclasses import dataclass

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK, Access, Snoop, SnoopKind, answer_lines
from kv_endpoint.golden.common.messages import BISnpOpcode, DRSOpcode, NDROpcode, RwDOpcode
from kv_endpoint.golden.events.port import Lane
from kv_endpoint.golden.front.address import Target, decode
from kv_endpoint.golden.front.frontend import host_of
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.tb.checks.responses import Expected, ProtocolError

__all__ = ["ProtocolMonitor", "parse_bisnp"]

_BLOCK_FORMS = {
    BISnpOpcode.CUR_BLK: SnoopKind.CUR,
    BISnpOpcode.DATA_BLK: SnoopKind.DATA,
    BISnpOpcode.INV_BLK: SnoopKind.INV,
}
#: lines of a sector by Address[7:6] of a block BISnp; 0 is reserved
_HALVES = {1: 0b0011, 2: 0b1100, 3: 0b1111}
#: slots that complete a Req of a host
_REQ_SLOTS = {SlotKind.READ, SlotKind.RELEASE, SlotKind.REPLAY_READ}
_COMPLETING = {Outcome.HIT, Outcome.ZEROS, Outcome.DONE}


@dataclass
class _Message:
    """A Req or RwD from its transfer to its last response. `number`: in the order of transfers."""

    channel: str
    fields: dict
    number: int
    expected: Expected
    waits: set
    #: its slot is committed, so that its completion is on its way
    granted: bool = False


@dataclass
class _OpenSnoop:
    """A BISnp from its transfer to its last answer."""

    snoop: Snoop
    #: line address of line 0 of the sector
    base: int
    #: lines not answered
    open: int
    #: messages with higher numbers were transferred after it
    number: int


def parse_bisnp(fields):
    """(kind, lines of the sector (a mask), line address of the sector) of a BISnp; raises `ProtocolError`."""
    address, opcode = fields["address"], fields["opcode"]
    base, low = address & -SECTOR_LINES, address % SECTOR_LINES
    if opcode in _BLOCK_FORMS:
        if low not in _HALVES:
            raise ProtocolError(f"P7: block BISnp with BITag {fields['bi_tag']} has mask {low}")
        return _BLOCK_FORMS[opcode], _HALVES[low], base
    try:
        return SnoopKind(opcode), 1 << low, base
    except ValueError:
        raise ProtocolError(f"P7: BISnp with BITag {fields['bi_tag']} has opcode {opcode}") from None


class ProtocolMonitor:
    """Takes every message in the clock of its transfer and raises `ProtocolError` for the first that breaks a rule.

    `regions` are the golden `Region`s that the endpoint decodes with: assign to it when the CSRs change. Feed it with
    `take(channel, fields)` and, where records are there, `record(lane, fields)`, which sharpens P4. `finish()` at the
    end says what is still owed. `unwritable_allowed`: flash may be unwritable, so that requests may be refused.

    Attributes
    ----------
    counts : Counter
        Messages by channel and opcode, as in ("ndr", 2).
    most_snoops : int
        The most BISnp that were unanswered at once.
    """

    def __init__(self, config, *, regions, unwritable_allowed=False):
        self._config = config
        self.unwritable_allowed = unwritable_allowed
        self.regions = tuple(regions)
        self.counts = Counter()
        self.most_snoops = 0
        self._number = 0
        #: (LD-ID, tag) -> what is in flight; BIConflicts by the same, oldest first
        self._messages = {}
        self._conflicts = {}
        #: requests in flight by line
        self._of_line = {}
        self._snoops = {}
        #: the highest number of a message whose NDR has come: what NDRs follow were queued after its transfer
        self._newest = 0
        self._takes = {
            "req": self._req, "rwd": self._rwd, "ndr": self._ndr, "drs": self._drs, "bisnp": self._bisnp,
            "birsp": self._birsp,
        }  # fmt: skip

    def take(self, channel, fields):
        """A message has been transferred."""
        self.counts[channel, fields["opcode"]] += 1
        self._takes[channel](fields)

    def record(self, lane, fields):
        """A record has come: which Reqs have been granted."""
        if lane != Lane.SLOT or fields["access"] == Access.PLAIN or fields["kind"] not in _REQ_SLOTS:
            return
        place, sender = (fields["head"], fields["block"], fields["line"]), (fields["host"], fields["tag"])
        for message in self._of_line.get(place, ()):
            whose = host_of(self._config, message.fields), message.fields["tag"]
            if whose == sender and fields["outcome"] in _COMPLETING:
                message.granted = True

    def snoops_open(self):
        """BITags of the snoops that are not completely answered."""
        return tuple(self._snoops)

    def forget(self):
        """After a reset: nothing is in flight, and nothing may be answered."""
        self._messages.clear()
        self._conflicts.clear()
        self._of_line.clear()
        self._snoops.clear()

    def finish(self):
        """Raises `ProtocolError` if anything is still owed."""
        owed = [f"{m.channel} tag {m.fields['tag']}" for m in self._messages.values()]
        owed += [f"BIConflict tag {tag}" for (_, tag), numbers in self._conflicts.items() if numbers]
        owed += [f"BISnp BITag {tag}" for tag in self._snoops]
        if owed:
            raise ProtocolError(f"unanswered at the end: {', '.join(owed[:8])}")

    # M2S --------------------------------------------------------------------------------------------------------------

    def _issue(self, channel, fields):
        self._number += 1
        key = fields["ld_id"], fields["tag"]
        expected = Expected(self._config, self.regions, channel, fields)
        if not expected.channels:
            return
        if key in self._messages:
            raise ProtocolError(f"{channel}: tag {fields['tag']} of LD-ID {fields['ld_id']} is in flight already")
        message = _Message(channel, fields, self._number, expected, set(expected.channels))
        self._messages[key] = message
        if channel == "req" and expected.access != Access.PLAIN:
            self._of_line.setdefault(expected.place, []).append(message)

    def _req(self, fields):
        self._issue("req", fields)

    def _rwd(self, fields):
        if fields["opcode"] == RwDOpcode.BI_CONFLICT:
            self._number += 1
            key = fields["ld_id"], fields["tag"]
            self._conflicts.setdefault(key, deque()).append((self._number, fields["address"]))
        else:
            self._issue("rwd", fields)

    def _birsp(self, fields):
        opened = self._snoops.get(fields["bi_tag"])
        if opened is None or fields["bi_id"] != opened.snoop.host:
            return
        # What is not legal changes nothing: it is for the endpoint to count it.
        answered = answer_lines(opened.snoop, opened.open, fields["opcode"], fields["low_addr"])
        for line in answered or ():
            opened.open &= ~(1 << line)
        if not opened.open:
            del self._snoops[fields["bi_tag"]]

    # S2M --------------------------------------------------------------------------------------------------------------

    def _ndr(self, fields):
        key = fields["ld_id"], fields["tag"]
        if fields["opcode"] == NDROpcode.BI_CONFLICT_ACK:
            self._ack(key)
            return
        message = self._response("ndr", key)
        expected = message.expected.ndr_unwritable if self.unwritable_allowed else message.expected.ndr
        if fields["opcode"] not in expected:
            allowed = " or ".join(sorted(opcode.name for opcode in expected))
            raise ProtocolError(f"P8: ndr tag {key[1]}: opcode must be {allowed}, not {fields['opcode']}")
        self._completed(message)
        self._newest = max(self._newest, message.number)
        self._answered("ndr", key, message)

    def _drs(self, fields):
        key = fields["ld_id"], fields["tag"]
        message = self._response("drs", key)
        if fields["opcode"] == DRSOpcode.MEM_DATA_NXM:
            if self.unwritable_allowed and message.expected.may_be_nxm and "ndr" in message.waits:
                message.waits.discard("ndr")
            elif message.expected.channels != ("drs",):
                raise ProtocolError(f"P8: drs tag {key[1]}: MemData-NXM inside a region")
        elif message.expected.channels == ("drs",):
            raise ProtocolError(f"P8: drs tag {key[1]}: MemData outside every region")
        self._answered("drs", key, message)

    def _response(self, channel, key):
        message = self._messages.get(key)
        if message is None:
            raise ProtocolError(f"P8: {channel} with tag {key[1]} for LD-ID {key[0]}, which is not in flight")
        if channel not in message.waits:
            raise ProtocolError(f"P8: {channel} with tag {key[1]}, which waits for {' and '.join(message.waits)}")
        return message

    def _answered(self, channel, key, message):
        message.waits.discard(channel)
        if not message.waits:
            del self._messages[key]
            self._leave_line(message)

    def _leave_line(self, message):
        queue = self._of_line.get(message.expected.place)
        if queue is not None and message in queue:
            queue.remove(message)
            if not queue:
                del self._of_line[message.expected.place]

    def _completed(self, message):
        """P1: no Req of a line under a snoop is completed, unless that had been queued before the BISnp left."""
        if message.channel != "req" or message.expected.access == Access.PLAIN:
            return
        base, low = message.fields["address"] & -SECTOR_LINES, message.fields["address"] % SECTOR_LINES
        for tag, opened in self._snoops.items():
            if opened.base != base or not opened.open >> low & 1:
                continue
            if message.number > opened.number or self._newest > opened.number:
                raise ProtocolError(
                    f"P1: ndr tag {message.fields['tag']} completes a Req of line {message.fields['address']:#x} "
                    f"while BISnp BITag {tag} of it is unanswered; the completion was not queued before it"
                )
        # Its line is complete as far as Acks are concerned, wherever its data is.
        self._leave_line(message)

    def _ack(self, key):
        conflicts = self._conflicts.get(key)
        if not conflicts:
            raise ProtocolError(f"P4: BI-ConflictAck with tag {key[1]} for LD-ID {key[0]}, which no BIConflict awaits")
        number, address = conflicts.popleft()
        if not conflicts:
            del self._conflicts[key]
        place = decode(self._config, self.regions, address, key[0] if self._config.hosts > 1 else 0)
        where = place.head, place.block, place.line
        overtaken = [m for m in self._of_line.get(where, ()) if m.granted] if place.target == Target.BLOCK else []
        if overtaken and self._is_snooped(address):
            raise ProtocolError(
                f"P4: BI-ConflictAck tag {key[1]} before the completion of tag {overtaken[0].fields['tag']} of line "
                f"{address:#x}, which was granted before"
            )
        self._newest = max(self._newest, number)

    def _is_snooped(self, address):
        base, low = address & -SECTOR_LINES, address % SECTOR_LINES
        return any(opened.base == base and opened.open >> low & 1 for opened in self._snoops.values())

    def _bisnp(self, fields):
        kind, lines, base = parse_bisnp(fields)
        tag, host = fields["bi_tag"], fields["bi_id"]
        if tag in self._snoops:
            raise ProtocolError(f"P6: BISnp with BITag {tag}, which is in flight already")
        if tag >= self._config.snoops:
            raise ProtocolError(f"P6: BISnp with BITag {tag}: must be below {self._config.snoops}")
        place = decode(self._config, self.regions, base, host) if host < self._config.hosts else None
        if place is None or place.target != Target.BLOCK or not place.region.cached:
            raise ProtocolError(f"P7: BISnp BITag {tag} of line {base:#x}, which BI-ID {host} cannot cache")
        sector = (place.head * self._config.blocks_per_head + place.block) * SECTORS_PER_BLOCK
        sector += place.line // SECTOR_LINES
        for other in self._snoops.values():
            if other.base == base:
                raise ProtocolError(f"P6: BISnp BITag {tag} of line {base:#x}, of which another is unanswered")
        self._snoops[tag] = _OpenSnoop(Snoop(kind, host, sector, lines), base, lines, self._number)
        self.most_snoops = max(self.most_snoops, len(self._snoops))
