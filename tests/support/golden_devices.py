"""Devices for tests of the golden endpoint: one serves requests at once, the other's records are made by hand."""

import copy

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.policy import Policy, Priority
from kv_endpoint.golden.endpoint import Endpoint
from kv_endpoint.golden.events.port import EngineKind, Lane, pack, unpack
from kv_endpoint.golden.follow.follower import Follower
from kv_endpoint.golden.pipeline.metadata import Outcome, Slot, SlotKind

__all__ = ["LRU", "TINY", "Device", "Scripted"]

TINY = preset("tiny")
LRU = Policy(priority=Priority.LRU, protect=False, bypass=False)


class Device(Endpoint):
    """A standalone endpoint that keeps its records."""

    def __init__(self, *, policy=None, pool_frames=None):
        self.records = []
        self.policy, self.pool_frames = policy, pool_frames
        super().__init__(
            TINY,
            policy=policy,
            pool_frames=pool_frames,
            on_record=lambda lane, record: self.records.append((lane, record)),
        )

    def notes(self, kind):
        """(head, block) of every note of a kind."""
        return [(r["head"], r["block"]) for lane, r in self.records if lane == Lane.ENGINE and r["kind"] == kind]

    def victims(self):
        return self.notes(EngineKind.VICTIM)

    def state(self, head, block):
        return self.follower.entry(head, block).state

    def write_all(self, *where):
        """First writes: the blocks are warm and touched in this step."""
        for head, block in where:
            assert self.write(head, block) == Outcome.FIRST_WRITE

    @classmethod
    def full(cls, policy, frames=3):
        """At step 1, the pool full with blocks 0 .. of head 0; block 9 was written before them and is cold."""
        device = cls(policy=policy, pool_frames=frames)
        device.hint(0, [], 0)
        device.write_all((0, 9))
        device.hint(0, [], 1)
        device.write_all(*((0, block) for block in range(frames)))
        return device


class Scripted:
    """Goes on where `device` stopped, record by record. All of it is about head 0.

    `golden` has committed the slots, so that their records are right; `checker` follows the records.
    """

    def __init__(self, device):
        self.golden = copy.deepcopy(device.follower)
        self.checker = Follower(TINY, policy=device.policy, pool_frames=device.pool_frames)
        self._sequence = 0
        for lane, record in device.records:
            self._feed(lane, record)

    def slot(self, kind, block=0, **fields):
        slot = Slot(kind, block=block, **fields)
        before, result = self.golden.slot(slot)
        self._feed(Lane.SLOT, self.golden.slot_record(slot, before, result))
        return result.outcome

    def note(self, kind, block=0, *, frame=0, key=0, aux=0):
        record = {"kind": kind, "head": 0, "block": block, "frame": frame, "key": key, "aux": aux}
        self.golden.note(kind, record)
        self._feed(Lane.ENGINE, record)

    def _feed(self, lane, record):
        record = {"sequence": self._sequence} | record
        self.checker.check(lane, unpack(TINY, lane, pack(TINY, lane, **record)))
        self._sequence += 1

    def step(self, step):
        self.note(EngineKind.STEP, aux=step)
        self.slot(SlotKind.ANSWER, rwd=True, value=step, outcome=Outcome.HINT_DONE)

    def miss(self, kind, block, tag):
        """A request that misses, and its miss opens."""
        self.slot(kind, block, rwd=kind == SlotKind.WRITE, tag=tag)
        self.note(EngineKind.MISS_OPEN, block, aux=kind == SlotKind.WRITE)

    def victim(self, block, *, write=True):
        """The block is told to leave."""
        entry = self.checker.entry(0, block)
        self.note(EngineKind.VICTIM, block, frame=entry.frame, key=self.checker.key_of(entry), aux=int(write))

    def demote(self, block):
        self.victim(block)
        self.slot(SlotKind.DEMOTE, block)

    def page_write(self, block, *, failed=False):
        """The page of a demoting block is written, or not."""
        tag, frame = self.checker.page_write_tag, self.checker.entry(0, block).frame
        self.note(EngineKind.PAGE_WRITE, block, frame=frame, aux=tag)
        self.note(EngineKind.PAGE_WRITE_DONE, block, frame=frame, aux=tag << 1 | failed)
