"""The policy, region and stream registers of an endpoint, and which writes of them it accepts."""

from golden import csr
from golden.policy import Policy
from golden.streams import Stream

__all__ = ["Registers"]


class Registers:
    """What the host has set so far. Those are the registers whose accepted writes are CSR_WRITE records.

    Parameters
    ----------
    config : Config
    policy : Policy, optional
        The policy registers to begin with; the default is their reset.

    Attributes
    ----------
    policy : Policy
    regions : tuple of golden.address.Region
    streams : tuple of golden.streams.Stream
    """

    def __init__(self, config, policy=None):
        self._config = config
        self._addresses = csr.policy_addresses(config)
        self.policy = Policy() if policy is None else policy
        self.regions = csr.reset_regions(config)
        self.streams = (Stream(),) * config.streams

    def __contains__(self, address):
        """Whether a policy, region or stream register is at this byte address."""
        return address in self._addresses

    def write(self, address, value):
        """Raises ValueError for what the endpoint refuses (`golden.csr.legal`); then nothing has changed."""
        if address not in self:
            raise ValueError(f"CSR address {address:#x} must be one of a policy, region or stream register")
        if not csr.legal(self._config, self.regions, self.streams, address, value):
            raise ValueError(f"CSR value {value:#x} must be one that the register at {address:#x} accepts")
        self.policy, self.regions, self.streams = csr.apply(self.policy, self.regions, self.streams, address, value)
