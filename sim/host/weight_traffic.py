"""What the host does about weights: write them once, then read them in every step, in order and in full."""

from itertools import groupby

import numpy as np

from kv_endpoint.golden.common.config import LINE_BYTES, LINES_PER_BLOCK
from kv_endpoint.golden.front.address import encode
from kv_endpoint.golden.front.hints import SCORE_ONE
from kv_endpoint.golden.host.operations import fence_all, fence_writes, read, write
from kv_endpoint.sim.host.hint_lines import hint_lines

__all__ = ["WeightReads", "load_weights"]

#: the payload's generator is another one than that of the padding of KV rows, which has the seed alone
PAYLOAD = 1


def _hints(config, weights, header, numbers):
    """Every block is as sure to be read as any other: all have the same score in every step, and so the same key."""
    for head, places in groupby(map(weights.place, numbers), key=lambda place: place[0]):
        yield from hint_lines(config, weights.region, head, header, [(block, SCORE_ONE) for _, block in places])
    yield fence_writes()


def load_weights(config, weights, header, seed):
    """Write all weights, in a step of their own: values that the seed gives, FP16."""
    payload = np.random.default_rng((seed, PAYLOAD))
    yield from _hints(config, weights, header, range(weights.total))
    for number in range(weights.total):
        for line in range(LINES_PER_BLOCK):
            values = payload.standard_normal(LINE_BYTES // 2, np.float32).astype(np.float16)
            data = int.from_bytes(values.tobytes(), "little")
            yield write(encode(config, weights.region, *weights.place(number), line), data)
    yield fence_all()


class WeightReads:
    """One step's reads. What is read next is announced in time for a stream to ask for it, and no earlier.

    For announced blocks keep their frames until they are read: announced all at once, those that are still warm from
    the end of the last step would leave no frame to those that are read first.
    """

    def __init__(self, config, weights, header):
        self._config = config
        self._weights = weights
        self._header = header
        self._hinted = 0

    def announce(self, number):
        """Hints for what may be fetched while block `number` is read, as far as they have not been sent."""
        weights, first = self._weights, self._hinted
        while self._hinted < min(weights.total, number + weights.ahead + 1):
            self._hinted = min(weights.total, self._hinted + weights.ahead)
        if self._hinted > first:
            yield from _hints(self._config, weights, self._header, range(first, self._hinted))

    def read(self, numbers):
        """Read blocks, every line of them."""
        for number in numbers:
            yield from self.announce(number)
            for line in range(LINES_PER_BLOCK):
                yield read(encode(self._config, self._weights.region, *self._weights.place(number), line))
