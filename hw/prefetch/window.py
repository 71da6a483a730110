"""The window of every head, learned from what became of its prefetches; and which touches ask for neighbours."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.golden.prefetch.window import PROBE_TOUCHES, ROUND, ROUND_GOOD, ROUND_POOR, WINDOW_MAX, WINDOW_START
from kv_endpoint.hw.common import layouts

__all__ = ["PrefetchWindow", "near_request"]

_WINDOW_BITS = WINDOW_MAX.bit_length()


def near_request(config):
    """The blocks within `window` (at least 1) of a block are to be looked at."""
    return data.StructLayout(
        {"head": config.head_bits, "block": config.block_bits, "mode": 1, "window": range(WINDOW_MAX + 1)}
    )


class PrefetchWindow(wiring.Component):
    """Follows `golden.prefetch.window.HeadWindow` for each head, in RAM. One commit a clock, also of one head in a row.

    A commit shows in the RAM, and asks, 2 clocks later. After reset a sweep sets every window to its start, one head a
    clock; there must be no commit before that is done (the metadata table's own sweep takes longer).

    Members
    -------
    commit : In(commit)
    now : In(step)
    ask : In(1)
        In the clock of a commit: a touch in its region may ask for neighbours.
    near_valid : Out(1), near : Out(near_request)
        A touch asks; nobody can hold it back.
    inspect_head : In(head), inspect_window : Out(8)
        The window of a head, 1 clock later.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "now": In(config.step_bits),
                "ask": In(1),
                "near_valid": Out(1),
                "near": Out(near_request(config)),
                "inspect_head": In(config.head_bits),
                "inspect_window": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, commit = self._config, self.commit
        stored = data.StructLayout(
            {
                "window": range(WINDOW_MAX + 1),
                "issued": range(ROUND),
                "useful": range(ROUND_GOOD + 1),
                "quiet": range(PROBE_TOUCHES),
            }
        )
        where = {"valid": 1, "head": config.head_bits, "block": config.block_bits, "mode": 1, "ask": 1}

        m.submodules.memory = memory = Memory(shape=stored, depth=config.heads, init=[])
        write = memory.write_port()
        update = memory.read_port(transparent_for=(write,))
        inspect = memory.read_port(transparent_for=(write,))

        # Clock 0: the commit; its head goes to the RAM. Clock 1: what it means, and the head's state, unless the commit
        # just ahead is of the same head: then what that one computes now is newer. Clock 2: the new state.
        seen = Signal(
            data.StructLayout(
                where | {"access": 1, "promote": 1, "prefetched": 1, "announced": 1, "at_now": 1}
            )
        )  # fmt: skip
        meant = Signal(data.StructLayout(where | {"useful": 1, "issued": 1}))
        old = Signal(stored)
        new = Signal(stored)
        kind = commit.slot.kind
        # A request that is held is an access when it is let go.
        held = commit.outcome.matches(*(outcome for outcome in Outcome if outcome.held))
        counts = seen.valid & ~(seen.announced & seen.at_now)
        m.d.comb += update.addr.eq(commit.slot.head)
        m.d.sync += [
            seen.valid.eq(commit.valid),
            seen.head.eq(commit.slot.head),
            seen.block.eq(commit.slot.block),
            seen.mode.eq(commit.slot.mode),
            seen.ask.eq(commit.touch & self.ask),
            seen.access.eq(kind.matches(SlotKind.HINT, SlotKind.READ, SlotKind.WRITE) & ~held),
            seen.promote.eq((kind == SlotKind.PROMOTE) & (commit.outcome == Outcome.DONE) & commit.slot.value[0]),
            seen.prefetched.eq(commit.before.prefetched),
            seen.announced.eq(commit.before.announced),
            seen.at_now.eq(commit.before.step == self.now),
            meant.valid.eq(seen.valid),
            meant.head.eq(seen.head),
            meant.block.eq(seen.block),
            meant.mode.eq(seen.mode),
            meant.ask.eq(seen.valid & seen.ask),
            meant.useful.eq(counts & seen.access & seen.prefetched),
            meant.issued.eq(counts & seen.promote),
            old.eq(Mux(meant.valid & (meant.head == seen.head), new, update.data)),
        ]

        at_zero = old.window == 0
        m.d.comb += [
            new.eq(old),
            self.near_valid.eq(meant.ask & (~at_zero | (old.quiet == PROBE_TOUCHES - 1))),
            self.near.head.eq(meant.head),
            self.near.block.eq(meant.block),
            self.near.mode.eq(meant.mode),
            self.near.window.eq(Mux(at_zero, 1, old.window)),
        ]
        with m.If(meant.useful & (old.useful != ROUND_GOOD)):
            m.d.comb += new.useful.eq(old.useful + 1)
        with m.If(meant.ask & at_zero):
            m.d.comb += new.quiet.eq(old.quiet + 1)
        with m.If(meant.issued):
            m.d.comb += new.issued.eq(old.issued + 1)
            with m.If(old.issued == ROUND - 1):
                m.d.comb += new.useful.eq(0)
                with m.If((old.useful >= ROUND_GOOD) & (old.window != WINDOW_MAX)):
                    m.d.comb += new.window.eq(old.window + 1)
                with m.If((old.useful < ROUND_POOR) & ~at_zero):
                    m.d.comb += new.window.eq(old.window - 1)

        clearing = Signal(range(config.heads + 1))
        ready = clearing == config.heads
        with m.If(ready):
            m.d.comb += [write.en.eq(meant.valid), write.addr.eq(meant.head), write.data.eq(new)]
        with m.Else():
            m.d.sync += clearing.eq(clearing + 1)
            m.d.comb += [write.en.eq(1), write.addr.eq(clearing), write.data.window.eq(WINDOW_START)]

        m.d.comb += [
            inspect.addr.eq(self.inspect_head),
            self.inspect_window.eq(Mux(ready, inspect.data.window, WINDOW_START)),
        ]
        return m
