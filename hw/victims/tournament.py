"""The tournament over heads: which head's best block leaves first."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.victims.queues import leaf
from kv_endpoint.hw.victims.rank import is_before

__all__ = ["Tournament"]


class Tournament(wiring.Component):
    """A winner tree over the heads' leaves, one RAM a level; takes a new leaf every clock.

    A leaf climbs one level every 2 clocks: it is written over its predecessor while its sibling is read, then the
    earlier rank of the two (of equal key and step the lower head) climbs on. Leaves on their way cannot overtake each
    other, and each rereads the siblings on its path, so once nothing is on its way every node is the winner of the
    leaves below it. Every leaf, those beyond the last head included, must be given once after reset.

    Members
    -------
    leaf_valid, leaf : In
    root : Out(leaf)
        The winner of all leaves whose way has ended.
    busy : Out(1)
        A leaf is on its way.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__({"leaf_valid": In(1), "leaf": In(leaf(config)), "root": Out(leaf(config)), "busy": Out(1)})

    @property
    def latency(self):
        """Clocks from a leaf to the root."""
        return 2 * self._config.head_bits + 1

    def elaborate(self, platform):
        m = Module()
        config = self._config
        layout = leaf(config)
        on_the_way = []

        climbing_valid, climbing = self.leaf_valid, self.leaf
        position = self.leaf.head
        for level in range(config.head_bits, 0, -1):
            memory = Memory(shape=layout, depth=1 << level, init=[])
            m.submodules[f"level_{level}"] = memory
            write = memory.write_port()
            read = memory.read_port()
            m.d.comb += [
                write.addr.eq(position),
                write.data.eq(climbing),
                write.en.eq(climbing_valid),
                read.addr.eq(position ^ 1),
                read.en.eq(climbing_valid),
            ]
            own_valid = Signal(name=f"own_valid_{level}")
            own = Signal(layout, name=f"own_{level}")
            own_position = Signal(level, name=f"own_position_{level}")
            m.d.sync += [own_valid.eq(climbing_valid), own.eq(climbing), own_position.eq(position)]

            sibling = read.data
            sibling_is_lower = own_position[0]
            sibling_wins = Mux(
                sibling_is_lower,
                ~is_before(own.rank, sibling.rank, across_heads=True),
                is_before(sibling.rank, own.rank, across_heads=True),
            )
            climbing_valid = Signal(name=f"climbing_valid_{level}")
            climbing = Signal(layout, name=f"climbing_{level}")
            m.d.sync += [
                climbing_valid.eq(own_valid),
                climbing.eq(Mux(sibling_wins, sibling.as_value(), own.as_value())),
            ]
            if level > 1:
                position = Signal(level - 1, name=f"position_{level}")
                m.d.sync += position.eq(own_position[1:])
            on_the_way += [own_valid, climbing_valid]

        root = Signal(layout, init={"rank": {"none": 1}, "exact": 1})
        with m.If(climbing_valid):
            m.d.sync += root.eq(climbing)
        m.d.comb += [self.root.eq(root), self.busy.eq(self.leaf_valid | Cat(on_the_way).any())]
        return m
