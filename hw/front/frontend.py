"""The front end: messages of the host become slots of the metadata pipeline (`golden/front/frontend.py`)."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.common.messages import MetaField, MetaValue, ReqOpcode, RwDOpcode, SnpType
from kv_endpoint.golden.front.address import Target
from kv_endpoint.golden.front.frontend import READ_VALUE, Served
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.front.address import AddressDecoder
from kv_endpoint.hw.front.hints import HintUnit
from kv_endpoint.hw.front.request_slots import store_read, store_write

__all__ = ["FrontEnd"]


def _serve_req(m, message, served, access):
    """`golden.front.frontend.serve_req` and, for what is served, `golden.common.line_access.access_of_req` as logic."""
    meta0 = message.meta_field == MetaField.META0_STATE
    no_op = message.meta_field == MetaField.NO_OP
    snoops, invalidates = message.snp_type == SnpType.SNP_CUR, message.snp_type == SnpType.SNP_INV
    m.d.comb += served.eq(Served.ILLEGAL)
    with m.Switch(message.opcode):
        with m.Case(ReqOpcode.MEM_RD):
            shared = (message.meta_value == MetaValue.SHARED) & (message.snp_type == SnpType.SNP_DATA)
            with m.If(no_op & (snoops | invalidates)):
                m.d.comb += [
                    served.eq(Served.READ),
                    access.eq(Mux(invalidates, Access.READ_INVALIDATE, Access.READ_CURRENT)),
                ]
            with m.Elif(meta0 & (((message.meta_value == MetaValue.ANY) & invalidates) | shared)):
                m.d.comb += [
                    served.eq(Served.CACHEABLE),
                    access.eq(Mux(shared, Access.READ_SHARED, Access.READ_OWN)),
                ]
        with m.Case(ReqOpcode.MEM_RD_DATA):
            m.d.comb += access.eq(Access.READ_DATA)
            with m.If(no_op & (message.snp_type == SnpType.SNP_DATA)):
                m.d.comb += served.eq(Served.CACHEABLE)
        with m.Case(ReqOpcode.MEM_INV, ReqOpcode.MEM_INV_NT):
            with m.If(meta0 & invalidates & (message.meta_value == MetaValue.INVALID)):
                m.d.comb += [served.eq(Served.COMPLETE), access.eq(Access.FLUSH)]
            with m.Elif(meta0 & invalidates & (message.meta_value == MetaValue.ANY)):
                m.d.comb += [served.eq(Served.CACHEABLE), access.eq(Access.OWN)]
        with m.Case(ReqOpcode.MEM_CLN_EVCT):
            m.d.comb += access.eq(Access.FORGET)
            no_snoop = message.snp_type == SnpType.NO_OP
            with m.If(meta0 & no_snoop & (message.meta_value == MetaValue.INVALID)):
                m.d.comb += served.eq(Served.COMPLETE)
        with m.Case(ReqOpcode.MEM_SPEC_RD):
            m.d.comb += served.eq(Served.DROP)


def _serve_rwd(m, message, served, access):
    """`golden.front.frontend.serve_rwd` and, for what is served, `golden.common.line_access.access_of_rwd` as logic."""
    meta0 = message.meta_field == MetaField.META0_STATE
    full, partial = message.opcode == RwDOpcode.MEM_WR, message.opcode == RwDOpcode.MEM_WR_PTL
    invalid, any_value = message.meta_value == MetaValue.INVALID, message.meta_value == MetaValue.ANY
    unowned = (message.snp_type == SnpType.SNP_INV) & invalid
    write_back = full & (message.snp_type == SnpType.NO_OP) & (invalid | any_value)
    m.d.comb += served.eq(Served.ILLEGAL)
    with m.If(message.opcode == RwDOpcode.BI_CONFLICT):
        m.d.comb += served.eq(Served.CONFLICT)
    with m.Elif((full | partial) & meta0 & (unowned | write_back)):
        m.d.comb += [
            served.eq(Served.WRITE),
            access.eq(Mux(unowned, Access.WRITE_THROUGH, Mux(invalid, Access.WRITE_BACK, Access.WRITE_KEEP))),
        ]


class FrontEnd(wiring.Component):
    """Decodes Req and RwD, each one message a clock, two clocks to the slot; hint lines go through the hint unit.

    A slot about a line of a cached region says which host asks, and what for.

    Each message takes a read slot or a write slot, and becomes one slot of the pipeline (a hint line: several) in the
    order of its channel. A channel waits only for its own slots and for the pipeline.

    Members
    -------
    req, rwd : In(stream of messages)
    regions : In(array of regions), freeze : In(1)
        `freeze` is high around a change of the regions (`AddressDecoder`).
    read_slots, write_slots : In(stream of free slot numbers)
    store_read, store_write : Out
        What the slot keeps.
    req_slots, rwd_slots : Out(stream of slots)
    hold, notes, leap_cap, now
        The hint unit's (`hw/front/hints.py`).
    """

    def __init__(self, *, config):
        self._config = config
        ids = stream.Signature(layouts.id_bits(config))
        super().__init__(
            {
                "req": In(stream.Signature(layouts.message("req"))),
                "rwd": In(stream.Signature(layouts.message("rwd"))),
                "freeze": In(1),
                "regions": In(data.ArrayLayout(layouts.region_layout(config), config.regions)),
                "read_slots": In(ids),
                "write_slots": In(ids),
                "store_read": Out(store_read(config)),
                "store_write": Out(store_write(config)),
                "req_slots": Out(layouts.slot_stream(config)),
                "rwd_slots": Out(layouts.slot_stream(config)),
                "hold": Out(layouts.Hold()),
                "notes": Out(stream.Signature(layouts.engine_note(config))),
                "leap_cap": In(16),
                "now": Out(config.step_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._elaborate_req(m)
        self._elaborate_rwd(m)
        return m

    def _elaborate_req(self, m):
        m.submodules.req_decoder = decoder = AddressDecoder(config=self._config, channel="req")
        wiring.connect(m, wiring.flipped(self.req), decoder.messages)
        decoded, message = decoder.decoded.payload, decoder.decoded.payload.message
        served = Signal(Served)
        access = Signal(Access)
        _serve_req(m, message, served, access)

        kind = Signal(SlotKind)
        outcome = Signal(Outcome)
        m.d.comb += kind.eq(SlotKind.ANSWER)
        with m.If(served == Served.ILLEGAL):
            m.d.comb += outcome.eq(Outcome.ILLEGAL)
        with m.Elif(served == Served.DROP):
            m.d.comb += outcome.eq(Outcome.DROPPED)
        with m.Elif(decoded.target == Target.NXM):
            m.d.comb += outcome.eq(Outcome.NXM)
        with m.Elif((served == Served.CACHEABLE) & ~decoded.cached):
            m.d.comb += outcome.eq(Outcome.CACHEABLE)
        with m.Elif(decoded.target == Target.HINT):
            m.d.comb += outcome.eq(Outcome.WINDOW)
        with m.Elif((served == Served.COMPLETE) & ~decoded.cached):
            m.d.comb += outcome.eq(Outcome.COMPLETED)
        with m.Elif(served == Served.COMPLETE):
            m.d.comb += kind.eq(SlotKind.RELEASE)
        with m.Else():
            m.d.comb += kind.eq(SlotKind.READ)

        slot = self.req_slots.payload
        wants_data = (message.opcode == ReqOpcode.MEM_RD) | (message.opcode == ReqOpcode.MEM_RD_DATA)
        answered = outcome.matches(Outcome.NXM, Outcome.WINDOW)
        do_take = Signal()
        m.d.comb += [
            slot.kind.eq(kind),
            slot.id.eq(self.read_slots.payload),
            slot.tag.eq(message.tag),
            slot.outcome.eq(Mux(kind == SlotKind.ANSWER, outcome, 0)),
            self.req_slots.valid.eq(decoder.decoded.valid & self.read_slots.valid),
            do_take.eq(self.req_slots.valid & self.req_slots.ready),
            decoder.decoded.ready.eq(do_take),
            self.read_slots.ready.eq(do_take),
            self.store_read.enable.eq(do_take),
            self.store_read.id.eq(self.read_slots.payload),
            self.store_read.tag.eq(message.tag),
            self.store_read.ld_id.eq(message.ld_id),
            decoder.regions.eq(self.regions),
            decoder.freeze.eq(self.freeze),
        ]
        with m.If(kind != SlotKind.ANSWER):
            self._place(m, slot, decoded, access)
        with m.Elif(wants_data & answered):
            m.d.comb += slot.value.eq(READ_VALUE)

    def _elaborate_rwd(self, m):
        m.submodules.rwd_decoder = decoder = AddressDecoder(config=self._config, channel="rwd")
        wiring.connect(m, wiring.flipped(self.rwd), decoder.messages)
        decoded, message = decoder.decoded.payload, decoder.decoded.payload.message
        served = Signal(Served)
        access = Signal(Access)
        _serve_rwd(m, message, served, access)

        m.submodules.hints = hints = HintUnit(config=self._config)
        wiring.connect(m, hints.hold, wiring.flipped(self.hold))
        wiring.connect(m, hints.notes, wiring.flipped(self.notes))
        m.d.comb += [hints.leap_cap.eq(self.leap_cap), self.now.eq(hints.now)]

        full = message.opcode == RwDOpcode.MEM_WR
        kind = Signal(SlotKind)
        outcome = Signal(Outcome)
        is_hint = Signal()
        m.d.comb += kind.eq(SlotKind.ANSWER)
        with m.If(served == Served.ILLEGAL):
            m.d.comb += outcome.eq(Outcome.ILLEGAL)
        with m.Elif(served == Served.CONFLICT):
            m.d.comb += outcome.eq(Outcome.CONFLICT)
        with m.Elif(decoded.target == Target.NXM):
            m.d.comb += outcome.eq(Outcome.NXM)
        with m.Elif((decoded.target == Target.HINT) & full):
            m.d.comb += is_hint.eq(1)
        with m.Elif(decoded.target == Target.HINT):
            m.d.comb += outcome.eq(Outcome.WINDOW)
        with m.Elif(decoded.cached & decoded.shared & (access == Access.WRITE_THROUGH)):
            m.d.comb += outcome.eq(Outcome.SHARED_WRITE)
        with m.Else():
            m.d.comb += kind.eq(SlotKind.WRITE)

        # A message offers itself to the pipeline or, as a hint line, to the hint unit; while the hint unit works, its
        # slots come first, so RwD stays in order.
        offered = Signal()
        do_take = Signal()
        slot = Signal(layouts.slot(self._config))
        hints_busy = hints.slots.valid | ~hints.lines.ready
        m.d.comb += [
            offered.eq(decoder.decoded.valid & self.write_slots.valid),
            slot.kind.eq(kind),
            slot.rwd.eq(1),
            slot.id.eq(self.write_slots.payload),
            slot.tag.eq(message.tag),
            slot.outcome.eq(Mux(kind == SlotKind.ANSWER, outcome, 0)),
            self.rwd_slots.valid.eq(Mux(hints_busy, hints.slots.valid, offered & ~is_hint)),
            self.rwd_slots.payload.eq(Mux(hints_busy, hints.slots.payload, slot)),
            hints.slots.ready.eq(self.rwd_slots.ready),
            hints.lines.valid.eq(offered & is_hint),
            hints.lines.payload.head.eq(decoded.head),
            hints.lines.payload.tag.eq(message.tag),
            hints.lines.payload.id.eq(self.write_slots.payload),
            hints.lines.payload.poison.eq(message.poison),
            hints.lines.payload.data.eq(message.data),
            do_take.eq(offered & Mux(is_hint, hints.lines.ready, ~hints_busy & self.rwd_slots.ready)),
            decoder.decoded.ready.eq(do_take),
            self.write_slots.ready.eq(do_take),
            self.store_write.enable.eq(do_take),
            self.store_write.id.eq(self.write_slots.payload),
            self.store_write.tag.eq(message.tag),
            self.store_write.ld_id.eq(message.ld_id),
            self.store_write.data.eq(message.data),
            self.store_write.be.eq(Mux(full, (1 << 64) - 1, message.be)),
            self.store_write.poison.eq(message.poison),
            decoder.regions.eq(self.regions),
            decoder.freeze.eq(self.freeze),
        ]
        with m.If(kind == SlotKind.WRITE):
            self._place(m, slot, decoded, access)

    @staticmethod
    def _place(m, slot, decoded, access):
        """What a slot about a line has, and an ANSWER has not."""
        m.d.comb += [
            slot.head.eq(decoded.head),
            slot.block.eq(decoded.block),
            slot.line.eq(decoded.line),
            slot.host.eq(decoded.host),
            slot.access.eq(Mux(decoded.cached, access, Access.PLAIN)),
        ]
