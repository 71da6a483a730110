"""Every stream port and AXI channel that the endpoint drives, and what shows that it keeps the rules of streams."""

from amaranth.lib.wiring import In

from tests.formal.free import streams_of

__all__ = ["PROVEN", "driven_ports"]

#: port of the endpoint -> the proofs (`python -m tests.formal`) of the block that drives it. What it takes (req,
#: rwd, birsp, page_done) these proofs assume, and the bus kit of `tb/` offers so.
PROVEN = {
    "ndr": ("responder_ndr",),
    "drs": ("responder_drs",),
    "bisnp": ("snoop_table_8", "snoop_table_14"),
    "slot_record": ("event_port_streams", "event_port_ready"),
    "engine_record": ("event_port_streams", "event_port_ready"),
    # Of the two that have commands, and of the arbiter that brings them together
    "page_command": ("miss_pages", "migration_pages", "arbiter_streams", "arbiter_ready"),
    "mem_aw": ("memory_axi",),
    "mem_w": ("memory_axi",),
    "mem_ar": ("memory_axi",),
    "csr_b": ("csr_axi",),
    "csr_r": ("csr_axi",),
}


def driven_ports(endpoint):
    """Names of the stream ports and AXI channels that `endpoint` drives, from its signature."""
    for path, flow, _ in streams_of(endpoint):
        if flow != In:
            yield path
    for path, member, _ in endpoint.signature.flatten(endpoint):
        name = "_".join(map(str, path))
        if member.flow != In and path[0] in ("mem", "csr") and name.endswith("valid"):
            yield name.removesuffix("valid")
