"""The front end with free messages: what becomes of each, in the order of its channel."""

from amaranth.hdl import Assert, Cover, Elaboratable, Module, Signal
from amaranth.lib.wiring import In

from kv_endpoint.golden.common.messages import ReqOpcode, RwDOpcode
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.front.frontend import FrontEnd
from tests.formal.filter_bench import config_of
from tests.formal.follow import Follow
from tests.formal.free import drive, streams_of
from tests.formal.stream_rules import watch

__all__ = ["FrontEndBench"]

#: messages of a channel that are inside at once: two in the decoder, one in the hint unit
_MOST = 3


class FrontEndBench(Elaboratable):
    """Follows any one message of `channel`; everything else is free.

    Asserted: the n-th message ends as the n-th slot that ends one, with its tag, and its tag and LD-ID are stored under
    that slot's number. It ends as ANSWER CONFLICT if and only if it is a BIConflict (P4), and as ANSWER ILLEGAL if it
    is MemRdFwd or MemWrFwd (P9).
    """

    def __init__(self, channel, *, covers=False):
        self._channel, self._covers = channel, covers

    def elaborate(self, platform):
        m = Module()
        config = config_of(2)
        m.submodules.dut = dut = FrontEnd(config=config)
        drive(m, dut)
        for path, flow, port in streams_of(dut):
            if flow == In:
                watch(m, f"rules_{path}", port, assume=True)
        m.submodules.follow = follow = Follow(most=_MOST)
        messages, slots = getattr(dut, self._channel), getattr(dut, f"{self._channel}_slots")
        message, slot = Signal.like(messages.payload), slots.payload
        is_answer = slot.kind == SlotKind.ANSWER
        m.d.comb += [
            follow.enters.eq(messages.valid & messages.ready),
            follow.leaves.eq(slots.valid & slots.ready & (slot.kind != SlotKind.HINT)),
        ]
        with m.If(follow.picked):
            m.d.sync += message.eq(messages.payload)
        is_conflict = is_answer & (slot.outcome == Outcome.CONFLICT)
        with m.If(follow.here):
            m.d.comb += [Assert(slot.tag == message.tag), Assert(slot.rwd == (self._channel == "rwd"))]
            if self._channel == "req":
                store = dut.store_read
                forwards = message.opcode.matches(ReqOpcode.MEM_RD_FWD, ReqOpcode.MEM_WR_FWD)
                m.d.comb += [
                    Assert(~is_conflict),
                    Assert(~forwards | (is_answer & (slot.outcome == Outcome.ILLEGAL))),
                    Assert(store.enable & (store.id == slot.id) & (store.tag == message.tag)),
                    Assert(store.ld_id == message.ld_id),
                ]
            else:
                store = dut.store_write
                m.d.comb += Assert(is_conflict == (message.opcode == RwDOpcode.BI_CONFLICT))
                with m.If(is_conflict):
                    m.d.comb += [
                        Assert(store.enable & (store.id == slot.id) & (store.tag == message.tag)),
                        Assert(store.ld_id == message.ld_id),
                    ]
        if self._covers:
            self._cover(m, dut)
        return m

    def _cover(self, m, dut):
        """Both kinds of conflict: BIConflict with the tag of a Req whose slot has not left, and of one whose has."""
        tag, pending, gone = Signal(16), Signal(), Signal()
        req, rwd = dut.req, dut.rwd_slots
        req_slot, conflict = dut.req_slots, rwd.payload
        with m.If(req.valid & req.ready & ~pending & ~gone):
            m.d.sync += [tag.eq(req.payload.tag), pending.eq(1)]
        with m.If(req_slot.valid & req_slot.ready & pending & (req_slot.payload.kind == SlotKind.READ)):
            m.d.sync += [pending.eq(0), gone.eq(1)]
        answered = rwd.valid & rwd.ready & (conflict.outcome == Outcome.CONFLICT) & (conflict.tag == tag)
        m.d.comb += [Cover(answered & pending & req_slot.valid), Cover(answered & gone)]
