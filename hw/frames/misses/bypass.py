"""Bypass slots: the frames beside the pool through which blocks of little worth are read."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.common.layouts import Hold

__all__ = ["BypassSlots"]


class BypassSlots(wiring.Component):
    """Remembers which block is in which bypass slot, since which step, and which slot may be reused.

    A slot is idle when no miss is bound to it and no read issued to it is unfinished: after each miss it asks for a
    drain of the datapath, and is idle again when one has ended that began after its last read had committed. The slot
    decided on longest ago is reused first. A block is in one slot at most; it is forgotten when it gets a frame.

    Members
    -------
    now : In(step)
    index : In(index)
        The block that the other inputs mean.
    hit, hit_slot : Out
        An unbound or bound slot has the block, decided on in this step. No latency.
    available, candidate : Out
        An idle slot, the oldest.
    allocate : In(1)
        The idle slot `slot` is given to `index`, as decided in this step, and bound.
    bind, unbind : In(1)
        A miss begins to read from `slot`, or ends; `unbind` only when its reads have committed.
    promoted : In(1), promoted_index : In(index)
        The block gets a frame.
    released : Out(1)
        A slot has become idle.
    drain : Out(Hold)
        Granted when every data operation pushed before the request has finished.
    """

    def __init__(self, *, config):
        self._config = config
        slot = range(config.bypass_slots)
        super().__init__(
            {
                "now": In(config.step_bits),
                "index": In(config.index_bits),
                "hit": Out(1),
                "hit_slot": Out(slot),
                "available": Out(1),
                "candidate": Out(slot),
                "allocate": In(1),
                "bind": In(1),
                "unbind": In(1),
                "slot": In(slot),
                "promoted": In(1),
                "promoted_index": In(config.index_bits),
                "released": Out(1),
                "drain": Out(Hold()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        count = config.bypass_slots
        #: slot numbers, the one decided on longest ago first
        order = [Signal(range(count), init=number, name=f"order{number}") for number in range(count)]
        bound = Signal(count)
        valid = Signal(count)
        #: read from since its last drain, and covered by the drain in progress
        used = Signal(count)
        draining = Signal(count)
        indices = [Signal(config.index_bits, name=f"index{number}") for number in range(count)]
        steps = [Signal(config.step_bits, name=f"step{number}") for number in range(count)]

        # Look-up and choice
        idle = Signal(count)
        m.d.comb += idle.eq(~bound & ~used)
        for number in range(count):
            match = valid[number] & (indices[number] == self.index) & (steps[number] == self.now)
            with m.If(match):
                m.d.comb += [self.hit.eq(1), self.hit_slot.eq(number)]
        place_idle = [idle.bit_select(place, 1) for place in order]
        m.d.comb += self.available.eq(idle.any())
        for place, is_idle in reversed(list(zip(order, place_idle, strict=True))):
            with m.If(is_idle):
                m.d.comb += self.candidate.eq(place)

        # Drain
        with m.FSM(name="drain"):
            with m.State("IDLE"):
                with m.If((used & ~bound).any()):
                    m.d.sync += draining.eq(used & ~bound)
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += self.drain.request.eq(1)
                with m.If(self.drain.granted):
                    m.d.comb += self.released.eq(draining.any())
                    m.d.sync += [used.eq(used & ~draining), draining.eq(0)]
                    m.next = "IDLE"

        # Changes of one slot; a slot that is bound again waits for its next drain
        for number in range(count):
            with m.If(self.promoted & (indices[number] == self.promoted_index)):
                m.d.sync += valid[number].eq(0)
            with m.If(self.bind & (self.slot == number)):
                m.d.sync += [bound[number].eq(1), used[number].eq(1), draining[number].eq(0)]
            with m.If(self.unbind & (self.slot == number)):
                m.d.sync += bound[number].eq(0)
            with m.If(self.allocate):
                with m.If(self.slot == number):
                    m.d.sync += [
                        bound[number].eq(1),
                        used[number].eq(1),
                        valid[number].eq(1),
                        indices[number].eq(self.index),
                        steps[number].eq(self.now),
                    ]
                with m.Elif(indices[number] == self.index):
                    m.d.sync += valid[number].eq(0)

        # From the slot's place on, everything moves up by one, and the slot becomes the youngest.
        with m.If(self.allocate):
            from_here = Signal(count)
            m.d.comb += from_here.eq(Cat(place == self.slot for place in order))
            for position in range(count - 1):
                passed = from_here[: position + 1].any()
                m.d.sync += order[position].eq(Mux(passed, order[position + 1], order[position]))
            m.d.sync += order[count - 1].eq(self.slot)
        return m
