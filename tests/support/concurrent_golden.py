"""A stand-in for the hardware: golden decisions, but misses, demotions and page commands overlap in random order."""

import random

from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.events.port import EngineKind, ErrorKind, Lane, PrefetchDrop, RefusalKind
from kv_endpoint.golden.follow.follower import Follower
from kv_endpoint.golden.frames.allocator import Action
from kv_endpoint.golden.frames.misses import REPLAY_OF
from kv_endpoint.golden.pipeline.metadata import Outcome, Slot, SlotKind, State
from kv_endpoint.golden.registers import rules as csr

__all__ = ["ConcurrentDevice"]

_NO_ENTRIES = {"frame": 0, "key": 0, "aux": 0, "head": 0, "block": 0}


def may_bypass(request):
    """Whether a waiting request may be served past the pool."""
    return not request.write and not request.caches


class ConcurrentDevice:
    """Makes `records`, (lane, fields) pairs, by doing one random thing after the other that the state allows.

    `failures`: share of page commands that fail. `commands`: whether the host also pins, sets quotas and pool size, and
    writes registers.
    """

    def __init__(self, config, seed, *, policy=None, pool_frames, failures=0.0, commands=False):
        self.config, self.random = config, random.Random(seed)
        self.policy = Policy() if policy is None else policy
        self.pool_frames = pool_frames
        self.golden = self.fresh()
        self.records = []
        self._failures, self._commands = failures, commands
        self._sequence = self._tag = 0
        self._blocks = max(2, config.blocks_per_head // 2)

    def fresh(self):
        """A golden endpoint that has seen nothing yet, to check the records with."""
        return Follower(self.config, policy=self.policy, pool_frames=self.pool_frames)

    def run(self, actions):
        """Do so many things, then only finish what is in progress. Returns the records."""
        self.hint([])
        for _ in range(actions):
            self.random.choice((self.host, self.host, self.engines, self.engines, self.engines, self.flash))()
        while self._busy():
            self.random.choice((self.engines, self.flash))()
        self.change_phases()
        self.golden.finish()
        return self.records

    def _busy(self):
        golden, unit = self.golden, self.golden.prefetcher
        under_way = golden.misses.waiting or golden.misses.open or golden.migration.demotions
        return under_way or unit.first() or any(unit.owed())

    # Records ----------------------------------------------------------------------------------------------------------

    def slot(self, kind, head=0, block=0, **fields):
        slot = Slot(kind, head=head, block=block, **fields)
        before, result = self.golden.slot(slot)
        record = self.golden.slot_record(slot, before, result)
        self.records.append((Lane.SLOT, {"sequence": self._sequence} | record))
        self._sequence += 1
        return result

    def note(self, kind, **fields):
        record = {"sequence": self._sequence, "kind": kind} | _NO_ENTRIES | fields
        self.golden.note(kind, record)
        self.records.append((Lane.ENGINE, record))
        self._sequence += 1

    def next_tag(self):
        self._tag = (self._tag + 1) & 0xFFFF
        return self._tag

    # Host -------------------------------------------------------------------------------------------------------------

    def host(self):
        pick = self.random.random()
        head, block = self.random.randrange(self.config.heads), self.random.randrange(self._blocks)
        if pick < 0.12:
            entries = [(self.random.randrange(self._blocks), self.random.randrange(0x10000)) for _ in range(4)]
            self.hint(entries, head)
        elif pick < 0.14 and self._commands:
            self.command(head, block)
        elif pick < 0.16:
            outcome = self.random.choice((Outcome.NXM, Outcome.ILLEGAL, Outcome.WINDOW))
            self.slot(SlotKind.ANSWER, tag=self.next_tag(), rwd=self.random.random() < 0.5, outcome=outcome)
        elif sum(map(len, self.golden.misses.waiting.values())) < 12:
            self.demand(head, block)

    def demand(self, head, block):
        """A read or write of a line."""
        kind = self.random.choice((SlotKind.READ, SlotKind.READ, SlotKind.WRITE))
        line = self.random.randrange(128)
        self.slot(kind, head, block, rwd=kind == SlotKind.WRITE, tag=self.next_tag(), line=line)

    def hint(self, entries, head=0):
        tag = self.next_tag()
        if not entries or self.random.random() < 0.5:
            self.note(EngineKind.STEP, aux=self.golden.now + self.random.randrange(1, 4))
        for block, score in entries:
            self.slot(SlotKind.HINT, head, block, rwd=True, tag=tag, value=score)
        value = self.golden.now & 0xFFFF
        self.slot(SlotKind.ANSWER, head, rwd=True, tag=tag, value=value, outcome=Outcome.HINT_DONE)
        if self.random.random() < 0.1:
            stale = value - 1 & 0xFFFF
            self.slot(SlotKind.ANSWER, head, rwd=True, tag=tag, value=stale, outcome=Outcome.HINT_STALE)

    def command(self, head, block):
        pick, allocator = self.random.randrange(5), self.golden.allocator
        if pick == 0:
            refusal = allocator.pin_refusal(head, block)
            if refusal is None:
                self.slot(SlotKind.PIN, head, block)
            else:
                self.refuse(refusal, head=head, block=block, aux=head << 16 | block)
        elif pick == 1:
            pinned = [where for where, entry in self.golden.table.items() if entry.pinned]
            if pinned:
                self.slot(SlotKind.UNPIN, *self.random.choice(pinned))
        elif pick == 2:
            minimum, maximum = self.random.randrange(3), self.random.randrange(4, 12)
            if allocator.quota_refusal(head, minimum, maximum) is None:
                self.note(EngineKind.QUOTA, head=head, key=maximum, aux=minimum)
        elif pick == 3:
            frames = self.random.randrange(2 * self.config.pool_frames_min)
            refusal = allocator.pool_refusal(frames)
            if refusal is None:
                self.note(EngineKind.POOL, aux=frames)
            else:
                self.refuse(refusal, aux=frames)
        else:
            word = csr.pack(
                "POLICY", PRIORITY=self.random.randrange(3), SCORE=self.random.randrange(3),
                PROTECT=self.random.randrange(2), BYPASS=self.random.randrange(2),
            )  # fmt: skip
            self.note(EngineKind.CSR_WRITE, key=csr.address("POLICY"), aux=word)

    def stream(self, base, length, stride=1, ahead=3):
        """Describe and enable the first stream."""
        for name, value in (("BASE", base), ("LENGTH", length), ("STRIDE", stride), ("AHEAD", ahead), ("CTRL", 1)):
            self.note(EngineKind.CSR_WRITE, key=csr.address(f"STREAM[0].{name}"), aux=value)

    def refuse(self, refusal, **fields):
        self.note(EngineKind.REFUSAL, key=RefusalKind(refusal), **fields)
        self.note(EngineKind.ERROR, key=ErrorKind.REFUSED_COMMAND)

    # Engines ----------------------------------------------------------------------------------------------------------

    def engines(self):
        self.change_phases()
        golden, pick = self.golden, self.random.randrange(4)
        if pick == 0 and golden.misses.waiting and len(golden.misses.open) < self.config.miss_slots:
            head, block = self.random.choice(sorted(golden.misses.waiting))
            if (head, block) not in golden.misses.open:
                write = self.random.choice(golden.misses.waiting[head, block]).write
                reads = sum(not miss.write for miss in golden.misses.open.values())
                if not write and reads == self.config.miss_slots - self.config.miss_slots_for_writes:
                    return
                self.note(EngineKind.MISS_OPEN, head=head, block=block, aux=write)
        elif pick == 1 and golden.misses.open:
            self.advance_miss(self.random.choice(sorted(golden.misses.open)))
        elif pick == 2 and golden.migration.demotions:
            self.advance_demotion(self.random.choice(sorted(golden.migration.demotions)))
        elif pick == 3:
            self.random.choice((self.ask_ahead, self.open_ahead))()

    def ask_ahead(self):
        """The next candidate of the prefetch unit is noted."""
        unit = self.golden.prefetcher
        candidate = unit.candidate(lambda where: self.golden.entry(*where))
        if candidate is not None:
            ((head, block), source), drop = candidate, unit.drop_reason(*candidate)
            if drop is None:
                self.note(EngineKind.PREFETCH_QUEUED, head=head, block=block, aux=source)
            else:
                self.note(EngineKind.PREFETCH_DROPPED, head=head, block=block, aux=source | drop << 8)

    def open_ahead(self):
        """The prefetch whose turn it is."""
        golden, config, first = self.golden, self.config, self.golden.prefetcher.first()
        if first is None:
            return
        ((head, block), source), misses = first, golden.misses.open.values()
        has_slot = sum(miss.prefetch is not None for miss in misses) < config.prefetch_slots
        has_slot &= sum(not miss.write for miss in misses) < config.miss_slots - config.miss_slots_for_writes - 1
        under_way = len(misses) + len(golden.migration.demotions)
        if (head, block) in golden.misses.open:
            self.note(EngineKind.PREFETCH_DROPPED, head=head, block=block, aux=source | PrefetchDrop.MISSED << 8)
        elif has_slot and len(misses) < config.miss_slots and under_way < golden.policy.prefetch_depth:
            self.note(EngineKind.MISS_OPEN, head=head, block=block, aux=2)

    def fetch_ahead(self, where):
        """A frame for a block that nobody waits for, or none."""
        golden, (head, block) = self.golden, where
        decision = golden.decide_prefetch(where)
        if decision.action == Action.FRAME:
            self.slot(SlotKind.PROMOTE, head, block, frame=decision.frame, value=1)
        elif decision.action == Action.VICTIM:
            self.demote(head, decision.victim, write=False)
        else:
            source = golden.misses.open[where].prefetch
            self.note(EngineKind.PREFETCH_DROPPED, head=head, block=block, aux=source | decision.drop << 8)

    def demote(self, requester, victim, write):
        where, aux = {"head": victim.head, "block": victim.block}, requester << 8 | victim.waived << 1 | write
        self.note(EngineKind.VICTIM, **where, frame=victim.frame, key=victim.key, aux=aux)
        self.slot(SlotKind.DEMOTE, **where)

    def change_phases(self):
        for region, phase in self.golden.phases.owed():
            self.note(EngineKind.PHASE, key=region, aux=phase)

    def advance_miss(self, where):
        golden, (head, block) = self.golden, where
        miss, entry = golden.misses.open[where], golden.entry(head, block)
        requests = golden.misses.waiting.get(where, [])
        if miss.page_tag is not None:
            return
        if miss.unchecked:
            self.slot(SlotKind.PREFETCH, head, block)
        elif miss.given_up:
            self.note(EngineKind.MISS_CLOSE, head=head, block=block)
        elif miss.frame is not None and not miss.page_read:
            self.page_read(where, miss.frame)
        elif entry.state == State.PROMOTING:
            self.slot(SlotKind.FILL, head, block)
        elif golden.wants_prefetch(where):
            self.fetch_ahead(where)
        elif not requests:
            self.note(EngineKind.MISS_CLOSE, head=head, block=block)
        elif entry.resident:
            request = self.random.choice(requests)
            self.slot(REPLAY_OF[request.kind], head, block, rwd=request.write, **self.told(request))
        elif miss.bypass is not None and not miss.bypass.loaded:
            self.page_read(where, miss.bypass.frame)
        elif miss.decided and any(may_bypass(request) for request in requests):
            self.bypass_read(where, miss.bypass)
        elif golden.remembered(where) is not None:
            self.bypass_read(where, golden.remembered(where))
        elif miss.bypass is not None and all(may_bypass(request) for request in requests):
            # What came since is a touch of a later step: it needs a miss, and a decision, of its own.
            self.note(EngineKind.MISS_CLOSE, head=head, block=block)
        else:
            self.obtain(where, requests)

    def obtain(self, where, requests):
        golden, (head, block) = self.golden, where
        writes = [request for request in requests if request.write]
        cached = [request for request in requests if request.caches]
        past = golden.misses.open[where].bypass is None and any(may_bypass(request) for request in requests)
        caches = bool(cached) and not writes and not (past and self.random.randrange(2))
        decision = golden.decide(where, bool(writes), caches)
        if decision.action == Action.FRAME:
            absent = golden.entry(head, block).state == State.ABSENT
            self.slot(SlotKind.ALLOCATE if absent else SlotKind.PROMOTE, head, block, frame=decision.frame)
        elif decision.action == Action.VICTIM and golden.migration.may_demote():
            self.demote(head, decision.victim, bool(writes))
        elif decision.action == Action.DROP:
            for request in writes or cached:
                rwd, value = request.write, int(not request.write and request.wants_data)
                self.slot(
                    SlotKind.ANSWER, head, block, rwd=rwd, tag=request.tag, value=value, outcome=Outcome.UNWRITABLE
                )
        elif decision.action == Action.BYPASS and golden.bypass_slots.oldest_idle() is not None:
            frame, key = golden.bypass_slots.oldest_idle().frame, golden.key_of(golden.entry(head, block))
            self.note(EngineKind.BYPASS, head=head, block=block, frame=frame, key=key)

    def bypass_read(self, where, held):
        reads = [request for request in self.golden.misses.waiting[where] if may_bypass(request)]
        request = self.random.choice(reads)
        self.slot(SlotKind.BYPASS_READ, *where, frame=held.frame, **self.told(request))

    @staticmethod
    def told(request):
        """What a replay repeats of its request."""
        return {"tag": request.tag, "line": request.line, "access": request.access, "host": request.host}

    def page_read(self, where, frame):
        used = {miss.page_tag for miss in self.golden.misses.open.values()}
        tag = next(tag for tag in range(self.config.miss_slots) if tag not in used)
        self.note(EngineKind.PAGE_READ, head=where[0], block=where[1], frame=frame, aux=tag)

    def advance_demotion(self, where):
        golden, (head, block) = self.golden, where
        demotion, entry = golden.migration.demotions[where], golden.entry(head, block)
        if demotion.page_tag is not None:
            return
        if demotion.written is None and entry.state == State.DEMOTING and entry.dirty:
            used = {demotion.page_tag for demotion in golden.migration.demotions.values()}
            tag = next(tag for tag in range(golden.page_write_tag, 2 * golden.page_write_tag) if tag not in used)
            self.note(EngineKind.PAGE_WRITE, head=head, block=block, frame=demotion.frame, aux=tag)
        else:
            self.slot(SlotKind.RESTORE if demotion.written is False else SlotKind.EVICT, head, block)

    # Flash ------------------------------------------------------------------------------------------------------------

    def flash(self):
        golden, unwritable = self.golden, self.golden.migration.unwritable
        commands = [
            (EngineKind.PAGE_READ_DONE, where, miss.page_tag, miss.bypass.frame if miss.frame is None else miss.frame)
            for where, miss in golden.misses.open.items()
            if miss.page_tag is not None
        ] + [
            (EngineKind.PAGE_WRITE_DONE, where, demotion.page_tag, demotion.frame)
            for where, demotion in golden.migration.demotions.items()
            if demotion.page_tag is not None
        ]
        if not commands:
            return
        kind, (head, block), tag, frame = self.random.choice(commands)
        failed = self.random.random() < self._failures
        self.note(kind, head=head, block=block, frame=frame, aux=tag << 1 | failed)
        if failed:
            error = ErrorKind.PAGE_READ if kind == EngineKind.PAGE_READ_DONE else ErrorKind.PAGE_WRITE
            self.note(EngineKind.ERROR, key=error)
        if golden.migration.unwritable and not unwritable:
            self.note(EngineKind.ERROR, key=ErrorKind.FLASH_UNWRITABLE)
