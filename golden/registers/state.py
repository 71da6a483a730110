"""The policy, region and stream registers of an endpoint, and which writes of them it accepts."""

from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.prefetch.stream_descriptor import StreamDescriptor
from kv_endpoint.golden.registers import rules as csr

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
    regions : tuple of golden.front.address.Region
    streams : tuple of golden.prefetch.stream_descriptor.StreamDescriptor
    modes : list of Mode
        Of each head: that of its region when it was last enabled. It is changed in place.
    cached : list of bool
        Of each head: whether hosts may cache its lines. Likewise.
    """

    def __init__(self, config, policy=None):
        self._config = config
        self._addresses = csr.policy_addresses(config)
        self.policy = Policy() if policy is None else policy
        self.regions = csr.reset_regions(config)
        self.streams = (StreamDescriptor(),) * config.streams
        self.modes = [Mode.EXACT] * config.heads
        self.cached = [False] * config.heads

    def __contains__(self, address):
        """Whether a policy, region or stream register is at this byte address."""
        return address in self._addresses

    def legal(self, address, value):
        """Whether a write respects the rules of the registers (`golden.registers.rules.legal`)."""
        return csr.legal(self._config, self.regions, self.streams, address, value)

    def refusal(self, address, value, occupied=(), *, covered=0, pool_frames=None):
        """Why a legal write is refused, or None (`golden.registers.rules.refusal`).

        `occupied`: heads that have had blocks or have a minimum quota, and so keep their mode. `covered`: sectors that
        hosts may hold lines of, and requests that are neither granted nor refused. `pool_frames`: size of the pool of
        each mode.
        """
        return csr.refusal(
            self._config, self.regions, self.streams, self.modes, occupied, address, value,
            covered=covered, pool_frames=pool_frames,
        )  # fmt: skip

    def write(self, address, value, occupied=(), *, covered=0, pool_frames=None):
        """Raises ValueError for what the endpoint does not accept; then nothing has changed."""
        if address not in self:
            raise ValueError(f"CSR address {address:#x} must be one of a policy, region or stream register")
        if not self.legal(address, value):
            raise ValueError(f"CSR value {value:#x} must be one that the register at {address:#x} accepts")
        refusal = self.refusal(address, value, occupied, covered=covered, pool_frames=pool_frames)
        if refusal is not None:
            raise ValueError(f"CSR value {value:#x} must be one that is not refused: {refusal.name}")
        self.policy, self.regions, self.streams = csr.apply(self.policy, self.regions, self.streams, address, value)
        self.cached[:] = [False] * len(self.cached)
        for region in self.regions:
            if region.enabled:
                for head in range(region.first_head, region.first_head + region.heads):
                    self.modes[head] = region.mode
                    self.cached[head] = region.cached
