"""What a run's event records say about it: touches, evictions, prefetches, phases, page moves, errors.

Fed with unpacked records in commit order, the same ones that the golden endpoint checks.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from kv_endpoint.golden.common.line_access import Access, Grant
from kv_endpoint.golden.events.port import EngineKind, ErrorKind, Lane, Phase
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.sim.results.block_statistics import BlockStatistics
from kv_endpoint.sim.results.prefetches import Prefetches

__all__ = ["Statistics"]

#: evictions that are remembered one by one
LAST_VICTIMS = 3
#: the region of a run's heads
REGION = 0
#: the slots that stand for a message of the host, once each (but see UNWRITABLE below)
MESSAGES = (SlotKind.READ, SlotKind.WRITE, SlotKind.ANSWER, SlotKind.RELEASE)
#: answers that are not of a request: UNWRITABLE is of a WRITE that has been counted when it missed
_NOT_COUNTED = (Outcome.UNWRITABLE, Outcome.CONFLICT)
_CACHING = frozenset(access for access in Access if access.caches)
#: what a request is completed with
_SERVED = (Outcome.HIT, Outcome.ZEROS)
#: answers of what a workload sends on purpose
_WANTED = (Outcome.HINT_DONE, Outcome.CONFLICT)


@dataclass
class Statistics(BlockStatistics):
    """Counts so far, of all blocks; `apart` are heads that hold something other than KV.

    What concerns the blocks of these counts in `others` too, but not in `touches`, `touch_outcomes` and what follows
    from them, nor in `last_victims`, nor in the same fates of `prefetches`.

    `last_victims` has the latest evictions: step, head, block, key (the lowest among all that could leave), the head
    that needed the frame, and whether the block was announced and not yet read (waived). `phase` is that of region 0,
    which holds the whole KV cache; `steps_in` counts the steps that began in each, `phase_changes` its changes.
    `grants` counts the requests after which the host may hold the line, by their `Grant`.
    """

    slots: int = 0
    notes: int = 0
    requests: int = 0
    errors: Counter = field(default_factory=Counter)
    last_victims: deque = field(default_factory=lambda: deque(maxlen=LAST_VICTIMS))
    step: int = 0
    prefetches: Prefetches = field(init=False)
    phase: Phase = Phase.DECODE
    steps_in: Counter = field(default_factory=Counter)
    phase_changes: int = 0
    grants: Counter = field(default_factory=Counter)
    apart: Sequence = ()
    others: BlockStatistics = field(default_factory=BlockStatistics)

    def __post_init__(self):
        self.prefetches = Prefetches(self.apart)

    def record(self, lane, fields):
        """Count one record."""
        if lane == Lane.SLOT:
            self._slot(fields)
        else:
            self._note(fields)

    def _slot(self, fields):
        self.slots += 1
        kind, outcome = fields["kind"], fields["outcome"]
        asked_first = not fields["retry"] and outcome not in _NOT_COUNTED
        self.requests += kind in MESSAGES and asked_first
        if fields["access"] in _CACHING and outcome in _SERVED:
            self.grants[Grant(fields["grant"])] += 1
        if kind == SlotKind.ANSWER and outcome not in _WANTED:
            # A workload sends nothing that the endpoint would have to refuse, complete or drop.
            self.errors[Outcome(outcome).name.lower()] += 1
        if kind != SlotKind.ANSWER:
            self.prefetches.slot(fields)
        if fields["touch"]:
            (self.others if fields["head"] in self.apart else self).touch(fields)

    def _note(self, fields):
        self.notes += 1
        kind = fields["kind"]
        self.engine[kind] += 1
        if fields["head"] in self.apart:
            self.others.engine[kind] += 1
        self.prefetches.note(fields)
        if kind == EngineKind.STEP:
            self.step = fields["aux"]
            self.steps_in[self.phase] += 1
        elif kind == EngineKind.PHASE and fields["key"] == REGION:
            self.phase = Phase(fields["aux"])
            self.phase_changes += 1
        elif kind == EngineKind.VICTIM and fields["head"] not in self.apart:
            self.last_victims.append(
                {
                    "step": self.step,
                    "head": fields["head"],
                    "block": fields["block"],
                    "key": fields["key"],
                    "for_head": fields["aux"] >> 8,
                    "waived": bool(fields["aux"] & 2),
                }
            )
        elif kind == EngineKind.ERROR:
            self.errors[ErrorKind(fields["key"]).name.lower()] += 1
        elif kind == EngineKind.REFUSAL:
            self.errors["refusal"] += 1

    @property
    def events(self):
        return self.slots + self.notes

    @property
    def recalls(self):
        """Sectors that were asked back so that their block may leave."""
        return self.engine[EngineKind.BI_RECALL]
