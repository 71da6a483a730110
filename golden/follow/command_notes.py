"""What the notes of the host's commands must be: register writes, quotas, pool sizes, and what is refused."""

from itertools import product

from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import EngineKind, ErrorKind, RefusalKind
from kv_endpoint.golden.registers import rules as csr

__all__ = ["CommandNotes"]

_REFUSALS = {int(kind): kind for kind in RefusalKind}
#: of writes to CTRL of a region, of a stream
_REGION_REFUSALS = {RefusalKind.MODE_BUSY, RefusalKind.COVERED, RefusalKind.SHARED_MODE}
_STREAM_REFUSALS = {RefusalKind.STREAM_RANGE, RefusalKind.STREAM_OVERLAP}


class CommandNotes:
    """Follows CSR_WRITE, QUOTA, POOL and REFUSAL; `rules` has the method of each kind.

    Parameters
    ----------
    endpoint : golden.follow.follower.Follower
        The state that the notes change.
    """

    def __init__(self, endpoint):
        self._endpoint = endpoint
        self.rules = {
            EngineKind.CSR_WRITE: self._csr_write,
            EngineKind.QUOTA: self._quota,
            EngineKind.POOL: self._pool,
            EngineKind.REFUSAL: self._refusal,
        }

    def _csr_write(self, record):
        endpoint, address, value = self._endpoint, record["key"], record["aux"]
        if address not in endpoint.registers:
            raise Mismatch("key", "the address of a policy, region or stream register", address)
        try:
            endpoint.registers.write(address, value, **self._state())
        except ValueError as error:
            raise Mismatch("aux", error, value) from None

    def _quota(self, record):
        allocator = self._endpoint.allocator
        refusal = allocator.quota_refusal(record["head"], record["aux"], record["key"])
        if refusal is not None:
            raise Mismatch("kind", f"REFUSAL {refusal.name}", EngineKind.QUOTA.name)
        allocator.set_quotas(record["head"], record["aux"], record["key"])

    def _pool(self, record):
        allocator, mode = self._endpoint.allocator, self._mode("key", record["key"])
        refusal = allocator.pool_refusal(record["aux"], mode)
        if refusal is not None:
            raise Mismatch("kind", f"REFUSAL {refusal.name}", EngineKind.POOL.name)
        allocator.pools[mode].size = record["aux"]

    def _refusal(self, record):
        if record["key"] not in _REFUSALS:
            raise Mismatch("key", "a RefusalKind", record["key"])
        endpoint, kind, aux = self._endpoint, _REFUSALS[record["key"]], record["aux"]
        if kind in (RefusalKind.PIN_CAP, RefusalKind.PIN_QUOTA, RefusalKind.PIN_RANGE):
            # The command's head and block in full.
            refusal = endpoint.allocator.pin_refusal(aux >> 16, aux & 0xFFFF)
        elif kind in (RefusalKind.POOL_SIZE, RefusalKind.POOL_CACHED):
            refusal = endpoint.allocator.pool_refusal(aux, self._mode("block", record["block"]))
            if kind == RefusalKind.POOL_CACHED and refusal != kind:
                # Not of a pool's size, so of a region that is to be cached.
                refusal = self._enabling_refusal(kind, aux)
        elif kind == RefusalKind.QUOTA_SUM:
            refusal = endpoint.allocator.quota_refusal(record["head"], aux, endpoint.config.pool_frames_max)
        elif kind in _REGION_REFUSALS or kind in _STREAM_REFUSALS:
            refusal = self._enabling_refusal(kind, aux)
        else:
            # QUOTA_RANGE: `aux` is the maximum, which the minimum or a head out of range may contradict.
            refusal = kind
        if refusal != kind:
            raise Mismatch("key", "no refusal" if refusal is None else refusal.name, kind.name)
        endpoint.errors_owed[ErrorKind.REFUSED_COMMAND] += 1

    def _enabling_refusal(self, kind, number):
        """`kind` if a write to CTRL of region or stream `number` is refused for that, else None."""
        endpoint, is_region = self._endpoint, kind not in _STREAM_REFUSALS
        array, count = ("REGION", endpoint.config.regions) if is_region else ("STREAM", endpoint.config.streams)
        if number >= count:
            raise Mismatch("aux", f"0 to {count - 1}", number)
        name = f"{array}[{number}].CTRL"
        address, registers = csr.address(name), endpoint.registers
        # The note does not say what was written.
        words = self._region_words(name) if is_region else [csr.pack(name, ENABLED=1)]
        found = [registers.refusal(address, word, **self._state()) for word in words if registers.legal(address, word)]
        return kind if kind in found else None

    def _region_words(self, name):
        """Every value of CTRL of a region."""
        fields = product(range(2), Mode, range(2), range(1, 1 << self._endpoint.config.hosts))
        return [csr.pack(name, ENABLED=on, MODE=mode, CACHED=cached, HOSTS=hosts) for on, mode, cached, hosts in fields]

    def _state(self):
        """What decides about a write besides the registers."""
        endpoint = self._endpoint
        return {
            "occupied": endpoint.occupied,
            "covered": endpoint.coherent.filter.sectors + len(endpoint.coherent.held) + endpoint.misses.may_be_granted,
            "pool_frames": {mode: pool.size for mode, pool in endpoint.allocator.pools.items()},
        }

    @staticmethod
    def _mode(field, value):
        if value not in set(Mode):
            raise Mismatch(field, "a Mode", value)
        return Mode(value)
