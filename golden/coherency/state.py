"""Which lines hosts may hold, which snoops are outstanding, which requests are held: coherency as the records tell it.

What the filter does is written in `golden/coherency/filter.py`; here its verdicts take effect, in the order of the
records, and what must hold whatever it says is checked beside it.
"""

from kv_endpoint.golden.coherency.filter import SnoopFilter, set_of
from kv_endpoint.golden.coherency.held_requests import HeldRequests
from kv_endpoint.golden.coherency.host_copies import HostCopies
from kv_endpoint.golden.coherency.kept_blocks import KeptBlocks
from kv_endpoint.golden.coherency.snoops import SnoopTable
from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK
from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import EngineKind
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind

__all__ = ["FILTERED_KINDS", "HELD", "CoherentState"]

#: slots that ask the snoop filter
FILTERED_KINDS = frozenset(
    (SlotKind.READ, SlotKind.WRITE, SlotKind.REPLAY_READ, SlotKind.REPLAY_WRITE, SlotKind.RELEASE)
)
HELD = frozenset(outcome for outcome in Outcome if outcome.held)


class CoherentState:
    """State after reset, moved on by the endpoint.

    Parameters
    ----------
    config : Config
    modes : sequence of Mode, one a head
        Now: `golden.registers.state.Registers` changes it.

    Attributes
    ----------
    filter, snoops, held, kept : SnoopFilter, SnoopTable, HeldRequests, KeptBlocks
    """

    def __init__(self, config, modes):
        self._config = config
        self._modes = modes
        self.filter = SnoopFilter(config)
        self.snoops = SnoopTable(config)
        self.held = HeldRequests()
        self.kept = KeptBlocks(config)
        self._copies = HostCopies(config)

    @property
    def covered(self):
        """(head, block) of the blocks of which hosts may hold lines, or that are kept for held reads."""
        kept = self.kept.blocks
        return self.filter.covered.keys() | kept.keys() if kept else self.filter.covered

    def sector(self, head, block, line):
        """Number of the sector of a line."""
        return (head * self._config.blocks_per_head + block) * SECTORS_PER_BLOCK + line // SECTOR_LINES

    # Slots ------------------------------------------------------------------------------------------------------------

    def verdict(self, slot):
        """What the filter says of a slot whose access is not PLAIN."""
        return self.filter.access(
            slot.access,
            slot.host,
            self.sector(slot.head, slot.block, slot.line),
            slot.line % SECTOR_LINES,
            retry=slot.retry,
            lossy=self._modes[slot.head] == Mode.MXINT8,
            may_launch=self.snoops.has_place,
        )

    def commit(self, slot, result, verdict):
        """Such a slot commits: `result` is its `golden.pipeline.metadata.Commit`."""
        if slot.retry:
            self.held.returns(slot)
        sector, line = self.sector(slot.head, slot.block, slot.line), slot.line % SECTOR_LINES
        if result.filtered:
            if result.outcome not in HELD:
                snooped = self.snoops.is_open(sector, line)
                self._copies.completed(slot.access, slot.host, sector, line, result.grant, snooped)
            self._apply(set_of(self._config, sector), verdict, by_slot=True)
        if result.outcome in HELD:
            waits_for = None if verdict.waits_for is None else self.snoops.tag_of(verdict.waits_for)
            self.held.hold(slot, result.outcome, waits_for)
        if slot.kind in (SlotKind.READ, SlotKind.REPLAY_READ):
            where = slot.head, slot.block
            if result.outcome in HELD:
                self.kept.held(where, again=bool(slot.retry))
            elif slot.retry:
                self.kept.returns(where)
        self._copies.check(self.filter, sector)

    # Notes ------------------------------------------------------------------------------------------------------------

    def snoop(self, record):
        """BI_SNOOP."""
        self.snoops.sent(record)

    def answer(self, record):
        """BI_ANSWER."""
        tag, snoop, answered, ended = self.snoops.answered(record)
        verdict = self.filter.answer(snoop, answered)
        self._copies.answered(snoop, answered)
        self._apply(set_of(self._config, snoop.sector), verdict, by_slot=False)
        self._copies.check(self.filter, snoop.sector)
        if ended:
            self.held.freed(tag)

    def recall(self, record):
        """BI_RECALL."""
        if not 0 <= record["key"] < SECTORS_PER_BLOCK:
            raise Mismatch("key", f"0 to {SECTORS_PER_BLOCK - 1}", record["key"])
        sector = self.sector(record["head"], record["block"], record["key"] * SECTOR_LINES)
        verdict = self.filter.recall(sector, may_launch=self.snoops.has_place)
        self._launch_for(EngineKind.BI_RECALL, set_of(self._config, sector), verdict)

    def scrub(self, record):
        """BI_SCRUB."""
        number, everything = record["key"], record["aux"]
        if not 0 <= number < self._config.filter_sets:
            raise Mismatch("key", f"0 to {self._config.filter_sets - 1}", number)
        if everything > 1:
            raise Mismatch("aux", "0 or 1", everything)
        verdict = self.filter.scrub(number, everything=bool(everything), may_launch=self.snoops.has_place)
        self._launch_for(EngineKind.BI_SCRUB, number, verdict)

    def owed(self):
        """(head, block, what) of everything that has to come yet."""
        yield from self.snoops.owed()
        yield from self.held.owed()

    # Parts ------------------------------------------------------------------------------------------------------------

    def _launch_for(self, kind, number, verdict):
        """An operation whose note says that a snoop begins with it."""
        if not verdict.launched:
            raise Mismatch("kind", "one with which a snoop begins", kind.name)
        self._apply(number, verdict, by_slot=False)

    def _apply(self, number, verdict, *, by_slot):
        self.filter.apply(number, verdict)
        for snoop in verdict.launched:
            self.snoops.launch(snoop, by_slot=by_slot)
