"""The endpoint-wide counters of the register block."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.csr import COUNTERS
from hw import layouts

__all__ = ["EndpointCounters"]

_BITS = 32


class EndpointCounters(wiring.Component):
    """Counts slot outcomes (`golden.csr.counted`) and stalled clocks, modulo 2^32.

    One commit a clock; it shows in `counts` 3 clocks later.

    Members
    -------
    commit : In(layouts.commit)
        What the metadata pipeline commits in this clock.
    stalled : In(1)
        A full event port holds the endpoint back in this clock.
    counts : Out
        One 32-bit number for each of `golden.csr.COUNTERS`, and `EVENT_STALLS`.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "stalled": In(1),
                "counts": Out(data.StructLayout(dict.fromkeys((*COUNTERS, "EVENT_STALLS"), _BITS))),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # The broadcast has many listeners: it gets a clock to arrive, and matching one of its own.
        valid, touch, stalled = Signal(), Signal(), Signal()
        kind = Signal.like(self.commit.slot.kind)
        outcome = Signal.like(self.commit.outcome)
        m.d.sync += [
            valid.eq(self.commit.valid),
            touch.eq(self.commit.touch),
            kind.eq(self.commit.slot.kind),
            outcome.eq(self.commit.outcome),
            stalled.eq(self.stalled),
        ]

        for name, (kinds, outcomes, touches_only) in COUNTERS.items():
            increment = Signal(name=f"increment_{name.lower()}")
            m.d.sync += [
                increment.eq(valid & kind.matches(*kinds) & outcome.matches(*outcomes) & (touch | (not touches_only))),
                self.counts[name].eq(self.counts[name] + increment),
            ]
        increment = Signal(name="increment_event_stalls")
        m.d.sync += [increment.eq(stalled), self.counts.EVENT_STALLS.eq(self.counts.EVENT_STALLS + increment)]
        return m
