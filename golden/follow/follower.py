"""The golden endpoint: follows the records of an endpoint and recomputes every decision from its own state.

What comes from outside (requests, completions, register writes) is taken from the records; what the endpoint decides
(outcome, EMA, flags, victim, frame, bypass) is worked out here and compared, and what one record promises another
(`MISS` a replay, `VICTIM` a DEMOTE, `PROMOTE` a page read) is kept as owed. Which record may come when is written in
`golden/follow/slot_rules.py` and `golden/follow/note_rules.py`. `golden/endpoint.py` makes the same records without
hardware.
"""

from collections import Counter
from functools import cache

from kv_endpoint.golden.coherency.state import FILTERED_KINDS, HELD, CoherentState
from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.events.port import SEQUENCE_BITS, EngineKind, Lane
from kv_endpoint.golden.follow.hint_line import HintLine
from kv_endpoint.golden.follow.note_rules import NoteRules
from kv_endpoint.golden.follow.slot_record import slot_of, slot_record
from kv_endpoint.golden.follow.slot_rules import SlotRules
from kv_endpoint.golden.frames.allocator import Allocator
from kv_endpoint.golden.frames.bypass import BypassSlots
from kv_endpoint.golden.frames.migration import Migration
from kv_endpoint.golden.frames.misses import Misses, Request
from kv_endpoint.golden.frames.page_tags import PageTags
from kv_endpoint.golden.pipeline.metadata import PLAIN_VERDICT, Entry, Outcome, SlotKind, commit
from kv_endpoint.golden.pipeline.phase import Phases
from kv_endpoint.golden.pipeline.score import key
from kv_endpoint.golden.pipeline.tracker import HeadCounters, track
from kv_endpoint.golden.prefetch.unit import Prefetcher
from kv_endpoint.golden.registers.state import Registers
from kv_endpoint.golden.victims.search import Domain, VictimSearch

__all__ = ["Follower"]

_NEVER_SEEN = Entry()
_SLOT_KINDS = {int(kind): kind for kind in SlotKind}
_NOTE_KINDS = {int(kind): kind for kind in EngineKind}
#: (write, caches) of the requests that may wait for a block
_REQUESTS = ((False, False), (False, True), (True, False))
_SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1


class Follower:
    """State of an endpoint after reset, moved on by one record at a time.

    Parameters
    ----------
    config : Config
    policy : Policy, optional
        The policy registers as they stand at the first record.
    pool_frames : int, optional
        The pool size registers likewise.

    Attributes
    ----------
    now : int
        The step counter.
    table : dict of (head, block) -> Entry
        The blocks that a slot has changed so far.
    registers, allocator, bypass_slots, misses, migration, hint_line, page_tags, prefetcher, phases, coherent
        The engines' parts of the state.
    counters : list of HeadCounters, one a head
    bypasses, victims, waived : int
        Blocks that were decided to be read past the pool, blocks told to leave, and of these the announced ones.
    leaving : (head, block) or None
        Of a VICTIM whose DEMOTE is the next slot.
    errors_owed : Counter of ErrorKind
        ERROR notes that have to come yet.
    """

    def __init__(self, config, *, policy=None, pool_frames=None):
        self.config = config
        self.registers = Registers(config, policy)
        self.now = 0
        self.table = {}
        self.allocator = Allocator(config, pool_frames, self.registers.modes, self.registers.cached)
        self._had_blocks = set()
        self.bypass_slots = BypassSlots(config)
        self.misses = Misses(config)
        self.migration = Migration(config)
        self.hint_line = HintLine(self)
        self.page_tags = PageTags(config)
        self.prefetcher = Prefetcher(config)
        self.phases = Phases(config)
        self.coherent = CoherentState(config, self.registers.modes)
        self._depth_overtaken = 0
        self.counters = [HeadCounters() for _ in range(config.heads)]
        self.bypasses = self.victims = self.waived = 0
        self.leaving = None
        self.errors_owed = Counter()
        self._search = VictimSearch(config)
        self._sequence = 0
        self._slot_rules = SlotRules(self)
        self._note_rules = NoteRules(self)
        self._set_prefetcher()

    @property
    def policy(self):
        """The policy registers now."""
        return self.registers.policy

    @property
    def occupied(self):
        """Heads that keep their mode: a block of theirs has been written, or they have a minimum quota."""
        return self._had_blocks.union(head for head, minimum in enumerate(self.allocator.minimum) if minimum)

    def region_of(self, head):
        """The enabled region that a head lies in, or None."""
        for region in self.registers.regions:
            if region.enabled and region.first_head <= head < region.first_head + region.heads:
                return region
        return None

    @property
    def page_write_tag(self):
        """The lowest tag of a page write."""
        return self.page_tags.first_write

    # The three entrances ----------------------------------------------------------------------------------------------

    def check(self, lane, record):
        """Compare the next record, a dict of its fields, and follow it. Raises `Mismatch` at the first difference.

        Records of both lanes come in the order of their sequence numbers. After a mismatch the state is of no use.
        """
        kinds = _SLOT_KINDS if lane == Lane.SLOT else _NOTE_KINDS
        kind = kinds.get(record["kind"])
        try:
            if record["sequence"] != self._sequence:
                raise Mismatch("sequence", self._sequence, record["sequence"])
            self._sequence = (self._sequence + 1) & _SEQUENCE_MASK
            if kind is None:
                raise Mismatch("kind", f"0 to {max(kinds)}", record["kind"])
            if record["head"] >= self.config.heads:
                raise Mismatch("head", f"0 to {self.config.heads - 1}", record["head"])
            if lane == Lane.SLOT:
                self._check_slot(kind, record)
            else:
                self.note(kind, record)
        except Mismatch as mismatch:
            raise mismatch.locate(
                step=self.now,
                head=record["head"],
                block=record["block"],
                sequence=record["sequence"],
                kind=f"kind {record['kind']}" if kind is None else kind.name,
            ) from None

    def slot(self, slot):
        """Commit a slot of our own making; the entry before it, and what `commit` says of it."""
        before, result, verdict = self._evaluate(slot)
        self._follow_slot(slot, before, result, verdict)
        return before, result

    def note(self, kind, record):
        """Follow an engine note, a dict of all its fields."""
        if kind == EngineKind.CSR_WRITE:
            self._depth_overtaken = max(self._depth_overtaken, self.policy.prefetch_depth)
        self._note_rules.follow(kind, record)
        if kind == EngineKind.CSR_WRITE:
            self._set_prefetcher()

    def finish(self):
        """After the last record of a drained endpoint: raises `Mismatch` for the first thing that is still owed."""
        owed = [*self.misses.owed(), *self.migration.owed(), *self.coherent.owed()]
        if self.leaving is not None:
            owed.append((*self.leaving, "DEMOTE"))
        owed.extend(self.hint_line.owed())
        owed.extend(self.prefetcher.owed())
        owed.extend((0, 0, f"PHASE {phase.name} of region {region}") for region, phase in self.phases.owed())
        owed.extend((0, 0, f"ERROR {kind.name}") for kind, count in self.errors_owed.items() if count)
        for head, block, what in owed:
            raise Mismatch("owed", what, "nothing").locate(
                step=self.now, head=head, block=block, sequence=self._sequence, kind="end of the records"
            )

    # Slots ------------------------------------------------------------------------------------------------------------

    def entry(self, head, block):
        """The metadata entry of a block."""
        return self.table.get((head, block), _NEVER_SEEN)

    def key_of(self, entry):
        """The eviction key of an entry now."""
        return key(self.config, self.policy.priority, entry.ema, entry.step, self.now, self.policy.lam)

    def slot_record(self, slot, before, result):
        """The record of a slot, less its sequence number; `before` and `result` as returned by `slot`."""
        return slot_record(slot, before, result, self.now)

    def _evaluate(self, slot):
        """(entry before the slot, what comes of it, what the snoop filter says)."""
        before = self.table.get((slot.head, slot.block), _NEVER_SEEN)
        verdict = PLAIN_VERDICT
        if slot.host >= self.config.hosts:
            raise Mismatch("host", f"0 to {self.config.hosts - 1}", slot.host)
        if slot.access and slot.kind in FILTERED_KINDS:
            verdict = self.coherent.verdict(slot)
        return before, commit(before, slot, self.now, self.policy, verdict), verdict

    def _check_slot(self, kind, record):
        slot = slot_of(kind, record)
        before, result, verdict = self._evaluate(slot)
        for name, expected in slot_record(slot, before, result, self.now).items():
            if record[name] != expected:
                raise Mismatch(name, expected, record[name])
        self._follow_slot(slot, before, result, verdict)

    def _follow_slot(self, slot, before, result, verdict):
        kind, head, after = slot.kind, slot.head, result.entry
        where = head, slot.block
        self._slot_rules.follow(slot, where, before, result)
        if kind == SlotKind.ANSWER:
            return
        if verdict is not PLAIN_VERDICT or slot.retry:
            self.coherent.commit(slot, result, verdict)
            if result.outcome in HELD:
                return
        if after is not before:
            self.table[where] = after
            self.allocator.observe(head, kind, before, after)
            self._search.observe(head, slot.block, after)
        track(self.counters[head], kind, result.outcome, result.touch, before.state, after.state, after.ema)
        if result.outcome == Outcome.FIRST_WRITE:
            self._had_blocks.add(head)
        if result.outcome in (Outcome.MISS, Outcome.FIRST_WRITE):
            self.misses.missed(
                where, Request(kind, slot.tag, slot.line, self.now, result.touch, slot.access, slot.host)
            )
        decode = False
        if kind in (SlotKind.READ, SlotKind.WRITE):
            regions = self.registers.regions
            self.phases.access(where, kind == SlotKind.WRITE, self.now, self.policy, regions)
            decode = self.phases.in_decode(head, regions)
        self.prefetcher.observe(slot, before, result, now=self.now, policy=self.policy, decode=decode)

    # Decisions --------------------------------------------------------------------------------------------------------

    def decide(self, where, write, caches=False):
        """What the missed block (head, block) gets next, for a write or for a read
        (`golden.frames.allocator.Decision`).

        `caches`: for a read after which the host may hold the line, which is never read past the pool.
        """
        head, block = where
        own_key = self.key_of(self.entry(head, block)) if self.policy.bypass and not write else None
        return self.allocator.decide(
            head,
            write=write,
            caches=caches,
            bypass_below=own_key,
            find=self._finder(head),
            demoting=bool(self.migration.demotions),
            unwritable=self.migration.unwritable,
        )

    def decisions(self, where, write=None):
        """What a missed block may get next: a decision for each kind of request that waits for it and needs one."""
        return [
            self.decide(where, *request)
            for request in _REQUESTS
            if write in (None, request[0]) and self.wants_frame(where, *request)
        ]

    def decide_prefetch(self, where):
        """What a miss opened by a prefetch gets next, while nobody waits for it."""
        head, block = where
        entry = self.entry(head, block)
        return self.allocator.decide_prefetch(
            head,
            own_key=self.key_of(entry) if entry.ema else None,
            find=self._finder(head),
            may_demote=self.migration.may_demote() and not self.migration.unwritable,
        )

    def covered_victim(self, head):
        """The block that would leave for a missed block of `head` if hosts gave up its lines, or None if none does
        so or another one leaves anyway.
        """
        covered, domain = self.coherent.covered, self.allocator.domain(head)
        if not covered or domain is None:
            return None
        victim = self._find(domain, head, barred=())
        return victim if victim is not None and (victim.head, victim.block) in covered else None

    def _finder(self, head):
        """A function from a domain to the victim in it, for a missed block of `head`; it searches once a domain."""
        return cache(lambda domain: self._find(domain, head, barred=self.coherent.covered))

    def _find(self, domain, head, *, barred):
        """The victim of a domain: none of the blocks `barred`, and none in migration."""
        return self._search.find(
            self.allocator.heads_of(domain, head),
            now=self.now,
            policy=self.policy,
            in_migration=(*self.misses.open, *self.migration.demotions, *barred),
            protect=self.policy.protect and domain != Domain.ANY,
        )

    def remembered(self, where):
        """The bypass slot that serves the reads waiting for a block without a new decision, or None.

        It was decided in this step, and none of the reads is a touch or lets the host hold the line. A miss opened by
        a prefetch has no such memory.
        """
        miss = self.misses.open.get(where)
        if miss is not None and miss.prefetch is not None:
            return None
        held = self.bypass_slots.holding(where)
        if held is None or not held.loaded or held.step != self.now:
            return None
        if any(
            request.write or request.caches or request.touch or request.step != self.now
            for request in self.misses.waiting[where]
        ):
            return None
        return held

    def wants_frame(self, where, write, caches=False):
        """Whether an open miss still needs a decision for its waiting writes, or for its reads, those that `caches`
        let the host hold the line or the others.
        """
        miss = self.misses.open[where]
        if miss.unchecked or miss.given_up or miss.frame is not None or not self.misses.waits(where, write, caches):
            return False
        return write or caches or (miss.bypass is None and self.remembered(where) is None)

    def wants_prefetch(self, where):
        """Whether a block's open miss needs a decision for its prefetch: nobody waits for it, and it has no frame."""
        miss = self.misses.open.get(where)
        if miss is None or miss.prefetch is None or miss.unchecked or miss.given_up:
            return False
        has_begun = miss.frame is not None or miss.bypass is not None or miss.served
        return not has_begun and where not in self.misses.waiting

    # Prefetches -------------------------------------------------------------------------------------------------------

    @property
    def prefetch_depth(self):
        """Misses and demotions that keep a prefetch from beginning: PREFETCH.DEPTH.

        A MISS_OPEN that was on its way when the register was written still goes by the value before.
        """
        return max(self._depth_overtaken, self.policy.prefetch_depth)

    def prefetch_opened(self):
        """MISS_OPEN of a prefetch: the next one knows the register as it is."""
        self._depth_overtaken = 0

    def _set_prefetcher(self):
        self.prefetcher.set_registers(self.registers.streams, self.policy)
