"""Keeps new requests out while one that was held often waits, so that each request ends at last."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.line_access import Retry
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.common import layouts

__all__ = ["HOLDS", "PATIENCE", "StarvationGuard"]

#: times that a request is held before it is overdue
HOLDS = 64
#: clocks; a host that answers snoops sooner than that is fair, one that never does must not close the door for good
PATIENCE = 1 << 16

_HELD = tuple(outcome for outcome in Outcome if outcome.held)


class StarvationGuard(wiring.Component):
    """Closes the door to new requests while one is overdue. One commit a clock; 3 clocks from a commit to `closed`.

    Whoever is held may find, each time that it is tried again, that a newer request has taken the way, the place for a
    snoop, the line or the frame that it waited for. One that was held `holds` times is overdue, and the door is closed
    from then on. Those inside are as many as there are read slots, and each that is granted something leaves; so in the
    end it is the turn of the one that is overdue. The door opens when none is overdue, or none that is was held or has
    missed for `patience` clocks: what it waits for may be a snoop that is never answered.

    Members
    -------
    commit : In(commit)
        A request is known by its read slot, from READ or RELEASE to the slot that answers it.
    closed : Out(1)
    """

    def __init__(self, *, config, holds=HOLDS, patience=PATIENCE):
        for name, value in (("holds", holds), ("patience", patience)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        self._config, self._holds, self._patience = config, holds, patience
        super().__init__({"commit": In(layouts.commit(config)), "closed": Out(1)})

    def elaborate(self, platform):
        m = Module()
        slots = self._config.read_slots
        slot, outcome = self.commit.slot, self.commit.outcome

        # The verdict comes late in the clock of the commit, so all is a clock later.
        node = Signal((slots - 1).bit_length())
        comes, held, missed, ends = Signal(), Signal(), Signal(), Signal()
        is_req = slot.kind.matches(SlotKind.READ, SlotKind.RELEASE)
        is_held, is_miss = outcome.matches(*_HELD), outcome == Outcome.MISS
        of_request = is_req | slot.kind.matches(SlotKind.REPLAY_READ, SlotKind.BYPASS_READ)
        answered = (slot.kind == SlotKind.ANSWER) & ~slot.rwd
        m.d.sync += [
            node.eq(slot.id),
            comes.eq(self.commit.valid & is_req & (slot.retry == Retry.NO)),
            held.eq(self.commit.valid & is_held),
            missed.eq(self.commit.valid & is_req & is_miss),
            ends.eq(self.commit.valid & (answered | of_request & ~is_held & ~is_miss)),
        ]

        # How often each was held; no more is known of one that is overdue.
        m.submodules.counts = counts = Memory(shape=range(self._holds + 1), depth=slots, init=[])
        write, read = counts.write_port(), counts.read_port(domain="comb")
        times, this, late = Signal.like(read.data), Signal(slots), Signal()
        overdue, is_overdue = Signal(slots), Signal()
        m.d.comb += [
            read.addr.eq(node),
            times.eq(Mux(comes, 0, read.data) + held),
            late.eq(held & (times == self._holds)),
            write.en.eq(comes | (held & ~is_overdue)),
            write.addr.eq(node),
            write.data.eq(times),
            this.eq(1 << node),
            is_overdue.eq(overdue.bit_select(node, 1)),
        ]
        left = Signal(range(self._patience + 1))
        m.d.sync += [
            overdue.eq((overdue & ~Mux(comes | ends, this, 0)) | Mux(late, this, 0)),
            self.closed.eq(overdue.any() & (left != 0)),
        ]
        with m.If(late | ((held | missed) & is_overdue)):
            m.d.sync += left.eq(self._patience)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        return m
