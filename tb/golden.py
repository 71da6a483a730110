"""The golden endpoint of a bench: what the scoreboard compares each record with."""

from golden.endpoint import Endpoint

__all__ = ["golden_endpoint"]


def golden_endpoint(config):
    """A golden `Endpoint` as after reset."""
    return Endpoint(config)
