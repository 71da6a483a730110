"""The golden endpoint of a bench: what the scoreboard compares each record with."""

from golden.csr import apply, reset_regions
from golden.endpoint import Endpoint

__all__ = ["golden_endpoint"]


def golden_endpoint(config):
    """A golden `Endpoint` that follows the register writes it is told of, as after reset."""
    regions = reset_regions(config)

    def register_write(policy, address, value):
        nonlocal regions
        policy, regions = apply(policy, regions, address, value)
        return policy

    return Endpoint(config, register_write=register_write)
