"""Address decoding: host physical address -> region, head, block, line, or a line of the hint window.

HPA = base + ((head x blocks_per_head + block) x lines_per_block + line) x 64; one hint line a head follows the last
block. All factors but the head count are powers of two, so decoding is a subtraction and bit slicing.
"""

from dataclasses import dataclass
from enum import IntEnum

from kv_endpoint.golden.common.config import LINE_BYTES, LINES_PER_BLOCK
from kv_endpoint.golden.common.mode import Mode

__all__ = ["Region", "Target", "Decoded", "decode", "encode", "hint_address", "region_lines"]


class Target(IntEnum):
    """Where an address lies."""

    NXM = 0
    BLOCK = 1
    HINT = 2


@dataclass(frozen=True)
class Region:
    """One address region: `base`, a byte address (64-byte aligned), and the heads `first_head ..` that lie in it."""

    base: int
    heads: int
    first_head: int = 0
    enabled: bool = True
    mode: Mode = Mode.EXACT
    #: hosts may cache its lines; the device takes them back by BISnp
    cached: bool = False
    #: which hosts it belongs to (a mask); what others ask of it lies outside every region
    hosts: int = 1

    @property
    def shared(self):
        """More than one host may have copies of a line."""
        return self.hosts & self.hosts - 1 != 0


@dataclass(frozen=True)
class Decoded:
    target: Target
    #: endpoint-wide head number
    head: int = 0
    block: int = 0
    line: int = 0
    #: the region, where the target is not NXM
    region: Region | None = None


def region_lines(config, region):
    """Lines that a region covers, hint window included."""
    return region.heads * (config.blocks_per_head * LINES_PER_BLOCK + 1)


def decode(config, regions, address, host=0):
    """Decode a line address (HPA >> 6) of a host. Where regions of it overlap, the lowest-numbered one wins."""
    for region in regions:
        offset = address - region.base // LINE_BYTES
        if not region.enabled or not region.hosts >> host & 1 or offset < 0:
            continue
        data_lines = region.heads * config.blocks_per_head * LINES_PER_BLOCK
        if offset < data_lines:
            line = offset % LINES_PER_BLOCK
            block = offset // LINES_PER_BLOCK % config.blocks_per_head
            head = offset // LINES_PER_BLOCK // config.blocks_per_head
            return Decoded(Target.BLOCK, region.first_head + head, block, line, region)
        if offset < data_lines + region.heads:
            return Decoded(Target.HINT, region.first_head + offset - data_lines, region=region)
    return Decoded(Target.NXM)


def encode(config, region, head, block, line):
    """Line address (HPA >> 6) of a line; `head` is the endpoint-wide number."""
    local = head - region.first_head
    return region.base // LINE_BYTES + (local * config.blocks_per_head + block) * LINES_PER_BLOCK + line


def hint_address(config, region, head):
    """Line address (HPA >> 6) of a head's hint line."""
    data_lines = region.heads * config.blocks_per_head * LINES_PER_BLOCK
    return region.base // LINE_BYTES + data_lines + head - region.first_head
