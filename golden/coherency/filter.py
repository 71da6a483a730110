"""The snoop filter: which lines a host may hold, and what each access to a sector does.

Inclusive and set-associative; a sector is 256 B. Every change is one of five operations on the row of one set, and each
is a function of the row alone: `access` (a slot of the pipeline), `recall` and `scrub` (the device wants lines back),
`answer` (a BIRsp). `hw/coherency/filter/filter.py` does one `access` a clock, and one of the others beside it.
"""

from dataclasses import dataclass, field

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import Access, Grant, LineState, Retry, Snoop, SnoopKind, covering
from kv_endpoint.golden.pipeline.metadata import Outcome

__all__ = ["SnoopFilter", "Verdict", "Way", "Row", "set_of"]

_ALL_LINES = range(SECTOR_LINES)
#: what the other host must give up, while it holds the line in which states
_OTHER = {
    Access.READ_CURRENT: (SnoopKind.CUR, (LineState.A, LineState.STALE)),
    Access.READ_SHARED: (SnoopKind.DATA, (LineState.A, LineState.STALE)),
    Access.READ_DATA: (SnoopKind.DATA, (LineState.A, LineState.STALE)),
    Access.READ_INVALIDATE: (SnoopKind.INV, (LineState.A, LineState.STALE, LineState.S)),
    Access.READ_OWN: (SnoopKind.INV, (LineState.A, LineState.STALE, LineState.S)),
    Access.OWN: (SnoopKind.INV, (LineState.A, LineState.STALE, LineState.S)),
    Access.FLUSH: (SnoopKind.INV, (LineState.A, LineState.STALE, LineState.S)),
}


def set_of(config, sector):
    """Number of the set of a sector: its chunks of `filter_set_bits` bits, XORed; neighbours differ in bit 0."""
    number, bits = 0, config.filter_set_bits
    while sector:
        number ^= sector & (1 << bits) - 1
        sector >>= bits
    return number


@dataclass
class Way:
    """One sector. `states[host][line]`; `busy`: the lines of the snoop of this sector that is outstanding (a mask).

    A way is in use while a host holds one of its lines or a snoop of it is outstanding.
    """

    sector: int
    states: list
    busy: int = 0

    def lines(self, host, states=(LineState.STALE, LineState.A, LineState.S)):
        """The lines (a mask) that a host holds in one of `states`."""
        return sum(1 << line for line in _ALL_LINES if self.states[host][line] in states)

    @property
    def idle(self):
        """Nobody holds a line, and nobody is asked."""
        return not self.busy and not any(any(states) for states in self.states)


@dataclass
class Row:
    """One set. `next`: where the search for the next victim begins. `promised`: a held request waits for a way."""

    ways: list
    next: int = 0
    promised: bool = False

    def copy(self):
        ways = [way and Way(way.sector, [list(states) for states in way.states], way.busy) for way in self.ways]
        return Row(ways, self.next, self.promised)


@dataclass
class Verdict:
    """What comes of an operation, before it takes effect.

    `held`: None, or the outcome HELD_LINE, HELD_WAY, HELD_TABLE of a request that has to wait. `waits_for`: the sector
    whose outstanding snoop ends the waiting, None: any (HELD_TABLE), or none (HELD_WAY: the snoop that others wait for
    has ended, and it is tried again behind them). `owner`: a write-back comes from a host that owns the line. `grant`:
    how the request is completed. `launched`: the snoops that begin with it.
    """

    row: Row
    held: Outcome | None = None
    waits_for: int | None = None
    owner: bool = True
    grant: Grant = Grant.CMP
    launched: list = field(default_factory=list)


class SnoopFilter:
    """Rows by set. `access`, `recall`, `scrub` and `answer` say what would happen; `apply` makes it so.

    `may_launch` of the operations: the snoop table has a free place. At most one snoop begins with an operation.

    `covered`: (head, block) -> sectors of it in use; blocks with none are left out.
    """

    def __init__(self, config):
        self._config = config
        self._rows = [Row([None] * config.filter_ways) for _ in range(config.filter_sets)]
        self.covered = {}

    # Looking ----------------------------------------------------------------------------------------------------------

    def row(self, sector):
        return self._rows[set_of(self._config, sector)]

    def state(self, host, sector, line):
        """What a host may hold of a line."""
        way = self._find(self.row(sector), sector)
        return LineState.I if way is None else way.states[host][line]

    @property
    def sectors(self):
        """Sectors in use."""
        return sum(self.covered.values())

    # Operations -------------------------------------------------------------------------------------------------------

    def access(self, access, host, sector, line, *, retry=Retry.NO, lossy=False, may_launch=True):
        """A slot. For the writes only `owner` and `row` of the verdict mean something; no write is ever held.

        `lossy`: what memory gives for a line may differ from what was written.
        """
        row = self.row(sector).copy()
        if access == Access.PLAIN:
            return Verdict(row)
        if access.is_write:
            return self._write(row, access, host, sector, line, lossy)
        way = self._find(row, sector)
        if way is not None and way.busy >> line & 1:
            # Of a current read HELD_LINE says that the owner has been asked for it: this snoop may be of anyone else.
            held = Outcome.HELD_WAY if access == Access.READ_CURRENT else Outcome.HELD_LINE
            return Verdict(row, held, sector)
        verdict = self._ask_other(row, way, access, host, sector, line, retry, may_launch)
        if verdict is not None:
            return verdict
        others = [way.states[other][line] for other in range(self._config.hosts) if other != host] if way else []
        own = way.states[host][line] if way else LineState.I
        launched = []
        if access.caches and way is None:
            held = self._make_room(row, sector, retry, may_launch)
            if held is not None:
                return held
            number = row.ways.index(None)
            # Others that wait come before those that never did, until they are tried again.
            row.promised &= retry != Retry.WAITED
            way = row.ways[number] = Way(sector, [[LineState.I] * SECTOR_LINES for _ in range(self._config.hosts)])
            launched = self._free_a_way(row, number, may_launch)
        grant, state = _granted(access, own, others)
        if way is not None:
            way.states[host][line] = state
            self._drop_idle(row)
        return Verdict(row, grant=grant, launched=launched)

    def recall(self, sector, *, may_launch=True):
        """The device wants all lines of a sector back, from one host at a time. `launched` is empty if none begins."""
        row = self.row(sector).copy()
        way = self._find(row, sector)
        if way is None or way.busy or not may_launch:
            return Verdict(row)
        return Verdict(row, launched=[self._invalidate(way)])

    def scrub(self, number, *, everything=False, may_launch=True):
        """Invalidates the STALE lines, with `everything` all lines, of the first way of set `number` that has any."""
        row = self._rows[number].copy()
        states = (LineState.STALE, LineState.A, LineState.S) if everything else (LineState.STALE,)
        for way in row.ways:
            if way is not None and not way.busy and may_launch:
                for host in range(self._config.hosts):
                    lines = way.lines(host, states)
                    if lines:
                        return Verdict(row, launched=[self._snoop(way, SnoopKind.INV, host, lines)])
        return Verdict(row)

    def answer(self, snoop, answered):
        """A BIRsp: {line: state} of lines of an outstanding snoop. Nobody gains by an answer what he did not hold."""
        row = self.row(snoop.sector).copy()
        way = self._find(row, snoop.sector)
        for line, said in answered.items():
            held = way.states[snoop.host][line]
            if said == LineState.I or (said == LineState.S and held != LineState.I):
                way.states[snoop.host][line] = said
            way.busy &= ~(1 << line)
        self._drop_idle(row)
        return Verdict(row)

    def apply(self, number, verdict):
        """An operation on set `number` takes effect."""
        for way, sign in ((self._rows[number], -1), (verdict.row, 1)):
            for sector in (each.sector for each in way.ways if each is not None):
                where = self._config.split_sector(sector)[:2]
                count = self.covered.get(where, 0) + sign
                self.covered[where] = count
                if not count:
                    del self.covered[where]
        self._rows[number] = verdict.row

    # Parts ------------------------------------------------------------------------------------------------------------

    @staticmethod
    def _find(row, sector):
        return next((way for way in row.ways if way is not None and way.sector == sector), None)

    @staticmethod
    def _drop_idle(row):
        row.ways = [None if way is None or way.idle else way for way in row.ways]

    def _write(self, row, access, host, sector, line, lossy):
        way = self._find(row, sector)
        own = way.states[host][line] if way else LineState.I
        if access != Access.WRITE_THROUGH and not own.owned:
            return Verdict(row, owner=False)
        if way is not None:
            keeps = LineState.STALE if lossy else LineState.A
            way.states[host][line] = keeps if access == Access.WRITE_KEEP else LineState.I
            self._drop_idle(row)
        return Verdict(row)

    def _ask_other(self, row, way, access, host, sector, line, retry, may_launch):
        """The verdict of a request that needs a snoop of another host first, or None."""
        if way is None or access not in _OTHER or (access == Access.READ_CURRENT and retry == Retry.SNOOPED):
            return None
        kind, states = _OTHER[access]
        for other in range(self._config.hosts):
            if other == host or way.states[other][line] not in states:
                continue
            if way.busy:
                return Verdict(row, Outcome.HELD_WAY, sector)
            if not may_launch:
                return Verdict(row, Outcome.HELD_TABLE)
            # Lines that are read in order are asked for together; what is to be owned is taken line by line.
            lines = 1 << line if kind == SnoopKind.INV else way.lines(other, states)
            return Verdict(row, Outcome.HELD_LINE, sector, launched=[self._snoop(way, kind, other, lines)])
        return None

    def _make_room(self, row, sector, retry, may_launch):
        """The verdict of a request that finds no way for its sector, or None if there is one that it may take."""
        passed_over = row.promised and retry == Retry.NO
        if None in row.ways and not passed_over:
            return None
        row.promised = True
        busy = next((way for way in row.ways if way is not None and way.busy), None)
        if passed_over or busy is not None:
            return Verdict(row, Outcome.HELD_WAY, busy and busy.sector)
        if not may_launch:
            return Verdict(row, Outcome.HELD_TABLE)
        victim = self._victim(row, without=None)
        return Verdict(row, Outcome.HELD_WAY, victim.sector, launched=[self._invalidate(victim)])

    def _free_a_way(self, row, taken, may_launch):
        """Way `taken` has just been given out: if it was the last, another one is asked back ahead of its need."""
        if None in row.ways or any(way.busy for way in row.ways) or not may_launch:
            return []
        return [self._invalidate(self._victim(row, without=taken))]

    def _victim(self, row, without):
        """The way that is asked back next: in turns."""
        ways = self._config.filter_ways
        number = next(n % ways for n in range(row.next, row.next + ways) if n % ways != without)
        row.next = (number + 1) % ways
        return row.ways[number]

    def _invalidate(self, way):
        """The snoop that takes a way's lines from the first host that holds any."""
        host = next(host for host in range(self._config.hosts) if way.lines(host))
        return self._snoop(way, SnoopKind.INV, host, way.lines(host))

    @staticmethod
    def _snoop(way, kind, host, lines):
        way.busy = covering(lines)
        return Snoop(kind, host, way.sector, way.busy)


def _granted(access, own, others):
    """(grant, state of the host afterwards) of a request that may be granted."""
    if access in (Access.READ_OWN, Access.OWN):
        return Grant.CMP_E, LineState.A
    if access == Access.READ_SHARED:
        return Grant.CMP_S, LineState.S
    if access == Access.READ_DATA:
        if own.owned or (own == LineState.I and not any(others)):
            return Grant.CMP_E, LineState.A
        return Grant.CMP_S, LineState.S
    if access in (Access.FLUSH, Access.FORGET):
        return Grant.CMP, LineState.I
    return Grant.CMP, own
