"""What memory holds and what every host holds of it: the data check of traffic that hosts cache.

One writer or many readers: whatever a host may read is known at any moment, so a fill has exactly one legal value, what
the last write left (P11), and a host that is given a line may not meet another one that still owns it. A read that
leaves no copy may see any value that the line had between its issue and its data.
"""

from dataclasses import dataclass
from enum import IntEnum

from kv_endpoint.tb.checks.image import POISON, DataMismatch, text_of

__all__ = ["CoherenceError", "CoherentImage", "Copy", "Mesi"]


class CoherenceError(AssertionError):
    """Two hosts hold a line in states that exclude each other."""


class Mesi(IntEnum):
    """What a host holds of a line."""

    I = 0  # noqa: E741 -- the letter that everybody uses
    S = 1
    E = 2
    M = 3

    @property
    def owned(self):
        return self >= Mesi.E


@dataclass(frozen=True)
class Copy:
    state: Mesi
    contents: int | None


_NO_COPY = Copy(Mesi.I, POISON)


class CoherentImage:
    """Lines by address (HPA >> 6), shared by all hosts. Lines that were never written hold zero.

    `poison_allowed`: accept poison anywhere, for tests that inject errors the hosts cannot foresee.

    Attributes
    ----------
    checked : int
        Fills and reads whose data was checked.
    """

    def __init__(self, *, poison_allowed=False):
        self._memory = {}
        #: address -> {host: Copy}
        self._copies = {}
        #: host -> {address: None} of the lines that it holds
        self._held = {}
        #: address -> {key of a read in progress: (host, contents that it may return)}
        self._reads = {}
        self.poison_allowed = poison_allowed
        self.checked = 0

    # Looking ----------------------------------------------------------------------------------------------------------

    def memory(self, address):
        """What a fill of the line gives."""
        return self._memory.get(address, 0)

    def copy(self, host, address):
        return self._copies.get(address, {}).get(host, _NO_COPY)

    def held(self, host):
        """Addresses of the lines that a host holds, the last one gained at the end."""
        return tuple(self._held.get(host, ()))

    # A host's copies --------------------------------------------------------------------------------------------------

    def fill(self, host, address, state, contents, what):
        """The host is given the line in `state` (S or E) with `contents`; `what` names the fill in a message."""
        self._may_hold(host, address, state, what)
        self._check(address, contents, {self.memory(address)}, what)
        self._hold(host, address, state, contents)

    def check_memory(self, address, contents, what):
        """Data that the host does not need, its own copy being newer, has come."""
        self._check(address, contents, {self.memory(address)}, what)

    def own(self, host, address, what):
        """The host may write the line; a copy that it had is still good. Without one it has to write all of it."""
        self._may_hold(host, address, Mesi.E, what)
        copy = self.copy(host, address)
        if copy.state == Mesi.S:
            self._hold(host, address, Mesi.E, copy.contents)

    def store(self, host, address, contents):
        """The host, which was given ownership, writes its copy."""
        self._hold(host, address, Mesi.M, contents)

    def keep(self, host, address, state):
        """The host holds its copy in a lower state from now on."""
        copy = self.copy(host, address)
        if state == Mesi.I:
            if self._copies.get(address, {}).pop(host, None) is not None:
                del self._held[host][address]
        else:
            self._hold(host, address, state, copy.contents)

    # Memory -----------------------------------------------------------------------------------------------------------

    def written(self, address, write):
        """A `LineWrite` has been issued. Whatever may read the line afterwards waits for it."""
        self._memory[address] = write.applied(self.memory(address))
        self._changed(address)

    def read_issued(self, host, key, address):
        self._reads.setdefault(address, {})[key] = host, set()
        self._changed(address)

    def read_done(self, key, address, contents, what):
        """Raises `DataMismatch` for contents that the line did not have since the read was issued."""
        self._check(address, contents, self.read_cancelled(key, address), what)

    def read_cancelled(self, key, address):
        """The read got no data. What it might have returned."""
        reads = self._reads[address]
        _, allowed = reads.pop(key)
        if not reads:
            del self._reads[address]
        return allowed

    # Parts ------------------------------------------------------------------------------------------------------------

    def _hold(self, host, address, state, contents):
        self._copies.setdefault(address, {})[host] = Copy(state, contents)
        self._held.setdefault(host, {})[address] = None
        self._changed(address)

    def _changed(self, address):
        for host, allowed in self._reads.get(address, {}).values():
            dirty = [
                copy.contents
                for other, copy in self._copies.get(address, {}).items()
                if copy.state == Mesi.M and other != host
            ]
            allowed.update(dirty or [self.memory(address)])

    def _may_hold(self, host, address, state, what):
        for other, copy in self._copies.get(address, {}).items():
            if other != host and (state.owned or copy.state.owned):
                raise CoherenceError(
                    f"{what}: host {host} is given line {address:#x} in {state.name} while host {other} holds it in "
                    f"{copy.state.name}"
                )

    def _check(self, address, contents, allowed, what):
        self.checked += 1
        if contents in allowed or (contents is POISON and self.poison_allowed):
            return
        expected = " or ".join(sorted(map(text_of, allowed)))
        raise DataMismatch(f"{what} of line {address:#x}: seen {text_of(contents)}, expected {expected}")
