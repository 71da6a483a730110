"""What hosts may hold, by the messages alone: a book beside the snoop filter, which must never know less.

Lines leave the book as a host says so: MemClnEvct, MemInv Meta0 I, a MemWr that keeps nothing, BIRsp. The rules are
numbered as in hw/README.md.
"""

from kv_endpoint.golden.common.line_access import Access, Grant, LineState
from kv_endpoint.golden.common.mismatch import Mismatch

__all__ = ["HostCopies"]

#: afterwards the host holds nothing
_ENDS = {Access.FLUSH, Access.FORGET, Access.WRITE_THROUGH, Access.WRITE_BACK}


class HostCopies:
    """`state(host, sector, line)`: A, S or I. The filter may say more, never less."""

    def __init__(self, config):
        self._hosts = range(config.hosts)
        #: sector -> {(host, line): state}
        self._sectors = {}

    def state(self, host, sector, line):
        return self._sectors.get(sector, {}).get((host, line), LineState.I)

    def completed(self, access, host, sector, line, grant, snooped):
        """An access takes effect. `snooped`: a snoop of the line is outstanding, so that nobody may be granted it."""
        if snooped and not access.is_write:
            raise Mismatch("P1", "no grant of a line whose snoop is not answered", access.name)
        if access.caches:
            granted = LineState.S if grant == Grant.CMP_S else LineState.A
            for other in self._hosts:
                held = self.state(other, sector, line) if other != host else LineState.I
                if held == LineState.A or (held == LineState.S and granted == LineState.A):
                    raise Mismatch("grant", f"none that meets {held.name} of host {other}", granted.name)
            self._sectors.setdefault(sector, {})[host, line] = granted
        elif access in _ENDS:
            self._drop(sector, host, line)

    def answered(self, snoop, answered):
        """A BIRsp takes effect."""
        for line, said in answered.items():
            if said == LineState.I:
                self._drop(snoop.sector, snoop.host, line)
            elif said == LineState.S and self.state(snoop.host, snoop.sector, line) == LineState.A:
                self._sectors[snoop.sector][snoop.host, line] = LineState.S

    def check(self, snoop_filter, sector):
        """The filter includes what the book has of a sector."""
        for (host, line), held in self._sectors.get(sector, {}).items():
            known = snoop_filter.state(host, sector, line)
            if known == LineState.I or (held == LineState.A and not known.owned):
                raise Mismatch("P5", f"the filter to know {held.name} of host {host}, line {line}", known.name)

    def _drop(self, sector, host, line):
        lines = self._sectors.get(sector, {})
        lines.pop((host, line), None)
        if not lines:
            self._sectors.pop(sector, None)
