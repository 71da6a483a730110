"""The responder with free operations: how many responses each has, and their order."""

from amaranth.hdl import Assert, Assume, Elaboratable, Module, Mux, Signal
from amaranth.lib.wiring import In

from kv_endpoint.golden.common.messages import DRSOpcode, NDROpcode
from kv_endpoint.golden.pipeline.metadata import DataKind
from kv_endpoint.hw.data.responder import FIFO_DEPTH, Responder
from tests.formal.filter_bench import config_of
from tests.formal.follow import Follow
from tests.formal.free import drive, streams_of
from tests.formal.stream_rules import watch

__all__ = ["ResponderBench"]

#: operations in its two clocks, beside the responses that wait
_PIPELINE = 2


class ResponderBench(Elaboratable):
    """Follows any one response of `channel`, "ndr" or "drs".

    Asserted: a read has one NDR and one DRS, a write one NDR; of what needs no memory COMPLETE and ACK have an NDR,
    ZEROS both, NXM a DRS, DISCARD neither (P8). They leave in the order in which operations are taken, so an Ack never
    before the Cmp of an earlier one (P4). Opcode and tag are those of the operation. Each operation frees its slot
    once, 2 clocks after it is taken.
    """

    def __init__(self, channel):
        self._channel = channel

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = Responder(config=config_of(2))
        drive(m, dut)
        for path, flow, port in streams_of(dut):
            watch(m, f"rules_{path}", port, assume=flow == In)
        direct = dut.direct.payload
        m.d.comb += Assume(direct.kind >= DataKind.ZEROS)

        read, write, other = Signal(), Signal(), Signal()
        m.d.comb += [
            read.eq(dut.returned.valid & dut.returned.ready & ~dut.returned.payload.sidecar),
            write.eq(dut.confirmed.valid & dut.confirmed.ready & ~dut.confirmed.payload.sidecar),
            other.eq(dut.direct.valid & dut.direct.ready),
            Assert(read + write + other <= 1),
        ]
        ended = Signal(2)
        m.d.sync += ended.eq(ended << 1 | read | write | other)
        m.d.comb += Assert(dut.finished.valid == ended[1])

        is_ndr = self._channel == "ndr"
        if is_ndr:
            responds = read | write | (other & direct.kind.matches(DataKind.ZEROS, DataKind.COMPLETE, DataKind.ACK))
        else:
            responds = read | (other & direct.kind.matches(DataKind.ZEROS, DataKind.NXM))
        port = getattr(dut, self._channel)
        m.submodules.follow = follow = Follow(most=FIFO_DEPTH + _PIPELINE)
        m.d.comb += [follow.enters.eq(responds), follow.leaves.eq(port.valid & port.ready)]

        # Who it is for is looked up while the operation is in its second clock.
        kept, is_direct, of_rwd, looked_up = Signal.like(direct), Signal(), Signal(), Signal()
        identity = Signal.like(dut.read_found)
        m.d.sync += looked_up.eq(follow.picked)
        with m.If(follow.picked):
            m.d.sync += [kept.eq(direct), is_direct.eq(other), of_rwd.eq(Mux(other, direct.rwd, write))]
        with m.If(looked_up):
            m.d.sync += identity.eq(Mux(of_rwd, dut.write_found, dut.read_found))
        response = port.payload
        with m.If(follow.here):
            m.d.comb += [Assert(response.tag == identity.tag), Assert(response.ld_id == identity.ld_id)]
            if is_ndr:
                acknowledges = is_direct & (kept.kind == DataKind.ACK)
                completes = is_direct & (kept.kind != DataKind.ACK)
                m.d.comb += [
                    Assert((response.opcode == NDROpcode.BI_CONFLICT_ACK) == acknowledges),
                    Assert(~completes | (response.opcode == kept.grant)),
                ]
            else:
                nowhere = is_direct & (kept.kind == DataKind.NXM)
                m.d.comb += Assert(response.opcode == Mux(nowhere, DRSOpcode.MEM_DATA_NXM, DRSOpcode.MEM_DATA))
        return m
