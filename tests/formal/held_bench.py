"""Held requests with free commits and free places: none is lost, doubled or overtaken, and each is tried again."""

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cover, Elaboratable, Module, Mux, Signal

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import Retry
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.coherency.held_requests import HeldRequests
from tests.formal.free import drive
from tests.formal.stream_rules import watch

__all__ = ["HeldBench"]

_HELD = tuple(outcome for outcome in Outcome if outcome.held)
_FIELDS = ("tag", "head", "block", "line", "mode", "access", "host")
#: clocks from `freed` to the first retry, and between two
_FIRST, _EACH = 3, 2


class HeldBench(Elaboratable):
    """Follows any one request, and any later one that waits for the same.

    What the environment promises: a request that is held is not held again before it was tried again.

    Asserted: what is tried again is held, and is what it was; it is not tried before what it waits for has come; one
    that came later and waits for the same does not overtake it; all are counted. With `fair`, retries are taken at
    once; then it is tried again within 3 + 2 x read slots clocks (P10).
    """

    def __init__(self, *, fair=False, covers=False):
        self._fair, self._covers = fair, covers

    def elaborate(self, platform):
        m = Module()
        config = preset(
            "tiny", heads=1, blocks_per_head=2, filter_sets=2, filter_ways=2, snoops=2, pin_cap=0, demotion_slots=1,
            read_slots=2 if self._fair else 4,
        )  # fmt: skip
        m.submodules.dut = dut = HeldRequests(config=config)
        drive(m, dut, held=("retry_slots_ready",))
        retries, slot = dut.retry_slots, dut.commit.slot
        m.d.comb += retries.ready.eq(1 if self._fair else AnySeq(1))
        watch(m, "rules", retries, assume=False)

        # Which are held
        inside = Signal(config.read_slots)
        enters, retried = Signal(), Signal()
        waits_on, freed = dut.waits_on, dut.freed
        m.d.comb += [
            enters.eq(dut.commit.valid & dut.commit.outcome.matches(*_HELD)),
            retried.eq(retries.valid & retries.ready),
            Assume(~enters | (slot.id < config.read_slots)),
            Assume(~enters | ~inside.bit_select(slot.id, 1)),
            Assume(~enters | slot.kind.matches(SlotKind.READ, SlotKind.REPLAY_READ, SlotKind.RELEASE)),
            Assume(~(waits_on.none & waits_on.any)),
            Assert(~retries.valid | inside.bit_select(retries.payload.id, 1)),
            Assert(~retries.valid | dut.retrying),
        ]
        m.d.sync += inside.eq((inside | (enters << slot.id)) & ~(retried << retries.payload.id))
        count, entered = Signal(range(config.read_slots + 1)), Signal()
        m.d.sync += [entered.eq(enters), count.eq(count + entered - retried)]
        m.d.comb += Assert(dut.held == count)

        def comes(wanted):
            return wanted.none | (freed.valid & (wanted.any | (wanted.tag == freed.tag)))

        # One of them, and one behind it
        request, wanted, outcome = Signal.like(slot), Signal.like(waits_on), Signal.like(dut.commit.outcome)
        chosen, here, released = Signal(), Signal(), Signal()
        second_here, second = Signal(), Signal.like(slot.id)
        picks = enters & ~chosen & AnySeq(1)
        same = (waits_on.any & wanted.any) | (~waits_on.any & ~wanted.any & (waits_on.tag == wanted.tag))
        with m.If(picks):
            m.d.sync += [
                chosen.eq(1), here.eq(1), request.eq(slot), wanted.eq(waits_on), outcome.eq(dut.commit.outcome),
                released.eq(comes(waits_on)),
            ]  # fmt: skip
        with m.If(here & comes(wanted)):
            m.d.sync += released.eq(1)
        with m.If(enters & here & ~released & ~wanted.none & ~waits_on.none & same & ~second_here & AnySeq(1)):
            m.d.sync += [second_here.eq(1), second.eq(slot.id)]
        its_turn = retried & here & (retries.payload.id == request.id)
        with m.If(its_turn):
            m.d.sync += here.eq(0)
            m.d.comb += [
                *(Assert(retries.payload[name] == request[name]) for name in _FIELDS),
                Assert(retries.payload.kind == Mux(request.kind == SlotKind.RELEASE, SlotKind.RELEASE, SlotKind.READ)),
                Assert(retries.payload.retry == Mux(outcome == Outcome.HELD_LINE, Retry.SNOOPED, Retry.WAITED)),
                Assert(released),
            ]
        with m.If(second_here & retried & (retries.payload.id == second)):
            m.d.sync += second_here.eq(0)
            m.d.comb += Assert(~here)

        if self._fair:
            waited = Signal(range(_FIRST + _EACH * config.read_slots + 2))
            with m.If(here & released & ~its_turn):
                m.d.sync += waited.eq(waited + 1)
            m.d.comb += Assert(waited <= _FIRST + _EACH * config.read_slots)
        if self._covers:
            m.d.comb += Cover(second_here & ~here & retried & (retries.payload.id == second))
        return m
