"""AXI4 and AXI4-Lite signatures with the standard signal names: the Verilog ports read `mem__araddr` and so on."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AXI4", "AXI4Lite", "RESP_OKAY", "RESP_SLVERR"]

RESP_OKAY = 0
RESP_SLVERR = 2


class AXI4(wiring.Signature):
    """AXI4 manager port (AMBA AXI4, ARM IHI 0022); `data_bits` wide, incrementing bursts."""

    def __init__(self, *, address_bits, data_bits, id_bits):
        if data_bits not in (32, 64, 128, 256, 512, 1024):
            raise ValueError(f"data_bits must be an AXI4 data width, not {data_bits!r}")
        members = {}
        for channel in ("aw", "ar"):
            members |= {
                f"{channel}id": Out(id_bits), f"{channel}addr": Out(address_bits), f"{channel}len": Out(8),
                f"{channel}size": Out(3), f"{channel}burst": Out(2), f"{channel}valid": Out(1),
                f"{channel}ready": In(1),
            }  # fmt: skip
        members |= {
            "wdata": Out(data_bits), "wstrb": Out(data_bits // 8), "wlast": Out(1), "wvalid": Out(1), "wready": In(1),
            "bid": In(id_bits), "bresp": In(2), "bvalid": In(1), "bready": Out(1),
            "rid": In(id_bits), "rdata": In(data_bits), "rresp": In(2), "rlast": In(1), "rvalid": In(1),
            "rready": Out(1),
        }  # fmt: skip
        super().__init__(members)


class AXI4Lite(wiring.Signature):
    """AXI4-Lite manager port, 32 bits of data."""

    def __init__(self, *, address_bits):
        members = {}
        for channel in ("aw", "ar"):
            members |= {
                f"{channel}addr": Out(address_bits), f"{channel}prot": Out(3), f"{channel}valid": Out(1),
                f"{channel}ready": In(1),
            }  # fmt: skip
        members |= {
            "wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1),
            "bresp": In(2), "bvalid": In(1), "bready": Out(1),
            "rdata": In(32), "rresp": In(2), "rvalid": In(1), "rready": Out(1),
        }  # fmt: skip
        super().__init__(members)
