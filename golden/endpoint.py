"""The endpoint without hardware: every request is served at once, in the order of hw/README.md, by the golden rules."""

from dataclasses import replace

from kv_endpoint.golden.coherency.snoops import answer_aux, snoop_aux
from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK, Access, LineState, Retry
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import SEQUENCE_BITS, EngineKind, ErrorKind, Lane
from kv_endpoint.golden.follow.follower import Follower
from kv_endpoint.golden.frames.allocator import Action
from kv_endpoint.golden.front.hints import ENTRIES_MAX, HeaderCheck, check_header, pack_hint
from kv_endpoint.golden.pipeline.metadata import Outcome, Slot, SlotKind, State
from kv_endpoint.golden.registers import rules as csr

__all__ = ["Endpoint"]

_TAG_MASK = 0xFFFF


def gives_up(tag, snoop):
    """What a host says that holds nothing, or drops what it holds: invalid, for every line it is asked for."""
    return {line: LineState.I for line in range(SECTOR_LINES) if snoop.lines >> line & 1}


class Endpoint:
    """Drives a `Follower` with requests in zero time: misses and demotions end before the next request comes.

    So do prefetches, where they are switched on: each begins as soon as it is asked for, after the request, hint line
    or register write that did.

    So do snoops, unless the host takes its time: `host(tag, snoop)` is called when one leaves, and returns what the
    host says, {line of the sector: LineState}, or None if it will do so later by `answer`. What it writes back
    meanwhile it writes before it returns. Without it hosts hold nothing any more when they are asked. A request that is
    still held when its method returns is served during the `answer` that it waits for.

    `on_record(lane, record)`, if given, receives every record as a dict that `golden.events.port.pack` takes; the same
    records pass `Follower.check`.
    """

    def __init__(self, config, *, policy=None, pool_frames=None, on_record=None, host=gives_up):
        self.follower = Follower(config, policy=policy, pool_frames=pool_frames)
        self._config = config
        self._on_record = on_record
        self._sequence = 0
        self._tag = 0
        self._loaded = False
        self._host = host
        #: a request is being served: what comes of it besides is done behind it
        self._in_request = False
        #: outcomes of requests that had been held, by tag
        self._ended = {}

    # Requests ---------------------------------------------------------------------------------------------------------

    def hint(self, head, entries, step):
        """Announce (block, score UQ0.16) pairs of a head for `step`, in as many lines as it takes (at least one).

        Returns the outcome of the last line.
        """
        lines = [entries[i : i + ENTRIES_MAX] for i in range(0, len(entries), ENTRIES_MAX)] or [[]]
        for line in lines:
            outcome = self._hint_line(head, line, step)
        return outcome

    def read(self, head, block, line=0, *, access=Access.PLAIN, host=0):
        """Read a line, or with `access` OWN ask for it without data.

        Returns the outcome of the request's own slot, the last one if it was held.
        """
        return self._access(Slot(SlotKind.READ, False, self._next_tag(), head, block, line, access=access, host=host))

    def write(self, head, block, line=0, *, access=Access.PLAIN, host=0):
        """Write a line. Returns the outcome of the request's own slot."""
        return self._access(Slot(SlotKind.WRITE, True, self._next_tag(), head, block, line, access=access, host=host))

    def release(self, head, block, line=0, *, access=Access.FORGET, host=0):
        """Give up a line (`access` FORGET or FLUSH). Returns what `read` does."""
        return self._access(
            Slot(SlotKind.RELEASE, False, self._next_tag(), head, block, line, access=access, host=host)
        )

    def answer(self, tag, states):
        """A host answers lines of a snoop, {line of the sector: LineState}; whoever waited for that is served."""
        self._request(lambda: self._answer(tag, states))

    def recall(self, head, block):
        """Take back every line of a block that hosts may hold."""
        self._request(lambda: self._recall(head, block))

    def scrub(self, *, everything=False):
        """Take back the stale lines of the whole filter, or with `everything` all lines: a snoop a set."""

        def all_sets():
            for number in range(self._config.filter_sets):
                coherent = self.follower.coherent
                if coherent.filter.scrub(number, everything=everything, may_launch=coherent.snoops.has_place).launched:
                    self._note(EngineKind.BI_SCRUB, key=number, aux=everything)
                    self._send()

        self._request(all_sets)

    def pin(self, head, block):
        """Pin a block. Returns a `RefusalKind`, or None."""
        refusal = self.follower.allocator.pin_refusal(head, block)
        if refusal is None:
            self._slot(Slot(SlotKind.PIN, head=head, block=block))
        return refusal

    def unpin(self, head, block):
        self._slot(Slot(SlotKind.UNPIN, head=head, block=block))

    def quota(self, head, minimum, maximum):
        """Set the quotas of a head. Returns a `RefusalKind`, or None."""
        refusal = self.follower.allocator.quota_refusal(head, minimum, maximum)
        if refusal is None:
            self._note(EngineKind.QUOTA, head=head, key=maximum, aux=minimum)
        return refusal

    def pool(self, frames, mode=Mode.EXACT):
        """Set the size of the pool of a mode. Returns a `RefusalKind`, or None."""
        refusal = self.follower.allocator.pool_refusal(frames, mode)
        if refusal is None:
            self._note(EngineKind.POOL, key=mode, aux=frames)
        return refusal

    def write_register(self, name, **fields):
        """Write a policy register, as in `write_register("POLICY", PRIORITY=2)`; fields that are not given become 0."""
        self._note(EngineKind.CSR_WRITE, key=csr.address(name), aux=csr.pack(name, **fields))
        self._prefetch()

    # Records ----------------------------------------------------------------------------------------------------------

    def _slot(self, slot):
        before, result = self.follower.slot(slot)
        if self._on_record is not None:
            self._emit(Lane.SLOT, self.follower.slot_record(slot, before, result))
        return result.outcome

    def _note(self, kind, *, head=0, block=0, frame=0, key=0, aux=0):
        record = {"kind": kind, "head": head, "block": block, "frame": frame, "key": key, "aux": aux}
        self.follower.note(kind, record)
        if self._on_record is not None:
            self._emit(Lane.ENGINE, record)

    def _emit(self, lane, record):
        self._on_record(lane, {"sequence": self._sequence} | record)
        self._sequence = (self._sequence + 1) & (1 << SEQUENCE_BITS) - 1

    def _next_tag(self):
        self._tag = (self._tag + 1) & _TAG_MASK
        return self._tag

    # Serving ----------------------------------------------------------------------------------------------------------

    def _hint_line(self, head, entries, step):
        endpoint, tag = self.follower, self._next_tag()
        check, now = check_header(
            self._config, pack_hint(step, entries), endpoint.now, self._loaded, endpoint.policy.leap_cap
        )
        outcome = {
            HeaderCheck.STALE: Outcome.HINT_STALE,
            HeaderCheck.MALFORMED: Outcome.HINT_MALFORMED,
            HeaderCheck.EXHAUSTED: Outcome.HINT_EXHAUSTED,
        }.get(check, Outcome.HINT_DONE)
        if outcome == Outcome.HINT_EXHAUSTED:
            self._note(EngineKind.ERROR, key=ErrorKind.STEP_EXHAUSTED, aux=step & 0xFFFF)
        if check == HeaderCheck.ADVANCE:
            self._note(EngineKind.STEP, aux=now)
            self._loaded = True
        if outcome == Outcome.HINT_DONE:
            for block, score in entries:
                self._slot(Slot(SlotKind.HINT, rwd=True, tag=tag, head=head, block=block, value=score))
        self._slot(Slot(SlotKind.ANSWER, rwd=True, tag=tag, head=head, value=step & 0xFFFF, outcome=outcome))
        self._prefetch()
        return outcome

    def _access(self, slot):
        outcome = self._request(lambda: self._serve(slot))
        return self._ended.pop(slot.tag, outcome)

    def _request(self, serve):
        """Do what a request is about, and what follows from it; one inside another leaves that to the other."""
        if self._in_request:
            return serve()
        self._in_request = True
        self._ended.clear()
        try:
            result = serve()
            self._retry()
            self._prefetch()
            return result
        finally:
            self._in_request = False

    def _serve(self, slot):
        """A READ, WRITE or RELEASE slot, its miss, and the snoops that begin. Returns its outcome."""
        outcome = self._slot(slot)
        for region, phase in self.follower.phases.owed():
            self._note(EngineKind.PHASE, key=region, aux=phase)
        if outcome in (Outcome.MISS, Outcome.FIRST_WRITE):
            self._note(EngineKind.MISS_OPEN, head=slot.head, block=slot.block, aux=slot.rwd)
            self._resolve(slot)
            self._note(EngineKind.MISS_CLOSE, head=slot.head, block=slot.block)
        self._send()
        return outcome

    # Snoops -----------------------------------------------------------------------------------------------------------

    def _retry(self):
        """Held requests come again until all that are left wait for an answer."""
        while ready := self.follower.coherent.held.ready:
            self._ended[ready[0].tag] = self._serve(ready[0])

    def _send(self):
        """Snoops that have begun leave, and are answered if the host does so at once."""
        outstanding = self.follower.coherent.snoops.outstanding
        for tag, snoop in [(tag, place.snoop) for tag, place in outstanding.items() if not place.sent]:
            self._note(EngineKind.BI_SNOOP, **self._sector(snoop.sector), aux=snoop_aux(tag, snoop))
            states = self._host(tag, snoop)
            if states is not None:
                self._answer(tag, states)

    def _answer(self, tag, states):
        snoop = self.follower.coherent.snoops.outstanding[tag].snoop
        self._note(EngineKind.BI_ANSWER, **self._sector(snoop.sector), aux=answer_aux(tag, states))

    def _recall(self, head, block):
        coherent = self.follower.coherent
        for number in range(SECTORS_PER_BLOCK):
            sector = coherent.sector(head, block, number * SECTOR_LINES)
            # From one host at a time.
            for _ in range(self._config.hosts):
                if coherent.filter.recall(sector, may_launch=coherent.snoops.has_place).launched:
                    self._note(EngineKind.BI_RECALL, **self._sector(sector))
                    self._send()

    def _sector(self, sector):
        head, block, number = self._config.split_sector(sector)
        return {"head": head, "block": block, "key": number}

    # Misses -----------------------------------------------------------------------------------------------------------

    def _resolve(self, request):
        """Obtain a frame or a bypass slot for a missed request and replay it."""
        endpoint, head, block = self.follower, request.head, request.block
        where, write = (head, block), request.kind == SlotKind.WRITE
        held = None if write else endpoint.remembered(where)
        while held is None:
            decision = endpoint.decide(where, write, request.access.caches)
            if decision.action in (Action.VICTIM, Action.WAIT) and self._take_back_for(where):
                continue
            if decision.action == Action.VICTIM:
                self._demote(head, decision.victim, write)
            elif decision.action == Action.FRAME:
                self._admit(head, block, decision.frame)
                replay = SlotKind.REPLAY_WRITE if write else SlotKind.REPLAY_READ
                self._slot(self._again(request, replay))
                return
            elif decision.action == Action.BYPASS:
                held = endpoint.bypass_slots.oldest_idle()
                own_key = endpoint.key_of(endpoint.entry(head, block))
                self._note(EngineKind.BYPASS, head=head, block=block, frame=held.frame, key=own_key)
                self._read_page(head, block, held.frame)
            else:
                raise RuntimeError(f"head {head}, block {block}: nothing can leave for it, now or later")
        self._slot(self._again(request, SlotKind.BYPASS_READ, held.frame))

    def _take_back_for(self, where):
        """The block that should leave for a missed one is uncovered, if it is not. Whether it was."""
        victim = self.follower.covered_victim(where[0])
        if victim is None:
            return False
        self._recall(victim.head, victim.block)
        return (victim.head, victim.block) not in self.follower.coherent.covered

    @staticmethod
    def _again(request, kind, frame=0):
        return replace(request, kind=kind, frame=frame, retry=Retry.NO)

    def _prefetch(self):
        """Whatever is asked for is fetched ahead at once."""
        endpoint, prefetcher = self.follower, self.follower.prefetcher
        while candidate := prefetcher.candidate(lambda where: endpoint.entry(*where)):
            (head, block), source = candidate
            drop = prefetcher.drop_reason(*candidate)
            if drop is None:
                self._note(EngineKind.PREFETCH_QUEUED, head=head, block=block, aux=source)
            else:
                self._note(EngineKind.PREFETCH_DROPPED, head=head, block=block, aux=source | drop << 8)
            while endpoint.policy.prefetch_depth and (first := prefetcher.first()):
                self._fetch(*first)

    def _fetch(self, where, source):
        """The prefetch whose turn it is."""
        endpoint, (head, block) = self.follower, where
        self._note(EngineKind.MISS_OPEN, head=head, block=block, aux=2)
        is_cold = self._slot(Slot(SlotKind.PREFETCH, head=head, block=block)) == Outcome.DONE
        while is_cold:
            decision = endpoint.decide_prefetch(where)
            if decision.action == Action.VICTIM:
                self._demote(head, decision.victim, write=False)
                continue
            if decision.action == Action.FRAME:
                self._admit(head, block, decision.frame, value=1)
            else:
                self._note(EngineKind.PREFETCH_DROPPED, head=head, block=block, aux=source | decision.drop << 8)
            break
        self._note(EngineKind.MISS_CLOSE, head=head, block=block)

    def _admit(self, head, block, frame, value=0):
        if self.follower.entry(head, block).state == State.ABSENT:
            self._slot(Slot(SlotKind.ALLOCATE, head=head, block=block, frame=frame))
            return
        self._slot(Slot(SlotKind.PROMOTE, head=head, block=block, frame=frame, value=value))
        self._read_page(head, block, frame)
        self._slot(Slot(SlotKind.FILL, head=head, block=block))

    def _read_page(self, head, block, frame):
        where = {"head": head, "block": block, "frame": frame}
        self._note(EngineKind.PAGE_READ, **where)
        self._note(EngineKind.PAGE_READ_DONE, **where)

    def _demote(self, requester, victim, write):
        endpoint, head, block = self.follower, victim.head, victim.block
        self._note(
            EngineKind.VICTIM,
            head=head,
            block=block,
            frame=victim.frame,
            key=victim.key,
            aux=requester << 8 | victim.waived << 1 | write,
        )
        self._slot(Slot(SlotKind.DEMOTE, head=head, block=block))
        if endpoint.entry(head, block).dirty:
            tag = endpoint.page_write_tag
            self._note(EngineKind.PAGE_WRITE, head=head, block=block, frame=victim.frame, aux=tag)
            self._note(EngineKind.PAGE_WRITE_DONE, head=head, block=block, frame=victim.frame, aux=tag << 1)
        self._slot(Slot(SlotKind.EVICT, head=head, block=block))
