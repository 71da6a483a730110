"""What records say of a set of blocks: touches and what they found, evictions, page moves."""

from collections import Counter
from dataclasses import dataclass, field

from kv_endpoint.golden.events.port import EngineKind
from kv_endpoint.golden.pipeline.metadata import Outcome

__all__ = ["BlockStatistics"]


@dataclass
class BlockStatistics:
    """Counts so far. `touches` has the (head, block) of every touch in commit order; `engine` counts notes by kind."""

    engine: Counter = field(default_factory=Counter)
    touches: list = field(default_factory=list)
    touch_outcomes: Counter = field(default_factory=Counter)

    def touch(self, fields):
        """Count a slot that is a touch."""
        self.touches.append((fields["head"], fields["block"]))
        self.touch_outcomes[fields["outcome"]] += 1

    @property
    def hits(self):
        return self.touch_outcomes[Outcome.HIT]

    @property
    def misses(self):
        return self.touch_outcomes[Outcome.MISS]

    @property
    def first_writes(self):
        return self.touch_outcomes[Outcome.FIRST_WRITE]

    @property
    def hit_rate(self):
        """Of the touches that are hit or miss; None before the first."""
        demand = self.hits + self.misses
        return self.hits / demand if demand else None

    @property
    def evictions(self):
        return self.engine[EngineKind.VICTIM]

    @property
    def bypasses(self):
        return self.engine[EngineKind.BYPASS]

    @property
    def pages_read(self):
        return self.engine[EngineKind.PAGE_READ]

    @property
    def pages_written(self):
        return self.engine[EngineKind.PAGE_WRITE]
