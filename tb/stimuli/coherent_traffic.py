"""Random requests of a caching host, from a seed: shares of each kind, over lines that it may share with another."""

import random
from dataclasses import dataclass, field

from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.tb.stimuli.fp16_lines import random_line

__all__ = ["DROP", "STORE", "CoherentTraffic", "Shares"]

#: what a host does without a message: it writes a line that it owns, it drops a clean one
STORE, DROP = "store", "drop"
#: lines that are tried before a clock passes without a request
TRIES = 4


def _weights():
    return {
        Access.READ_SHARED: 6,
        Access.READ_OWN: 5,
        Access.READ_DATA: 4,
        Access.OWN: 2,
        Access.READ_CURRENT: 2,
        Access.READ_INVALIDATE: 1,
        Access.FLUSH: 1,
        Access.FORGET: 1,
        Access.WRITE_THROUGH: 1,
        Access.WRITE_BACK: 4,
        Access.WRITE_KEEP: 1,
        STORE: 8,
        DROP: 3,
    }


@dataclass(frozen=True)
class Shares:
    """What a host does: `weights` by `Access`, STORE, DROP, of which those are chosen from that a line allows.

    `in_flight`: requests at once. `partial`, `poisoned`: shares of the writes of lines that the host does not own.
    `again`: share of requests to one of the lines that were used last, so that messages meet, `held`: to one of those
    that the host holds, since a cache is made to be used.
    """

    weights: dict = field(default_factory=_weights)
    in_flight: int = 16
    partial: float = 0.2
    poisoned: float = 0.0
    again: float = 0.3
    held: float = 0.3


class CoherentTraffic:
    """Drives a `CachingHost` with `requests` messages over `lines` (line addresses of one mode).

    `tick()` once a clock begins at most one request. `seed` makes it repeatable.
    """

    #: lines remembered for `Shares.again`
    RECENT = 8

    def __init__(self, host, lines, *, seed, requests, shares=None, mode=Mode.EXACT):
        self._host, self._lines, self._mode = host, tuple(lines), mode
        self._rng = random.Random(f"{seed}/traffic {host.number}")
        self._shares = shares or Shares()
        self._recent = []
        #: requests still to be made
        self.left = requests

    @property
    def done(self):
        return not self.left and self._host.idle

    def tick(self):
        if not self.left or self._host.outstanding >= self._shares.in_flight:
            return
        for _ in range(TRIES):
            address = self._address()
            kinds = [kind for kind in self._shares.weights if self._may(kind, address)]
            if kinds:
                (kind,) = self._rng.choices(kinds, [self._shares.weights[kind] for kind in kinds])
                self._do(kind, address)
                return

    def _address(self):
        choice = self._rng.random()
        if choice < self._shares.held and (held := self._host.image.held(self._host.number)):
            return self._rng.choice(held)
        if self._recent and choice > 1 - self._shares.again:
            return self._rng.choice(self._recent)
        address = self._rng.choice(self._lines)
        self._recent = [*self._recent[-self.RECENT + 1 :], address]
        return address

    def _may(self, kind, address):
        if kind == STORE:
            return self._host.may_store(address)
        if kind == DROP:
            return self._host.may_drop(address)
        return self._host.may(kind, address)

    def _data(self):
        return random_line(self._rng) if self._mode == Mode.MXINT8 else self._rng.getrandbits(512)

    def _do(self, kind, address):
        if kind == STORE:
            self._host.store(address, self._data())
            return
        if kind == DROP:
            self._host.drop(address)
            return
        self.left -= 1
        more = {}
        if kind == Access.WRITE_THROUGH:
            more["data"] = self._data()
            if self._rng.random() < self._shares.partial:
                more["be"] = self._rng.getrandbits(64)
            elif self._rng.random() < self._shares.poisoned:
                more["poison"] = True
        elif kind == Access.OWN and self._rng.random() < 0.7:
            more["data"] = self._data()
        self._host.start(kind, address, **more)
