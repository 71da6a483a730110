"""The metadata table: one entry a block, and what each slot of the pipeline does to it.

`commit` is the whole meaning of the metadata pipeline: one slot, one entry, the step counter and the policy registers
in; the new entry, what came of the slot and what the datapath has to do out. `hw/pipeline/metadata.py` computes the
same in one slot a clock.
"""

from dataclasses import dataclass
from enum import IntEnum

from kv_endpoint.golden.common.config import EMA_BITS
from kv_endpoint.golden.common.line_access import Access, Grant, Retry
from kv_endpoint.golden.common.policy import ScoreSource
from kv_endpoint.golden.pipeline.score import decay, increment

__all__ = ["State", "Entry", "entry_fields", "FLAGS", "SlotKind", "Outcome", "DataKind", "Slot", "Commit", "commit"]


class State(IntEnum):
    """Where a block is."""

    #: never written
    ABSENT = 0
    #: in a frame
    WARM = 1
    #: only in flash
    COLD = 2
    #: has a frame that its page is being read into
    PROMOTING = 3
    #: in a frame it is about to lose
    DEMOTING = 4


#: flag bits of an entry in the order of the layout, and of the flags field of an event record
FLAGS = ("dirty", "pinned", "announced", "touched", "prefetched")


def entry_fields(config):
    """((field, bits), ...) of a metadata entry, lowest bits first; 64 bits in all."""
    return (
        ("ema", EMA_BITS), ("step", config.step_bits), ("frame", config.frame_bits), ("state", 3),
        *((flag, 1) for flag in FLAGS),
    )  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One block. `ema` is UQ0.20; `step` is the step of the last event (hint or touch).

    `announced` and `touched` say something only while `step` is the current step.
    """

    ema: int = 0
    step: int = 0
    frame: int = 0
    state: State = State.ABSENT
    dirty: bool = False
    pinned: bool = False
    announced: bool = False
    touched: bool = False
    prefetched: bool = False

    @property
    def flags(self):
        """The five flags as an integer, `dirty` lowest."""
        return self.dirty | self.pinned << 1 | self.announced << 2 | self.touched << 3 | self.prefetched << 4

    @property
    def resident(self):
        """Whether the frame holds the block's current data."""
        return self.state in (State.WARM, State.DEMOTING)

    def protected(self, now):
        """Announced for this step and not yet touched: kept unless nothing else is left."""
        return self.step == now and self.announced and not self.touched


class SlotKind(IntEnum):
    """What a slot of the metadata pipeline is."""

    #: a Req that needs the block in a frame (MemRd, MemInv that asks for ownership); a MemWr or MemWrPtl to a block
    READ = 0
    WRITE = 1
    #: one block of a hint line
    HINT = 2
    #: a READ or WRITE that missed, again, after the miss was resolved
    REPLAY_READ = 3
    REPLAY_WRITE = 4
    #: a missed READ served from a bypass slot, named by `frame`
    BYPASS_READ = 5
    #: a message that concerns no block: `outcome` says why; also the end of every hint line
    ANSWER = 6
    #: cold -> promoting into `frame`
    PROMOTE = 7
    #: absent -> warm in `frame`
    ALLOCATE = 8
    #: promoting -> warm
    FILL = 9
    #: warm -> demoting
    DEMOTE = 10
    #: demoting -> cold, and the frame is free
    EVICT = 11
    #: demoting -> warm: the page could not be written
    RESTORE = 12
    PIN = 13
    UNPIN = 14
    #: the block that a prefetch has opened a miss for: is it cold?
    PREFETCH = 15
    #: a Req by which a host gives up a line that it may have cached: MemClnEvct, MemInv Meta0 I
    RELEASE = 16


class Outcome(IntEnum):
    """What came of a slot."""

    #: engine slot, hint: done
    DONE = 0
    #: found the block in a frame
    HIT = 1
    #: found it cold or promoting: handed to the miss table
    MISS = 2
    #: write of an absent block: handed to the miss table, which allocates
    FIRST_WRITE = 3
    #: read of an absent block: zeros
    ZEROS = 4
    #: a second hint in one step; an engine slot that the entry's state has overtaken
    IGNORED = 5
    #: a Req that waits for a snoop that covers its line
    HELD_LINE = 6
    #: a Req that waits for a way of the snoop filter, or for a snoop of other lines of its sector; a MemRd SnpCur also
    #: for a snoop of its line that did not begin with it
    HELD_WAY = 7
    #: some are the `outcome` of an ANSWER slot, given by the front end
    NXM = 8
    COMPLETED = 9
    DROPPED = 10
    CACHEABLE = 11
    ILLEGAL = 12
    CONFLICT = 13
    HINT_DONE = 16
    HINT_STALE = 17
    HINT_MALFORMED = 18
    HINT_EXHAUSTED = 19
    #: an access to the hint window that is not a MemWr: reads give zeros, the rest is completed and dropped
    WINDOW = 20
    #: a write, or a read that may be cached, that needs a frame while flash cannot be written: a write is completed and
    #: dropped, the rest is answered as outside every region
    UNWRITABLE = 21
    #: a Req that waits for a place in the snoop table
    HELD_TABLE = 22
    #: a write-back by a host that, as the filter knows, does not own the line: completed and dropped
    NOT_OWNER = 23
    #: a write by a host that does not own the line to a region that hosts share: completed and dropped
    SHARED_WRITE = 24

    @property
    def held(self):
        """The request is tried again later; nothing has happened to the entry."""
        return self in (Outcome.HELD_LINE, Outcome.HELD_WAY, Outcome.HELD_TABLE)


class DataKind(IntEnum):
    """What the datapath does for a slot."""

    #: nothing: the slot is of an engine, or went to the miss table
    NONE = 0
    #: read the line: NDR Cmp and DRS MemData
    READ = 1
    #: write the line from the write slot: NDR Cmp
    WRITE = 2
    #: NDR Cmp and DRS MemData of zeros
    ZEROS = 3
    #: DRS MemData-NXM of all ones
    NXM = 4
    #: NDR Cmp
    COMPLETE = 5
    #: NDR BI-ConflictAck
    ACK = 6
    #: no response: only the read or write slot is freed
    DISCARD = 7


@dataclass(frozen=True)
class Slot:
    """One slot: `rwd` says whether the message came as RwD (else Req), `access` what `host` asks of the snoop filter.

    `value` is a hint's score, a header's step, or 1 for a PROMOTE that nobody waits for (a prefetch).
    """

    kind: SlotKind
    rwd: bool = False
    tag: int = 0
    head: int = 0
    block: int = 0
    line: int = 0
    value: int = 0
    frame: int = 0
    outcome: Outcome = Outcome.DONE
    access: Access = Access.PLAIN
    host: int = 0
    retry: Retry = Retry.NO


@dataclass(frozen=True)
class Commit:
    """What `commit` returns. `touch`: this was the block's first demand access of the step."""

    entry: Entry
    outcome: Outcome
    data: DataKind
    touch: bool = False
    #: a hint or a touch: the entry's key may have changed
    event: bool = False
    #: the snoop filter changes as its verdict says
    filtered: bool = False
    #: how a Req is completed
    grant: Grant = Grant.CMP


@dataclass(frozen=True)
class _PlainVerdict:
    """What the snoop filter says of a slot that does not concern it."""

    held: None = None
    owner: bool = True
    grant: Grant = Grant.CMP


PLAIN_VERDICT = _PlainVerdict()

#: engine slot -> the state that it expects, and what it makes of the entry besides its frame
_TRANSITIONS = {
    SlotKind.PROMOTE: (State.COLD, {"state": State.PROMOTING}),
    # dirty: flash has no page of it yet
    SlotKind.ALLOCATE: (State.ABSENT, {"state": State.WARM, "dirty": True}),
    SlotKind.FILL: (State.PROMOTING, {"state": State.WARM}),
    SlotKind.DEMOTE: (State.WARM, {"state": State.DEMOTING}),
    SlotKind.EVICT: (State.DEMOTING, {"state": State.COLD, "dirty": False}),
    SlotKind.RESTORE: (State.DEMOTING, {"state": State.WARM}),
}


def _changed(entry, **changes):
    """`dataclasses.replace` of an entry without its costs: this is the inner loop of the golden model."""
    after = object.__new__(Entry)
    after.__dict__.update(entry.__dict__, **changes)
    return after


def _to_now(entry, now, lam):
    """The entry brought to the current step."""
    if entry.step == now:
        return entry
    return _changed(entry, ema=decay(entry.ema, now - entry.step, lam), step=now, announced=False, touched=False)


def _scored(entry, alpha, value):
    return _changed(entry, ema=min((1 << EMA_BITS) - 1, entry.ema + increment(alpha, value)))


def _answer_data(outcome, rwd, read):
    if outcome == Outcome.CONFLICT:
        return DataKind.ACK
    if outcome in (Outcome.DROPPED, Outcome.CACHEABLE, Outcome.ILLEGAL):
        return DataKind.DISCARD
    if read and outcome in (Outcome.NXM, Outcome.UNWRITABLE):
        return DataKind.NXM
    if read and outcome == Outcome.WINDOW:
        return DataKind.ZEROS
    return DataKind.COMPLETE


def _filtered(entry, verdict, concerns_filter):
    """The `Commit` of an access that the snoop filter holds or refuses; None: it goes on."""
    if not verdict.owner:
        return Commit(entry, Outcome.NOT_OWNER, DataKind.COMPLETE)
    if verdict.held is not None and concerns_filter:
        return Commit(entry, verdict.held, DataKind.NONE, filtered=True)
    return None


def commit(entry, slot, now, policy, verdict=PLAIN_VERDICT):
    """Apply `slot` to `entry` at step `now`.

    `verdict` is what the snoop filter says (`golden.coherency.filter.Verdict`: `held`, `owner`, `grant`). A block that
    has no frame misses whatever the filter says; a held request changes nothing but the filter's row. `policy` has
    `alpha` (UQ0.16), `lam` (UQ4.20), `score` (`ScoreSource`). An ANSWER slot of a read has `value` bit 0 set; every
    other field of an entry that a rule below does not name stays as it is. Engine slots do not bring the entry to
    now: they are no events, and `lru` ranks by the step of the last event.
    """
    kind = slot.kind
    if kind == SlotKind.ANSWER:
        read = not slot.rwd and bool(slot.value & 1)
        return Commit(entry, slot.outcome, _answer_data(slot.outcome, slot.rwd, read))

    if kind == SlotKind.HINT:
        fresh = _to_now(entry, now, policy.lam)
        if fresh.announced:
            return Commit(entry, Outcome.IGNORED, DataKind.NONE)
        if policy.score == ScoreSource.MASS:
            fresh = _scored(fresh, policy.alpha, slot.value)
        elif policy.score == ScoreSource.ANNOUNCED:
            fresh = _scored(fresh, policy.alpha, 0xFFFF)
        return Commit(_changed(fresh, announced=True), Outcome.DONE, DataKind.NONE, event=True)

    if kind in (SlotKind.READ, SlotKind.WRITE):
        write = kind == SlotKind.WRITE
        filtered, grant = _filtered(entry, verdict, entry.resident or entry.state == State.ABSENT), verdict.grant
        if filtered is not None:
            return filtered
        wants_data = slot.access != Access.OWN
        if entry.state == State.ABSENT and not write:
            data = DataKind.ZEROS if wants_data else DataKind.COMPLETE
            return Commit(entry, Outcome.ZEROS, data, filtered=True, grant=grant)
        # What a host does with its own copy is no access of the model to the block.
        counts = slot.access not in (Access.OWN, Access.WRITE_BACK, Access.WRITE_KEEP)
        touch = counts and (entry.step != now or not entry.touched)
        after = entry
        if touch:
            after = _to_now(entry, now, policy.lam)
            first = entry.state == State.ABSENT
            # The first write counts as announced: under score source `announced` it is scored unless a hint was.
            if policy.score == ScoreSource.ACCESS or (
                first and policy.score == ScoreSource.ANNOUNCED and not after.announced
            ):
                after = _scored(after, policy.alpha, 0xFFFF)
                after = _changed(after, announced=after.announced or first)
            after = _changed(after, touched=True)
        if entry.state == State.ABSENT:
            # Its second and later writes arrive here too while the miss table still allocates the frame.
            return Commit(after, Outcome.FIRST_WRITE, DataKind.NONE, touch, touch)
        if entry.resident:
            dirty = entry.dirty or write
            # Most accesses find the entry as they would leave it.
            if after.state != State.WARM or after.dirty != dirty or after.prefetched:
                after = _changed(after, state=State.WARM, dirty=dirty, prefetched=False)
            data = DataKind.WRITE if write else DataKind.READ if wants_data else DataKind.COMPLETE
            return Commit(after, Outcome.HIT, data, touch, touch, filtered=True, grant=grant)
        if after.prefetched:
            # It comes too late to hide all of the miss.
            after = _changed(after, prefetched=False)
        return Commit(after, Outcome.MISS, DataKind.NONE, touch, touch)

    if kind in (SlotKind.REPLAY_READ, SlotKind.REPLAY_WRITE):
        write = kind == SlotKind.REPLAY_WRITE
        filtered = _filtered(entry, verdict, entry.resident)
        if filtered is not None:
            return filtered
        if entry.resident:
            after = _changed(entry, state=State.WARM, dirty=entry.dirty or write, prefetched=False)
            data = DataKind.COMPLETE if slot.access == Access.OWN else DataKind.WRITE if write else DataKind.READ
            return Commit(after, Outcome.HIT, data, filtered=True, grant=verdict.grant)
        return Commit(entry, Outcome.MISS, DataKind.NONE)

    if kind == SlotKind.BYPASS_READ:
        return Commit(entry, Outcome.DONE, DataKind.READ)

    if kind == SlotKind.RELEASE:
        if verdict.held is not None:
            return Commit(entry, verdict.held, DataKind.NONE, filtered=True)
        return Commit(entry, Outcome.DONE, DataKind.COMPLETE, filtered=True, grant=verdict.grant)

    if kind in (SlotKind.PIN, SlotKind.UNPIN):
        return Commit(_changed(entry, pinned=kind == SlotKind.PIN), Outcome.DONE, DataKind.NONE)

    if kind == SlotKind.PREFETCH:
        return Commit(entry, Outcome.DONE if entry.state == State.COLD else Outcome.IGNORED, DataKind.NONE)

    expects, becomes = _TRANSITIONS[kind]
    if entry.state != expects:
        return Commit(entry, Outcome.IGNORED, DataKind.NONE)
    if kind in (SlotKind.PROMOTE, SlotKind.ALLOCATE):
        prefetched = kind == SlotKind.PROMOTE and bool(slot.value & 1)
        after = _changed(entry, frame=slot.frame, prefetched=prefetched, **becomes)
        return Commit(after, Outcome.DONE, DataKind.NONE)
    if kind == SlotKind.EVICT:
        becomes = becomes | {"prefetched": False}
    return Commit(_changed(entry, **becomes), Outcome.DONE, DataKind.NONE)
