"""Stand-ins for the endpoint in the bench's own tests (tests/hdl/endpoint.v)."""

from tests.support.paths import HDL

__all__ = ["stand_in", "stand_in_widths"]


def stand_in(name):
    """{file: text} of the stand-in `name`."""
    return {"endpoint.v": (HDL / "endpoint.v").read_text(), "stand_in.vh": (HDL / f"{name}.vh").read_text()}


def stand_in_widths(config):
    """Bits of its ports, as the bench's header needs them."""
    return {"mem__awaddr": config.memory_address_bits, "mem__awid": 5, "csr__awaddr": 12}
