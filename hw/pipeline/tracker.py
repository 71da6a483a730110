"""Per-head counters of what the metadata pipeline commits."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import EMA_BITS
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind, State
from kv_endpoint.golden.pipeline.tracker import COUNTER_BITS, MEAN_SHIFT
from kv_endpoint.hw.common import layouts

__all__ = ["Tracker", "head_counters"]


def _held_bits(config):
    return config.blocks_per_head.bit_length()


def _stored(config):
    """A head's counters as the RAM keeps them: `touches` is the sum of the other three, modulo 2^32 as well."""
    return data.StructLayout(
        {
            "hits": COUNTER_BITS,
            "misses": COUNTER_BITS,
            "first_writes": COUNTER_BITS,
            "frames_held": _held_bits(config),
            "evictions": COUNTER_BITS,
            "score_mean": EMA_BITS,
        }
    )


def head_counters(config):
    """The counters of one head (`golden.pipeline.tracker.HeadCounters`)."""
    return data.StructLayout({"touches": COUNTER_BITS, **_stored(config).members})


class Tracker(wiring.Component):
    """Counts touches, frames and scores of each head, from the commit broadcast.

    Takes one commit a clock, back-to-back commits of one head included; `golden.pipeline.tracker.track` says what
    each does. A commit shows in `counters` 4 clocks later. After reset a sweep clears the RAM in `heads` clocks,
    during which the counters read as 0 and there must be no commit (the metadata table's own sweep takes longer).

    Members
    -------
    commit : In(layouts.commit)
        What the metadata pipeline commits in this clock.
    head : In(head_bits)
    counters : Out(head_counters(config))
        The counters of `head`, 2 clocks later.
    ready : Out(1)
        The RAM is clear.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "head": In(config.head_bits),
                "counters": Out(head_counters(config)),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        stored = _stored(config)

        m.submodules.memory = memory = Memory(shape=stored, depth=config.heads, init=[])
        write = memory.write_port()
        update = memory.read_port(transparent_for=(write,))
        inspect = memory.read_port(transparent_for=(write,))

        # Clock 0: the commit's head goes to the RAM. Clock 1: its counters are there, unless the commit just ahead is
        # of the same head: then what that one computes now is newer. Clock 2: new counters, written at its end.
        read_commit = Signal(layouts.commit(config))
        old_commit = Signal(layouts.commit(config))
        old = Signal(stored)
        new = Signal(stored)
        m.d.comb += update.addr.eq(self.commit.slot.head)
        m.d.sync += [read_commit.eq(self.commit), old_commit.eq(read_commit)]
        ahead_is_same = old_commit.valid & (old_commit.slot.head == read_commit.slot.head)
        m.d.sync += old.eq(Mux(ahead_is_same, new, update.data))

        self._count(m, old_commit, old, new)

        clearing = Signal(range(config.heads + 1))
        m.d.comb += self.ready.eq(clearing == config.heads)
        with m.If(self.ready):
            m.d.comb += [write.en.eq(old_commit.valid), write.addr.eq(old_commit.slot.head), write.data.eq(new)]
        with m.Else():
            m.d.sync += clearing.eq(clearing + 1)
            m.d.comb += [write.en.eq(1), write.addr.eq(clearing), write.data.eq(0)]

        found = Signal(stored)
        m.d.comb += [inspect.addr.eq(self.head), found.eq(inspect.data)]
        with m.If(self.ready):
            m.d.sync += self.counters.touches.eq(found.hits + found.misses + found.first_writes)
            for name in stored.members:
                m.d.sync += self.counters[name].eq(found[name])
        return m

    def _count(self, m, commit, old, new):
        """What `commit` makes of the counters `old`."""

        def holds_frame(state):
            return (state == State.WARM) | (state == State.PROMOTING)

        hit, miss = commit.outcome == Outcome.HIT, commit.outcome == Outcome.MISS
        changed = commit.before.state != commit.after.state
        mean_step = Signal(signed(EMA_BITS + 1))
        m.d.comb += [
            new.hits.eq(old.hits + (commit.touch & hit)),
            new.misses.eq(old.misses + (commit.touch & miss)),
            new.first_writes.eq(old.first_writes + (commit.touch & ~hit & ~miss)),
            new.frames_held.eq(old.frames_held + holds_frame(commit.after.state) - holds_frame(commit.before.state)),
            new.evictions.eq(old.evictions + (changed & (commit.slot.kind == SlotKind.EVICT))),
            mean_step.eq((commit.after.ema - old.score_mean) >> MEAN_SHIFT),
            new.score_mean.eq(Mux(commit.touch, old.score_mean + mean_step, old.score_mean)),
        ]
