"""What a coherent run has come to, by the records: snoops by their cause, recalls, write-backs that met one."""

from collections import Counter

from kv_endpoint.golden.coherency.filter import set_of
from kv_endpoint.golden.common.config import LINES_PER_BLOCK, SECTOR_LINES
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK, Access, SnoopKind
from kv_endpoint.golden.events.port import EngineKind, Lane
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind

__all__ = ["CoherencyCounts"]

_HELD = frozenset(outcome for outcome in Outcome if outcome.held)
_WRITE_BACKS = {Access.WRITE_BACK, Access.WRITE_KEEP}


class CoherencyCounts:
    """Counts by `record(lane, fields)`, each record in order.

    Attributes
    ----------
    counts : Counter
        `victims`: BISnp that nobody but the filter itself can have wanted (with two hosts a lower bound: one is not
        counted whose sector the other host asked for meanwhile). `recalls`: blocks that were begun to be taken back;
        `write_backs_in_recall`: of lines of such a block, before it left. `held`: requests that were held. `scrubs`.
    """

    def __init__(self, config):
        self._config = config
        self.counts = Counter()
        #: sectors, or sets, whose next BISnp has a known cause
        self._asked, self._recalled, self._scrubbed = set(), set(), set()
        #: (head, block) that is being taken back -> its lines that were snooped
        self._recalls = {}
        self._partial = 0

    def record(self, lane, fields):
        if lane == Lane.SLOT:
            self._slot(fields)
        else:
            self._note(fields)

    @property
    def partial_recalls(self):
        """Blocks taken back of which hosts held some lines, but not all."""
        return self._partial + sum(map(self._is_partial, self._recalls.values()))

    def report(self):
        """All counts as a dict."""
        return dict(self.counts) | {"partial_recalls": self.partial_recalls}

    def _is_partial(self, lines):
        return 0 < lines < LINES_PER_BLOCK

    def _sector(self, fields, local):
        return (fields["head"] * self._config.blocks_per_head + fields["block"]) * SECTORS_PER_BLOCK + local

    def _slot(self, fields):
        where = fields["head"], fields["block"]
        if fields["outcome"] in _HELD:
            self.counts["held"] += 1
            self._asked.add((1 - fields["host"], self._sector(fields, fields["line"] // SECTOR_LINES)))
        if fields["kind"] == SlotKind.DEMOTE and where in self._recalls:
            self._partial += self._is_partial(self._recalls.pop(where))
        if where in self._recalls and fields["access"] in _WRITE_BACKS and fields["outcome"] == Outcome.HIT:
            self.counts["write_backs_in_recall"] += 1

    def _note(self, fields):
        kind, where = fields["kind"], (fields["head"], fields["block"])
        if kind == EngineKind.BI_RECALL:
            self._recalled.add(self._sector(fields, fields["key"]))
            self.counts["recalls"] += where not in self._recalls
            self._recalls.setdefault(where, 0)
        elif kind == EngineKind.BI_SCRUB:
            self._scrubbed.add(fields["key"])
            self.counts["scrubs"] += 1
        elif kind == EngineKind.BI_SNOOP:
            self._snoop(fields, where)

    def _snoop(self, fields, where):
        sector, host = self._sector(fields, fields["key"]), fields["aux"] >> 20
        number = set_of(self._config, sector)
        if sector in self._recalled:
            self._recalled.discard(sector)
            self._recalls[where] = self._recalls.get(where, 0) + (fields["aux"] >> 12 & 0xF).bit_count()
        elif (host, sector) in self._asked:
            self._asked.discard((host, sector))
        elif number in self._scrubbed:
            self._scrubbed.discard(number)
        elif fields["aux"] >> 16 & 3 == SnoopKind.INV:
            self.counts["victims"] += 1
