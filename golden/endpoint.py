"""The golden endpoint: follows the records of an endpoint and recomputes every decision from its own state.

What comes from outside (requests, completions, register writes) is taken from the records; what the endpoint decides
(outcome, EMA, flags, victim, frame, bypass) is worked out here and compared, and what one record promises another
(`MISS` a replay, `VICTIM` a DEMOTE, `PROMOTE` a page read) is kept as owed. `golden/standalone.py` makes the same
records without hardware.
"""

from collections import Counter

from golden.allocator import Action, Allocator, BypassSlots
from golden.events import SEQUENCE_BITS, EngineKind, ErrorKind, Lane, RefusalKind, record_fields
from golden.hints import ENTRIES_MAX, HeaderCheck, check_header, pack_hint
from golden.metadata import Entry, Outcome, Slot, SlotKind, commit
from golden.migration import Demotion, Migration
from golden.mismatch import Mismatch
from golden.misses import Misses, Request
from golden.policy import Policy
from golden.score import key
from golden.tracker import HeadCounters, track
from golden.victim import Domain, VictimSearch

__all__ = ["Endpoint"]

_NEVER_SEEN = Entry()
_SLOT_KINDS = {int(kind): kind for kind in SlotKind}
_NOTE_KINDS = {int(kind): kind for kind in EngineKind}
_OUTCOMES = {int(outcome): outcome for outcome in Outcome}
_REFUSALS = {int(kind): kind for kind in RefusalKind}
_ERRORS = {int(kind): kind for kind in ErrorKind}
#: errors of DDR5, which no other record shows
_MEMORY_ERRORS = {ErrorKind.AXI_READ, ErrorKind.AXI_WRITE}
_HEADER_OF = {
    Outcome.HINT_DONE: HeaderCheck.CURRENT,
    Outcome.HINT_STALE: HeaderCheck.STALE,
    Outcome.HINT_EXHAUSTED: HeaderCheck.EXHAUSTED,
}
#: slots of the RwD channel (ANSWER may be of either), and those that carry a tag, a line, a value
_RWD_KINDS = {SlotKind.WRITE, SlotKind.HINT, SlotKind.REPLAY_WRITE}
_DEMAND_KINDS = {SlotKind.READ, SlotKind.WRITE, SlotKind.REPLAY_READ, SlotKind.REPLAY_WRITE, SlotKind.BYPASS_READ}
_VALUE_KINDS = {SlotKind.HINT, SlotKind.ANSWER}
#: slots whose record has the slot's frame, all others the entry's
_FRAME_KINDS = {SlotKind.PROMOTE, SlotKind.ALLOCATE, SlotKind.BYPASS_READ}
#: answers by channel; the others come on both
_RWD_ANSWERS = {
    Outcome.CONFLICT, Outcome.HINT_DONE, Outcome.HINT_STALE, Outcome.HINT_MALFORMED, Outcome.HINT_EXHAUSTED,
    Outcome.UNWRITABLE,
}  # fmt: skip
_REQ_ANSWERS = {Outcome.COMPLETED, Outcome.DROPPED, Outcome.CACHEABLE}
_ANSWERS = _RWD_ANSWERS | _REQ_ANSWERS | {Outcome.NXM, Outcome.ILLEGAL, Outcome.WINDOW}
#: fields that a note uses; the others must be 0
_NOTE_FIELDS = {
    EngineKind.STEP: ("aux",),
    EngineKind.CSR_WRITE: ("key", "aux"),
    EngineKind.MISS_OPEN: ("head", "block", "aux"),
    EngineKind.MISS_CLOSE: ("head", "block"),
    EngineKind.VICTIM: ("head", "block", "frame", "key", "aux"),
    EngineKind.BYPASS: ("head", "block", "frame", "key"),
    EngineKind.PAGE_READ: ("head", "block", "frame", "aux"),
    EngineKind.PAGE_WRITE: ("head", "block", "frame", "aux"),
    EngineKind.PAGE_READ_DONE: ("head", "block", "frame", "aux"),
    EngineKind.PAGE_WRITE_DONE: ("head", "block", "frame", "aux"),
    EngineKind.REFUSAL: ("key", "head", "block", "aux"),
    EngineKind.ERROR: ("key", "aux"),
    EngineKind.QUOTA: ("head", "key", "aux"),
    EngineKind.POOL: ("aux",),
}


class Endpoint:
    """State of an endpoint after reset, moved on by one record at a time.

    Parameters
    ----------
    config : Config
    policy : Policy
        The policy registers as they stand at the first record.
    pool_frames : int
        The pool size register likewise.
    register_write : callable (policy, byte address, value) -> Policy, optional
        The policy registers after a CSR_WRITE note; raises ValueError for a write that cannot be. Without it there are
        no register writes.

    Attributes
    ----------
    now : int
        The step counter.
    counters : list of HeadCounters, one a head
    bypasses, victims, waived : int
        Blocks that were decided to be read past the pool, blocks told to leave, and of these the announced ones.
    """

    def __init__(self, config, *, policy=None, pool_frames=None, register_write=None):
        self.config = config
        self.policy = Policy() if policy is None else policy
        self._register_write = register_write
        self.now = 0
        self.table = {}
        self.allocator = Allocator(config, pool_frames)
        self.bypass_slots = BypassSlots(config)
        self.misses = Misses(config)
        self.migration = Migration(config)
        self.counters = [HeadCounters() for _ in range(config.heads)]
        self.bypasses = self.victims = self.waived = 0
        self._search = VictimSearch(config)
        self._sequence = 0
        #: whether a hint has loaded the step counter
        self._loaded = False
        #: the hint line in progress: (head, tag) and entries so far, whether it moved the step, its exhausted header
        self._line = None
        self._line_entries = 0
        self._line_stepped = False
        self._line_exhausted = None
        #: (head, block) of a VICTIM whose DEMOTE is the next slot
        self._leaving = None
        #: tags of page commands in progress
        self._page_tags = set()
        #: ERROR notes that are still owed, by kind
        self._errors = Counter()
        slot_bits = (max(config.miss_slots, config.demotion_slots) - 1).bit_length()
        self.page_write_tag = 1 << slot_bits
        self._engine_fields = [name for name, _ in record_fields(config, Lane.ENGINE)[2:]]

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
            self._sequence = (self._sequence + 1) & (1 << SEQUENCE_BITS) - 1
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

    def finish(self):
        """After the last record of a drained endpoint: raises `Mismatch` for the first thing that is still owed."""
        owed = [*self.misses.owed(), *self.migration.owed()]
        if self._leaving is not None:
            owed.append((*self._leaving, "DEMOTE"))
        if self._line is not None or self._line_stepped:
            owed.append((self._line[0] if self._line else 0, 0, "the ANSWER of a hint line"))
        owed.extend((0, 0, f"ERROR {kind.name}") for kind, count in self._errors.items() if count)
        for head, block, what in owed:
            raise Mismatch("owed", what, "nothing").locate(
                step=self.now, head=head, block=block, sequence=self._sequence, kind="end of the records"
            )

    def slot(self, slot):
        """Commit a slot of our own making; the entry before it, and what `golden.metadata.commit` says of it."""
        before, result = self._evaluate(slot)
        self._follow_slot(slot, before, result)
        return before, result

    def note(self, kind, record):
        """Follow an engine note, a dict of all its fields."""
        used = _NOTE_FIELDS[kind]
        for name in self._engine_fields:
            if name not in used and record[name] != 0:
                raise Mismatch(name, 0, record[name])
        _NOTES[kind](self, record)

    # Slots ------------------------------------------------------------------------------------------------------------

    def entry(self, head, block):
        """The metadata entry of a block."""
        return self.table.get((head, block), _NEVER_SEEN)

    def key_of(self, entry):
        """The eviction key of an entry now."""
        return key(self.config, self.policy.priority, entry.ema, entry.step, self.now, self.policy.lam)

    def _evaluate(self, slot):
        before = self.table.get((slot.head, slot.block), _NEVER_SEEN)
        return before, commit(before, slot, self.now, self.policy)

    def _check_slot(self, kind, record):
        outcome = Outcome.DONE
        if kind == SlotKind.ANSWER:
            outcome = _OUTCOMES.get(record["outcome"])
            if outcome not in _ANSWERS:
                raise Mismatch("outcome", "the outcome of an ANSWER", record["outcome"])
        slot = Slot(
            kind, bool(record["rwd"]), record["tag"], record["head"], record["block"], record["line"], record["value"],
            record["frame"], outcome,
        )  # fmt: skip
        before, result = self._evaluate(slot)
        for name, expected in self.slot_record(slot, before, result).items():
            if record[name] != expected:
                raise Mismatch(name, expected, record[name])
        self._follow_slot(slot, before, result)

    def slot_record(self, slot, before, result):
        """The record of a slot, less its sequence number; `before` and `result` as returned by `slot`."""
        kind, after = slot.kind, result.entry
        rwd = kind in _RWD_KINDS
        if kind == SlotKind.ANSWER:
            rwd = slot.outcome in _RWD_ANSWERS or (slot.rwd and slot.outcome not in _REQ_ANSWERS)
        record = {
            "kind": kind,
            "rwd": rwd,
            "tag": slot.tag if kind in _DEMAND_KINDS or kind in _VALUE_KINDS else 0,
            "head": slot.head,
            "block": slot.block,
            "line": slot.line if kind in _DEMAND_KINDS else 0,
            "value": slot.value if kind in _VALUE_KINDS else 0,
            "step": self.now,
            "outcome": result.outcome,
            "touch": result.touch,
        }
        if kind == SlotKind.ANSWER:
            record |= dict.fromkeys(("ema", "frame", "state_before", "flags_before", "state_after", "flags_after"), 0)
        else:
            record |= {
                "state_before": before.state,
                "flags_before": before.flags,
                "state_after": after.state,
                "flags_after": after.flags,
                "ema": after.ema,
                "frame": slot.frame if kind in _FRAME_KINDS else before.frame,
            }
        return record

    def _follow_slot(self, slot, before, result):
        kind, head, after = slot.kind, slot.head, result.entry
        where = head, slot.block
        if self._leaving is not None and (kind != SlotKind.DEMOTE or self._leaving != where):
            raise Mismatch("kind", f"DEMOTE of head {self._leaving[0]}, block {self._leaving[1]}", kind.name)
        rule = _SLOTS.get(kind)
        if rule is not None:
            rule(self, slot, where, before, result)
        if kind == SlotKind.ANSWER:
            return
        if after is not before:
            self.table[where] = after
            self.allocator.observe(head, kind, before, after)
            self._search.observe(head, slot.block, after)
        track(self.counters[head], kind, result.outcome, result.touch, before.state, after.state, after.ema)
        if result.outcome in (Outcome.MISS, Outcome.FIRST_WRITE):
            self.misses.missed(where, Request(kind, slot.tag, slot.line, self.now, result.touch))

    def _hint(self, slot, where, before, result):
        line = slot.head, slot.tag
        if not self._loaded:
            raise Mismatch("kind", "STEP of the first hint line", slot.kind.name)
        if self._line is None:
            self._line = line
        self._same_line(line)
        self._line_entries += 1
        if self._line_entries > ENTRIES_MAX:
            raise Mismatch("kind", f"at most {ENTRIES_MAX} blocks in a hint line", slot.kind.name)

    def _same_line(self, line):
        for name, expected, seen in zip(("head", "tag"), self._line or line, line, strict=True):
            if expected != seen:
                raise Mismatch(name, expected, seen)

    def _answer(self, slot, where, before, result):
        outcome = slot.outcome
        if outcome == Outcome.UNWRITABLE:
            self._unwritable(slot, where)
        elif outcome in _HEADER_OF or outcome == Outcome.HINT_MALFORMED:
            self._hint_answer(slot)
        else:
            for name in ("head", "block"):
                if getattr(slot, name):
                    raise Mismatch(name, 0, getattr(slot, name))
            reads = not slot.rwd and outcome in (Outcome.NXM, Outcome.WINDOW)
            if slot.value > (1 if reads else 0):
                raise Mismatch("value", "0 or 1" if reads else 0, slot.value)

    def _hint_answer(self, slot):
        outcome = slot.outcome
        self._same_line((slot.head, slot.tag))
        if slot.block:
            raise Mismatch("block", 0, slot.block)
        if outcome != Outcome.HINT_DONE and (self._line is not None or self._line_stepped):
            raise Mismatch("outcome", Outcome.HINT_DONE.name, outcome.name)
        if (outcome == Outcome.HINT_EXHAUSTED) != (self._line_exhausted is not None):
            raise Mismatch("outcome", "HINT_EXHAUSTED after its ERROR, and only then", outcome.name)
        if self._line_exhausted not in (None, slot.value):
            raise Mismatch("value", self._line_exhausted, slot.value)
        if outcome in _HEADER_OF:
            header, _ = self._header(slot.value)
            if header != _HEADER_OF[outcome]:
                if outcome == Outcome.HINT_DONE:
                    raise Mismatch("value", self.now & 0xFFFF, slot.value)
                raise Mismatch("outcome", f"that of a header which is {header.name}", outcome.name)
        self._line = self._line_exhausted = None
        self._line_entries, self._line_stepped = 0, False

    def _header(self, step16):
        return check_header(self.config, pack_hint(step16, []), self.now, self._loaded, self.policy.leap_cap)

    def _unwritable(self, slot, where):
        if not self.migration.unwritable:
            raise Mismatch("outcome", "no UNWRITABLE before flash is", slot.outcome.name)
        if slot.value:
            raise Mismatch("value", 0, slot.value)
        self.misses.of(where)
        self.misses.served(where, SlotKind.WRITE, slot.tag, None)

    def _replay(self, slot, where, before, result):
        miss = self.misses.of(where)
        if result.outcome != Outcome.HIT:
            raise Mismatch("outcome", "a replay only when the block has a frame", result.outcome.name)
        if miss.page_tag is not None:
            raise Mismatch("kind", EngineKind.PAGE_READ_DONE.name, slot.kind.name)
        request = SlotKind.WRITE if slot.kind == SlotKind.REPLAY_WRITE else SlotKind.READ
        self.misses.served(where, request, slot.tag, slot.line)

    def _bypass_read(self, slot, where, before, result):
        miss = self.misses.of(where)
        held = self.bypass_slots.holding(where)
        if held is None or not held.loaded:
            raise Mismatch("kind", "the page in a bypass slot first", slot.kind.name)
        if slot.frame != held.frame:
            raise Mismatch("frame", held.frame, slot.frame)
        if not (miss.decided and miss.bypass is held):
            requests = self.misses.waiting.get(where, ())
            if not any(
                request.tag == slot.tag and not request.touch and held.step in (request.step, self.now)
                for request in requests
            ):
                raise Mismatch("kind", EngineKind.BYPASS.name, slot.kind.name)
            miss.bypass = held
            held.busy = True
        self.misses.served(where, SlotKind.READ, slot.tag, slot.line)

    def _admit(self, slot, where, before, result):
        """PROMOTE, ALLOCATE."""
        miss = self.misses.of(where)
        if result.outcome != Outcome.DONE or miss.page_tag is not None:
            raise Mismatch("kind", f"no frame for a block that is {before.state.name}", slot.kind.name)
        decisions = [self.decide(where, write) for write in (False, True) if self._wants_frame(where, write)]
        if not any(decision.action == Action.FRAME for decision in decisions):
            raise Mismatch("kind", " or ".join(d.action.name for d in decisions) or "no frame", slot.kind.name)
        miss.frame = slot.frame
        miss.page_read = slot.kind == SlotKind.ALLOCATE
        self.bypass_slots.forget(where)

    def _fill(self, slot, where, before, result):
        if not self.misses.of(where).page_read:
            raise Mismatch("kind", EngineKind.PAGE_READ_DONE.name, slot.kind.name)

    def _demote(self, slot, where, before, result):
        if self._leaving is None:
            raise Mismatch("kind", EngineKind.VICTIM.name, slot.kind.name)
        self._leaving = None
        self.migration.demotions[where] = Demotion(before.frame)

    def _demotion_ends(self, slot, where, before, result):
        self.migration.ends(slot.kind, where, before)
        del self.migration.demotions[where]

    def _pin(self, slot, where, before, result):
        refusal = self.allocator.pin_refusal(slot.head, slot.block)
        if refusal is not None:
            raise Mismatch("kind", f"REFUSAL {refusal.name}", slot.kind.name)

    # Decisions --------------------------------------------------------------------------------------------------------

    def decide(self, where, write):
        """What the missed block (head, block) gets next, for a write or for a read (`golden.allocator.Decision`)."""
        head, block = where
        found = {}

        def find(domain):
            if domain not in found:
                found[domain] = self._search.find(
                    self.allocator.heads_of(domain, head),
                    now=self.now,
                    policy=self.policy,
                    in_migration=(*self.misses.open, *self.migration.demotions),
                    protect=self.policy.protect and domain != Domain.ANY,
                )
            return found[domain]

        own_key = self.key_of(self.entry(head, block)) if self.policy.bypass and not write else None
        return self.allocator.decide(
            head,
            write=write,
            bypass_below=own_key,
            find=find,
            demoting=bool(self.migration.demotions),
            unwritable=self.migration.unwritable,
        )

    def remembered(self, where):
        """The bypass slot that serves the reads waiting for a block without a new decision, or None.

        It was decided in this step, and none of the reads is a touch.
        """
        held = self.bypass_slots.holding(where)
        if held is None or not held.loaded or held.step != self.now:
            return None
        if any(request.write or request.touch or request.step != self.now for request in self.misses.waiting[where]):
            return None
        return held

    def _wants_frame(self, where, write):
        """Whether an open miss still needs a decision for its waiting writes, or for its reads."""
        miss = self.misses.open[where]
        if miss.frame is not None or not self.misses.waits(where, write):
            return False
        return write or (miss.bypass is None and self.remembered(where) is None)

    # Notes ------------------------------------------------------------------------------------------------------------

    def _step(self, record):
        if self._line is not None or self._line_stepped:
            raise Mismatch("kind", "the ANSWER of the hint line before", EngineKind.STEP.name)
        header, step = self._header(record["aux"] & 0xFFFF)
        if header != HeaderCheck.ADVANCE:
            raise Mismatch("aux", f"no step, since its header is {header.name}", record["aux"])
        if record["aux"] != step:
            raise Mismatch("aux", step, record["aux"])
        self.now = step
        self._loaded = self._line_stepped = True

    def _csr_write(self, record):
        if self._register_write is None:
            raise Mismatch("kind", "no register writes in this run", EngineKind.CSR_WRITE.name)
        try:
            self.policy = self._register_write(self.policy, record["key"], record["aux"])
        except ValueError as error:
            raise Mismatch("key", error, record["key"]) from None

    def _miss_open(self, record):
        if record["aux"] > 1:
            raise Mismatch("aux", "0 or 1", record["aux"])
        self.misses.opened((record["head"], record["block"]), bool(record["aux"]))

    def _miss_close(self, record):
        self.misses.closed((record["head"], record["block"]))

    def _victim(self, record):
        requester, write = record["aux"] >> 8, bool(record["aux"] & 1)
        if self._leaving is not None:
            raise Mismatch("kind", SlotKind.DEMOTE.name, EngineKind.VICTIM.name)
        if not self.migration.may_demote():
            raise Mismatch("kind", f"at most {self.config.demotion_slots} demotions", EngineKind.VICTIM.name)
        misses = [where for where in self.misses.open if where[0] == requester and self._wants_frame(where, write)]
        if not misses:
            raise Mismatch("aux", "head and kind of a miss that needs a frame", record["aux"])
        decisions = [self.decide(where, write) for where in misses]
        decision = next((decision for decision in decisions if decision.action == Action.VICTIM), None)
        if decision is None:
            raise Mismatch("kind", decisions[0].action.name, EngineKind.VICTIM.name)
        victim = decision.victim
        for name, expected in (
            ("head", victim.head),
            ("block", victim.block),
            ("key", victim.key),
            ("frame", victim.frame),
            ("aux", requester << 8 | victim.waived << 1 | write),
        ):
            if record[name] != expected:
                raise Mismatch(name, expected, record[name])
        self._leaving = victim.head, victim.block
        self.victims += 1
        self.waived += victim.waived

    def _bypass(self, record):
        where = record["head"], record["block"]
        miss = self.misses.of(where)
        if miss.page_tag is not None or not self._wants_frame(where, write=False):
            raise Mismatch("kind", "no decision: it is made", EngineKind.BYPASS.name)
        decision = self.decide(where, write=False)
        if decision.action != Action.BYPASS:
            raise Mismatch("kind", decision.action.name, EngineKind.BYPASS.name)
        own_key = self.key_of(self.entry(*where))
        if record["key"] != own_key:
            raise Mismatch("key", own_key, record["key"])
        slot = self.bypass_slots.idle(record["frame"])
        if slot is None:
            raise Mismatch("frame", "the frame of an idle bypass slot", record["frame"])
        self.bypass_slots.forget(where)
        self.bypass_slots.reuse(slot, where, self.now)
        miss.bypass, miss.decided = slot, True
        self.bypasses += 1

    def _page_read(self, record):
        where = record["head"], record["block"]
        miss = self.misses.of(where)
        if miss.page_tag is not None:
            raise Mismatch("kind", EngineKind.PAGE_READ_DONE.name, EngineKind.PAGE_READ.name)
        if miss.frame is not None and not miss.page_read:
            frame = miss.frame
        elif miss.bypass is not None and not miss.bypass.loaded:
            frame = miss.bypass.frame
        else:
            raise Mismatch("kind", "PROMOTE or BYPASS before the page is read", EngineKind.PAGE_READ.name)
        if record["frame"] != frame:
            raise Mismatch("frame", frame, record["frame"])
        miss.page_tag = self._new_page_tag(record["aux"], write=False)

    def _page_read_done(self, record):
        miss = self.misses.of((record["head"], record["block"]))
        promoting = miss.frame is not None and not miss.page_read
        frame = miss.frame if promoting else miss.bypass and miss.bypass.frame
        if miss.page_tag is None:
            raise Mismatch("kind", EngineKind.PAGE_READ.name, EngineKind.PAGE_READ_DONE.name)
        if record["frame"] != frame:
            raise Mismatch("frame", frame, record["frame"])
        if record["aux"] >> 1 != miss.page_tag:
            raise Mismatch("aux", f"tag {miss.page_tag}", f"tag {record['aux'] >> 1}")
        self._page_tags.discard(miss.page_tag)
        miss.page_tag = None
        if promoting:
            miss.page_read = True
        else:
            miss.bypass.loaded = True
        if record["aux"] & 1:
            self._errors[ErrorKind.PAGE_READ] += 1

    def _page_write(self, record):
        where = record["head"], record["block"]
        tag = self._new_page_tag(record["aux"], write=True)
        self.migration.page_write(where, self.entry(*where), record["frame"], tag)

    def _page_write_done(self, record):
        where = record["head"], record["block"]
        tag, failed, unwritable = record["aux"] >> 1, bool(record["aux"] & 1), self.migration.unwritable
        self.migration.page_written(where, record["frame"], tag, failed)
        self._page_tags.discard(tag)
        if failed:
            self._errors[ErrorKind.PAGE_WRITE] += 1
        if self.migration.unwritable and not unwritable:
            self._errors[ErrorKind.FLASH_UNWRITABLE] += 1

    def _new_page_tag(self, tag, write):
        if tag in self._page_tags:
            raise Mismatch("aux", "a tag that is not in use", tag)
        if tag // self.page_write_tag != write:
            raise Mismatch("aux", "the tag of a page write" if write else "the tag of a page read", tag)
        self._page_tags.add(tag)
        return tag

    def _refusal(self, record):
        if record["key"] not in _REFUSALS:
            raise Mismatch("key", "a RefusalKind", record["key"])
        kind, aux, allocator = _REFUSALS[record["key"]], record["aux"], self.allocator
        if kind in (RefusalKind.PIN_CAP, RefusalKind.PIN_QUOTA, RefusalKind.PIN_RANGE):
            # The command's head and block in full.
            refusal = allocator.pin_refusal(aux >> 16, aux & 0xFFFF)
        elif kind == RefusalKind.POOL_SIZE:
            refusal = allocator.pool_refusal(aux)
        elif kind == RefusalKind.QUOTA_SUM:
            refusal = allocator.quota_refusal(record["head"], aux, self.config.pool_frames_max)
        else:
            # QUOTA_RANGE: `aux` is the maximum, which the minimum or a head out of range may contradict.
            refusal = kind
        if refusal != kind:
            raise Mismatch("key", "no refusal" if refusal is None else refusal.name, kind.name)
        self._errors[ErrorKind.REFUSED_COMMAND] += 1

    def _error(self, record):
        if record["key"] not in _ERRORS:
            raise Mismatch("key", "an ErrorKind", record["key"])
        kind = _ERRORS[record["key"]]
        if kind == ErrorKind.STEP_EXHAUSTED:
            header, _ = self._header(record["aux"] & 0xFFFF)
            if header != HeaderCheck.EXHAUSTED:
                raise Mismatch("aux", "the header of a step at the counter's end", record["aux"])
            self._line_exhausted = record["aux"]
        elif kind not in _MEMORY_ERRORS:
            if not self._errors[kind]:
                raise Mismatch("key", "no such error", kind.name)
            self._errors[kind] -= 1

    def _quota(self, record):
        refusal = self.allocator.quota_refusal(record["head"], record["aux"], record["key"])
        if refusal is not None:
            raise Mismatch("kind", f"REFUSAL {refusal.name}", EngineKind.QUOTA.name)
        self.allocator.set_quotas(record["head"], record["aux"], record["key"])

    def _pool(self, record):
        refusal = self.allocator.pool_refusal(record["aux"])
        if refusal is not None:
            raise Mismatch("kind", f"REFUSAL {refusal.name}", EngineKind.POOL.name)
        self.allocator.pool_frames = record["aux"]


_SLOTS = {
    SlotKind.HINT: Endpoint._hint,
    SlotKind.ANSWER: Endpoint._answer,
    SlotKind.REPLAY_READ: Endpoint._replay,
    SlotKind.REPLAY_WRITE: Endpoint._replay,
    SlotKind.BYPASS_READ: Endpoint._bypass_read,
    SlotKind.PROMOTE: Endpoint._admit,
    SlotKind.ALLOCATE: Endpoint._admit,
    SlotKind.FILL: Endpoint._fill,
    SlotKind.DEMOTE: Endpoint._demote,
    SlotKind.EVICT: Endpoint._demotion_ends,
    SlotKind.RESTORE: Endpoint._demotion_ends,
    SlotKind.PIN: Endpoint._pin,
}
_NOTES = {
    EngineKind.STEP: Endpoint._step,
    EngineKind.CSR_WRITE: Endpoint._csr_write,
    EngineKind.MISS_OPEN: Endpoint._miss_open,
    EngineKind.MISS_CLOSE: Endpoint._miss_close,
    EngineKind.VICTIM: Endpoint._victim,
    EngineKind.BYPASS: Endpoint._bypass,
    EngineKind.PAGE_READ: Endpoint._page_read,
    EngineKind.PAGE_WRITE: Endpoint._page_write,
    EngineKind.PAGE_READ_DONE: Endpoint._page_read_done,
    EngineKind.PAGE_WRITE_DONE: Endpoint._page_write_done,
    EngineKind.REFUSAL: Endpoint._refusal,
    EngineKind.ERROR: Endpoint._error,
    EngineKind.QUOTA: Endpoint._quota,
    EngineKind.POOL: Endpoint._pool,
}
