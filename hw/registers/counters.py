"""The endpoint-wide counters of the register block."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.line_access import Grant
from kv_endpoint.golden.registers.rules import COUNTERS, WRITE_BACKS, Only
from kv_endpoint.hw.common import layouts

__all__ = ["PULSES", "EndpointCounters"]

_BITS = 32
#: counters of what is no slot
PULSES = (
    "EVENT_STALLS", "PREFETCH_QUEUED", "PREFETCH_DROPPED", "BISNP", "BIRSP", "RECALLS", "BAD_BIRSP", "SNOOP_TIMEOUTS",
)  # fmt: skip


class EndpointCounters(wiring.Component):
    """Counts slot outcomes (`golden.registers.rules.counted`) and stalled clocks, modulo 2^32.

    One commit a clock; it shows in `counts` 3 clocks later.

    Members
    -------
    commit : In(layouts.commit)
        What the metadata pipeline commits in this clock.
    stalled : In(1)
        A full event port holds the endpoint back in this clock.
    prefetches : In(layouts.prefetch_counts), bi_events : In(bi_events)
    counts : Out
        One 32-bit number for each of `golden.registers.rules.COUNTERS`, and those of the other inputs.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "stalled": In(1),
                "prefetches": In(layouts.prefetch_counts()),
                "bi_events": In(layouts.bi_events()),
                "counts": Out(data.StructLayout(dict.fromkeys((*COUNTERS, *PULSES), _BITS))),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # The broadcast has many listeners: it gets a clock to arrive, and matching one of its own.
        valid, touch, stalled, prefetched, prefetch = (Signal() for _ in range(5))
        kind = Signal.like(self.commit.slot.kind)
        outcome = Signal.like(self.commit.outcome)
        grant = Signal.like(self.commit.grant)
        access = Signal.like(self.commit.slot.access)
        m.d.sync += [
            valid.eq(self.commit.valid),
            touch.eq(self.commit.touch),
            prefetched.eq(self.commit.before.prefetched),
            prefetch.eq(self.commit.after.prefetched),
            kind.eq(self.commit.slot.kind),
            outcome.eq(self.commit.outcome),
            grant.eq(self.commit.grant),
            access.eq(self.commit.slot.access),
            stalled.eq(self.stalled),
        ]

        conditions = {
            Only.ALL: 1,
            Only.TOUCH: touch,
            Only.PREFETCHED: prefetched,
            Only.PREFETCH: prefetch,
            Only.SHARED: grant == Grant.CMP_S,
            Only.EXCLUSIVE: grant == Grant.CMP_E,
            Only.WRITE_BACK: access.matches(*WRITE_BACKS),
        }
        for name, (kinds, outcomes, only) in COUNTERS.items():
            increment = Signal(name=f"increment_{name.lower()}")
            m.d.sync += [
                increment.eq(valid & kind.matches(*kinds) & outcome.matches(*outcomes) & conditions[only]),
                self.counts[name].eq(self.counts[name] + increment),
            ]
        events = self.bi_events
        pulses = (
            stalled, self.prefetches.queued, self.prefetches.dropped, events.snoop, events.answer, events.recall,
            events.bad_birsp, events.timed_out,
        )  # fmt: skip
        for name, pulse in zip(PULSES, pulses, strict=True):
            increment = Signal(name=f"increment_{name.lower()}")
            m.d.sync += [increment.eq(pulse), self.counts[name].eq(self.counts[name] + increment)]
        return m
