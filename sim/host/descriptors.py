"""The stream descriptors as the host of a run uses them: which reads it describes, and when.

A descriptor follows either a head along its blocks (STRIDE 1) or a block number from head to head through the layers
(STRIDE BLOCKS_PER_HEAD). It may go AHEAD blocks beyond the touches of its blocks since it was enabled, and ends behind
its last block: what is read again in the next step has to be described again, or enabled anew, in the next step.
"""

from kv_endpoint.golden.host.operations import register_write
from kv_endpoint.golden.prefetch.stream_descriptor import StreamDescriptor
from kv_endpoint.sim.workload.steps import Replay

__all__ = ["STREAM_AHEAD", "Descriptors", "streams"]

#: blocks of a replay that may be fetched before they are read: a page takes longer than the reads of a block
STREAM_AHEAD = 8


def _described(number, stream):
    """Register writes that set a descriptor which is off, and enable it."""
    name = f"STREAM[{number}]"
    yield register_write(f"{name}.BASE", INDEX=stream.base)
    yield register_write(f"{name}.LENGTH", COUNT=stream.length)
    yield register_write(f"{name}.STRIDE", BLOCKS=stream.stride)
    yield register_write(f"{name}.AHEAD", BLOCKS=stream.ahead)
    yield _on(number)


def _on(number):
    return register_write(f"STREAM[{number}].CTRL", ENABLED=1)


def _off(number):
    return register_write(f"STREAM[{number}].CTRL", ENABLED=0)


def streams(described, *, count):
    """Register writes that make the streams `described` the first of `count` descriptors, and switch the others off."""
    # All are off first, since no two may share a block.
    yield from map(_off, range(count))
    for number, stream in enumerate(described):
        yield from _described(number, stream)


class Descriptors:
    """What the host has described so far, and what it writes when a step, a layer or a read begins.

    Weights have the last descriptor to themselves, from block to block in the order of their reads. The others are for
    the KV cache; `by_layer` says which of the two ways they go: along the heads that a layer replays, as many at once
    as there are descriptors; or from head to head through the layers, with blocks that a layer reads in all heads.
    """

    def __init__(self, config, heads, *, by_layer, weights=None):
        self._config = config
        self._heads = heads
        self._by_layer = by_layer
        self._weights = weights
        #: descriptors of the KV cache
        self._count = config.streams - (weights is not None)
        self._has_described_weights = False
        #: heads whose replay is not described yet; blocks that are followed through the layers in this step
        self._replays = []
        self._followed = range(0)

    def step(self):
        """A step begins. It will read all weights again, so that their stream begins anew."""
        self._followed = range(0)
        if self._weights is None:
            return
        number = self._config.streams - 1
        yield _off(number)
        if self._has_described_weights:
            yield _on(number)
        else:
            self._has_described_weights = True
            yield from _described(
                number, StreamDescriptor(self._weights.base, self._weights.total, 1, self._weights.ahead)
            )

    def layer(self, layer):
        """A layer (`sim.workload.steps.Layer`) begins."""
        self._replays = list(layer.replays)
        if self._by_layer and layer.replays:
            yield from self._follow(0, layer.replays[0])
        elif self._by_layer and layer.newest is not None:
            yield from self._follow(layer.newest, Replay(layer.accesses[0].head, layer.newest + 1))

    def read(self, access):
        """A block is read next."""
        if self._by_layer:
            if self._replays:
                yield from self._follow(access.block, self._replays[0])
        elif self._count and self._replays and access.head == self._replays[0].head:
            along = [
                StreamDescriptor(replay.head * self._config.blocks_per_head, replay.blocks, 1, STREAM_AHEAD)
                for replay in self._replays[: self._count]
            ]
            del self._replays[: self._count]
            yield from streams(along, count=self._count)

    def _follow(self, block, replay):
        """See that `block` is followed from the first head of this layer to the last head of all, and what comes next.

        `replay`: of the layer's first head.
        """
        if block in self._followed:
            return
        blocks_per_head = self._config.blocks_per_head
        self._followed = range(block, min(block + self._count, replay.blocks))
        heads = self._heads - replay.head
        through = [
            StreamDescriptor(replay.head * blocks_per_head + followed, heads, blocks_per_head, STREAM_AHEAD)
            for followed in self._followed
        ]
        yield from streams(through, count=self._count)
