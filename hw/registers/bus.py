"""The AXI4-Lite side of the register block: one write and one read at a time, handed on as plain strobes."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.lib.axi import RESP_OKAY, RESP_SLVERR, AXI4Lite

__all__ = ["CsrBus"]


class CsrBus(wiring.Component):
    """Collects AW and W in either order, keeps responses until they are taken (AMBA AXI4-Lite, ARM IHI 0022).

    Reads and writes run independently. Each channel takes its next item once the item before has been answered inside
    and, for the inside, its response has been taken. `xready` is low only while an item is stored, so it never waits
    for `xvalid`.

    Members
    -------
    bus : In(AXI4Lite)
    write_valid, write_address, write_data : Out
        A write to carry out; stable until `write_done`.
    write_full : Out(1)
        All four strobes are set.
    write_done, write_error : In(1)
        The write ends in this clock, with SLVERR if `write_error`. BVALID follows a clock later.
    read_valid, read_address : Out
        A read to carry out; stable until `read_done`.
    read_done, read_error, read_data : In
        The read ends in this clock. RVALID follows a clock later.
    """

    def __init__(self, *, address_bits):
        super().__init__(
            {
                "bus": In(AXI4Lite(address_bits=address_bits)),
                "write_valid": Out(1),
                "write_address": Out(address_bits),
                "write_data": Out(32),
                "write_full": Out(1),
                "write_done": In(1),
                "write_error": In(1),
                "read_valid": Out(1),
                "read_address": Out(address_bits),
                "read_done": In(1),
                "read_error": In(1),
                "read_data": In(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        address_stored, data_stored, read_stored = Signal(), Signal(), Signal()

        m.d.comb += [
            bus.awready.eq(~address_stored),
            bus.wready.eq(~data_stored),
            self.write_valid.eq(address_stored & data_stored & ~bus.bvalid),
            bus.arready.eq(~read_stored),
            self.read_valid.eq(read_stored & ~bus.rvalid),
        ]

        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [address_stored.eq(1), self.write_address.eq(bus.awaddr)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [data_stored.eq(1), self.write_data.eq(bus.wdata), self.write_full.eq(bus.wstrb.all())]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(self.write_valid & self.write_done):
            m.d.sync += [
                address_stored.eq(0),
                data_stored.eq(0),
                bus.bvalid.eq(1),
                bus.bresp.eq(Mux(self.write_error, RESP_SLVERR, RESP_OKAY)),
            ]

        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [read_stored.eq(1), self.read_address.eq(bus.araddr)]
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(self.read_valid & self.read_done):
            m.d.sync += [
                read_stored.eq(0),
                bus.rvalid.eq(1),
                bus.rdata.eq(self.read_data),
                bus.rresp.eq(Mux(self.read_error, RESP_SLVERR, RESP_OKAY)),
            ]
        return m
