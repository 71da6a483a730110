"""Address decoding in two clocks: host physical address -> region -> head, block, line (`golden/front/address.py`)."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import LINES_PER_BLOCK
from kv_endpoint.golden.common.messages import ADDRESS_BITS
from kv_endpoint.golden.front.address import Target
from kv_endpoint.hw.common import layouts

__all__ = ["AddressDecoder", "decoded_layout"]


def decoded_layout(config, channel):
    """A message of `host` with the place that its address names.

    `cached`, `shared`: hosts may cache the lines of its region, more than one may.
    """
    return layouts.layout(
        (
            ("message", layouts.message(channel)), ("target", 2), ("head", config.head_bits),
            ("block", config.block_bits), ("line", config.line_bits), ("host", 1), ("cached", 1), ("shared", 1),
        )
    )  # fmt: skip


class AddressDecoder(wiring.Component):
    """Decodes the address of each message of `channel`: two clocks, one message a clock.

    The first clock subtracts the base of every region, the second compares with their sizes and slices the offset of
    the lowest-numbered region that holds the address and belongs to the message's host. A single host has every region
    and any LD-ID; with more, an LD-ID without a host finds no region.

    Members
    -------
    messages : In(stream), decoded : Out(stream)
    regions : In(array of regions)
    freeze : In(1)
        High from a clock before `regions` change to a clock after. Nothing moves meanwhile, so each message is decoded
        by the regions of one time.
    """

    def __init__(self, *, config, channel):
        self._config = config
        super().__init__(
            {
                "messages": In(stream.Signature(layouts.message(channel))),
                "decoded": Out(stream.Signature(decoded_layout(config, channel))),
                "freeze": In(1),
                "regions": In(data.ArrayLayout(layouts.region_layout(config), config.regions)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        line_bits = (LINES_PER_BLOCK - 1).bit_length()
        block_end = line_bits + config.block_bits
        head_count_bits = config.heads.bit_length()

        held = Signal.like(self.messages.payload)
        held_valid = Signal()
        decoded_free = Signal()
        held_leaves = Signal()
        address = Signal(ADDRESS_BITS)
        m.d.comb += [
            decoded_free.eq(~self.decoded.valid | self.decoded.ready),
            held_leaves.eq(held_valid & decoded_free & ~self.freeze),
            self.messages.ready.eq((~held_valid | held_leaves) & ~self.freeze),
            # A message that stays is decoded anew, since the regions may change under it.
            address.eq(Mux(self.messages.ready, self.messages.payload.address, held.address)),
        ]
        offsets = []
        for number in range(config.regions):
            #: with a borrow on top: the address lies below the base
            offset = Signal(ADDRESS_BITS + 1, name=f"offset{number}")
            offsets.append(offset)
            m.d.sync += offset.eq(address - self.regions[number].base)
        with m.If(self.messages.ready):
            m.d.sync += [held_valid.eq(self.messages.valid), held.eq(self.messages.payload)]

        target = Signal(2)
        cached, shared = Signal(), Signal()
        head = Signal(config.head_bits)
        chosen = Signal(ADDRESS_BITS)
        m.d.comb += target.eq(Target.NXM)
        for number in reversed(range(config.regions)):
            region, offset = self.regions[number], offsets[number]
            local_head = offset[block_end:ADDRESS_BITS]
            window = Signal(head_count_bits, name=f"window{number}")
            inside = Signal(name=f"inside{number}")
            m.d.comb += [
                inside.eq(region.enabled & ~offset[ADDRESS_BITS] & self._belongs(region, held.ld_id)),
                # Behind the last block lies the hint window, a line a head: the slice above a block is then `heads`.
                window.eq(offset[:head_count_bits]),
            ]
            with m.If(inside & (local_head < region.heads)):
                m.d.comb += [
                    target.eq(Target.BLOCK),
                    head.eq(region.first_head + local_head),
                    chosen.eq(offset),
                    cached.eq(region.cached),
                    shared.eq(region.hosts.all() if config.hosts > 1 else 0),
                ]
            with m.Elif(inside & (local_head == region.heads) & (offset[:block_end] < region.heads)):
                m.d.comb += [
                    target.eq(Target.HINT), head.eq(region.first_head + window), chosen.eq(0), cached.eq(0),
                    shared.eq(0),
                ]  # fmt: skip

        with m.If(decoded_free):
            m.d.sync += [
                self.decoded.valid.eq(held_leaves),
                self.decoded.payload.message.eq(held),
                self.decoded.payload.target.eq(target),
                self.decoded.payload.head.eq(head),
                self.decoded.payload.block.eq(Mux(target == Target.BLOCK, chosen[line_bits:block_end], 0)),
                self.decoded.payload.line.eq(Mux(target == Target.BLOCK, chosen[:line_bits], 0)),
                self.decoded.payload.host.eq(held.ld_id if config.hosts > 1 else 0),
                self.decoded.payload.cached.eq(cached),
                self.decoded.payload.shared.eq(shared),
            ]
        return m

    def _belongs(self, region, ld_id):
        """Whether a region belongs to the host with this LD-ID."""
        if self._config.hosts == 1:
            return 1
        return (ld_id < self._config.hosts) & region.hosts.bit_select(ld_id[0], 1)
