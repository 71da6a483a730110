"""The snoop table: which BISnp are outstanding, under which BITag, and which of their lines are not answered yet."""

from dataclasses import dataclass

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import LineState, Snoop, answer_states, snoop_opcode
from kv_endpoint.golden.common.mismatch import Mismatch

__all__ = ["Outstanding", "SnoopTable", "snoop_aux", "answer_aux"]

#: fields of `aux` behind the BITag (`golden.events.port.EngineKind`)
_LINES_SHIFT = 12
_OPCODE_SHIFT = 16
_HOST_SHIFT = 20
_STATES_SHIFT = 16
_STATE_BITS = 2

_STATES = {int(state): state for state in LineState}


def snoop_aux(tag, snoop):
    """`aux` of a BI_SNOOP note."""
    opcode, _ = snoop_opcode(snoop)
    return tag | snoop.lines << _LINES_SHIFT | opcode << _OPCODE_SHIFT | snoop.host << _HOST_SHIFT


def answer_aux(tag, answered):
    """`aux` of a BI_ANSWER note: {line: state} of the lines answered."""
    lines = sum(1 << line for line in answered)
    states = sum(state << _STATE_BITS * line for line, state in answered.items())
    return tag | lines << _LINES_SHIFT | states << _STATES_SHIFT


@dataclass(slots=True)
class Outstanding:
    """A snoop in its place of the table; `open`: its lines that are not answered yet (a mask)."""

    snoop: Snoop
    open: int
    sent: bool = False
    #: it was not answered in time, and that was reported
    late: bool = False


class SnoopTable:
    """Places of the table by number, which is the BITag.

    A place is taken when a snoop is launched, and free once all lines have been answered: a slot takes the lowest free
    one, an operation beside the slots the highest.
    """

    def __init__(self, config):
        self._config = config
        self._places = [None] * config.snoops
        self._free = config.snoops
        self._by_sector = {}

    @property
    def has_place(self):
        """A snoop can be launched."""
        return self._free > 0

    @property
    def outstanding(self):
        """{BITag: Outstanding} of the places that are taken."""
        return {tag: place for tag, place in enumerate(self._places) if place is not None}

    def tag_of(self, sector):
        """The BITag of the outstanding snoop of a sector, or None."""
        return self._by_sector.get(sector)

    def is_open(self, sector, line):
        """Whether a snoop that covers the line was launched and is not answered for it."""
        tag = self._by_sector.get(sector)
        return tag is not None and bool(self._places[tag].open >> line & 1)

    def launch(self, snoop, *, by_slot):
        """A snoop begins. Returns its BITag."""
        if snoop.sector in self._by_sector:
            raise Mismatch("P6", "one snoop of a sector at a time", f"a second one of sector {snoop.sector}")
        free = [tag for tag, place in enumerate(self._places) if place is None]
        tag = free[0] if by_slot else free[-1]
        self._places[tag] = Outstanding(snoop, snoop.lines)
        self._by_sector[snoop.sector] = tag
        self._free -= 1
        return tag

    def sent(self, record):
        """BI_SNOOP: a launched snoop leaves."""
        tag, place = self._of(record)
        if place.sent:
            raise Mismatch("aux", "a BITag that is not in use", tag)
        self._same_sector(record, place)
        if record["aux"] != snoop_aux(tag, place.snoop):
            raise Mismatch("aux", snoop_aux(tag, place.snoop), record["aux"])
        place.sent = True

    def answered(self, record):
        """BI_ANSWER: lines of a snoop are answered. Returns (BITag, snoop, {line: state}, whether it has ended)."""
        tag, place = self._of(record)
        if not place.sent:
            raise Mismatch("aux", "the BITag of a snoop that was sent", tag)
        self._same_sector(record, place)
        lines = record["aux"] >> _LINES_SHIFT & (1 << SECTOR_LINES) - 1
        if not lines or lines & ~place.open:
            raise Mismatch("aux", f"lines out of {place.open:#06b}, those not answered yet", f"{lines:#06b}")
        states, legal, answered = record["aux"] >> _STATES_SHIFT, answer_states(place.snoop.kind), {}
        for line in range(SECTOR_LINES):
            state = _STATES[states >> _STATE_BITS * line & (1 << _STATE_BITS) - 1]
            if lines >> line & 1:
                answered[line] = state
                if state not in legal:
                    wanted = " or ".join(each.name for each in sorted(legal))
                    raise Mismatch("aux", f"{wanted} of line {line}, asked by {place.snoop.kind.name}", state.name)
        if record["aux"] != answer_aux(tag, answered):
            raise Mismatch("aux", answer_aux(tag, answered), record["aux"])
        place.open &= ~lines
        if not place.open:
            self._places[tag] = None
            del self._by_sector[place.snoop.sector]
            self._free += 1
        return tag, place.snoop, answered, not place.open

    def timed_out(self, tag):
        """ERROR SNOOP_TIMEOUT: once for each snoop that was sent."""
        place = self._places[tag] if tag < len(self._places) else None
        if place is None or not place.sent or place.late:
            raise Mismatch("aux", "the BITag of a snoop that is not answered, and not reported before", tag)
        place.late = True

    def owed(self):
        """(head, block, what) of everything that has to come yet."""
        for tag, place in self.outstanding.items():
            head, block, _ = self._config.split_sector(place.snoop.sector)
            yield head, block, f"{'BI_ANSWER' if place.sent else 'BI_SNOOP'} of BITag {tag}"

    def _of(self, record):
        """(BITag, place) that a note tells of."""
        tag = record["aux"] & (1 << _LINES_SHIFT) - 1
        place = self._places[tag] if tag < len(self._places) else None
        if place is None:
            raise Mismatch("aux", "the BITag of a snoop that was launched", tag)
        return tag, place

    def _same_sector(self, record, place):
        head, block, sector = self._config.split_sector(place.snoop.sector)
        for name, expected in (("head", head), ("block", block), ("key", sector)):
            if record[name] != expected:
                raise Mismatch(name, expected, record[name])
