"""What the miss engine keeps of each miss, and which miss it turns to next."""

from amaranth.hdl import Array, Cat, Mux, Signal
from amaranth.lib import enum

from kv_endpoint.hw.common.numbering import split_index
from kv_endpoint.hw.lib.round_robin import next_in_turn

__all__ = ["MissTable", "Source", "Stage"]


class Stage(enum.Enum, shape=3):
    """What a miss needs next."""

    #: a decision: a frame, or a bypass slot
    WANT = 0
    #: its page command
    READ = 1
    #: flash
    READING = 2
    ARRIVED = 3
    #: its requests to be answered, as `Source` says; then it closes
    SERVE = 4


class Source(enum.Enum, shape=2):
    """What the waiting requests of a miss are answered from."""

    FRAME = 0
    BYPASS = 1
    #: writes, and reads after which the host may hold the line, are refused, since flash is unwritable
    NOTHING = 2


class MissTable:
    """The registers of every miss. The engine's parts share them; all are clear after reset.

    Members
    -------
    sel
        The miss that the service is about.
    used, blocked
        A bit each: the slot has a miss; it could get nothing, and nothing has changed since.
    stage, source, index, frame, absent, mode, failed
        Per miss. `absent`: its block was never written; `failed`: its page could not be read.
    bound, decided, bypass_slot
        Per miss: it has this bypass slot; that was decided for this miss.
    caching
        A bit each: a read waits for it after which the host may hold the line.
    shut
        A bit each: a read could not join it while it reads from a bypass slot, so no other does.
    by_prefetch, origin
        A bit each: a prefetch opened it. Per miss: of which source (`PrefetchSource`).
    ahead
        A bit each: a prefetch opened it, and nobody waits for it.
    in_flight
        Per miss: replays, answers and FILL issued and not yet committed.
    issued
        A bit each: such a slot is taken in this clock.
    """

    def __init__(self, config):
        self._config = config
        self.count = count = config.miss_slots

        def per_miss(shape, name):
            return Array(Signal(shape, name=f"{name}{number}") for number in range(count))

        self.sel = Signal(range(count))
        self.used = Signal(count)
        self.blocked = Signal(count)
        self.stage = per_miss(Stage, "stage")
        self.source = per_miss(Source, "source")
        self.index = per_miss(config.index_bits, "index")
        self.frame = per_miss(config.frame_bits, "frame")
        self.absent = per_miss(1, "absent")
        self.mode = per_miss(1, "mode")
        self.failed = per_miss(1, "failed")
        self.bound = per_miss(1, "bound")
        self.decided = per_miss(1, "decided")
        self.bypass_slot = per_miss(range(config.bypass_slots), "bypass_slot")
        self.caching = Signal(count)
        self.shut = Signal(count)
        self.by_prefetch = Signal(count)
        self.origin = per_miss(2, "origin")
        self.ahead = Signal(count)
        self.in_flight = per_miss(range(32), "in_flight")
        self.issued = Signal(count)

    @property
    def place(self):
        """(head, block) of the miss at hand."""
        return split_index(self._config, self.index[self.sel])

    def matches(self, index):
        """A bit for each miss: it is of the block at `index`. One at most is set."""
        return Cat(self.used[n] & (self.index[n] == index) for n in range(self.count))

    def open(self, m, number, *, by_prefetch):
        """Miss slot `number` has a miss from now on; what differs by how it was opened is set beside."""
        m.d.sync += [
            self.used.bit_select(number, 1).eq(1),
            self.by_prefetch.bit_select(number, 1).eq(by_prefetch),
            self.caching.bit_select(number, 1).eq(0),
            self.shut.bit_select(number, 1).eq(0),
            self.decided[number].eq(0),
        ]

    def want(self, m):
        """The miss at hand needs a decision."""
        m.d.sync += [self.stage[self.sel].eq(Stage.WANT), self.blocked.bit_select(self.sel, 1).eq(0)]

    def count_slots(self, m, seen):
        """Follow the slots of each miss to their commits."""
        for n in range(self.count):
            committed = seen.ended & (self.index[n] == seen.index) & self.used[n]
            m.d.sync += self.in_flight[n].eq(self.in_flight[n] + self.issued[n] - committed)

    def complete(self, m, page_done):
        """Take the completions of flash."""
        number = page_done.payload.tag[: (self.count - 1).bit_length()]
        m.d.comb += page_done.ready.eq(1)
        with m.If(page_done.valid):
            m.d.sync += [self.stage[number].eq(Stage.ARRIVED), self.failed[number].eq(page_done.payload.failed)]

    def choose(self, m, has_reads, has_writes):
        """Which misses can be served, decided on, decided on though nobody waits for them, and which of each is next.

        `has_reads`, `has_writes`: a bit for each miss that has such requests waiting.
        """
        count = self.count
        self.can_serve, self.can_decide = can_serve, can_decide = Signal(count), Signal(count)
        self.can_fetch = can_fetch = Signal(count)
        m.d.comb += self.ahead.eq(self.by_prefetch & ~has_reads & ~has_writes)
        for n in range(count):
            idle = self.in_flight[n] == 0
            with m.Switch(self.stage[n]):
                with m.Case(Stage.READ, Stage.ARRIVED):
                    m.d.comb += can_serve[n].eq(self.used[n])
                with m.Case(Stage.SERVE):
                    # With nothing to issue it closes, or turns to its other requests, when nothing is in flight.
                    with m.Switch(self.source[n]):
                        with m.Case(Source.FRAME):
                            m.d.comb += can_serve[n].eq(self.used[n] & (has_reads[n] | has_writes[n] | idle))
                        with m.Case(Source.BYPASS):
                            m.d.comb += can_serve[n].eq(self.used[n] & ((has_reads[n] & ~has_writes[n]) | idle))
                        with m.Case(Source.NOTHING):
                            m.d.comb += can_serve[n].eq(self.used[n] & (has_writes[n] | idle))
                with m.Case(Stage.WANT):
                    m.d.comb += [
                        can_decide[n].eq(self.used[n] & ~self.blocked[n] & ~self.ahead[n]),
                        can_fetch[n].eq(self.used[n] & self.ahead[n]),
                    ]

        self.to_serve = next_in_turn(m, "to_serve", can_serve, self.sel)
        deciding = Signal(count)
        m.d.comb += deciding.eq(Mux((can_decide & has_writes).any(), can_decide & has_writes, can_decide))
        self.to_decide = next_in_turn(m, "to_decide", deciding, self.sel)
        self.to_fetch = next_in_turn(m, "to_fetch", can_fetch, self.sel)
