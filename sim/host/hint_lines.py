"""The hint lines that tell an endpoint what a step will read of a head."""

from kv_endpoint.golden.front.address import hint_address
from kv_endpoint.golden.front.hints import ENTRIES_MAX, pack_hint
from kv_endpoint.golden.host.operations import write

__all__ = ["hint_lines"]


def hint_lines(config, region, head, header, entries=()):
    """Writes of hint lines for blocks [(block, score)] of one head, 15 a line; one line without blocks for none."""
    address = hint_address(config, region, head)
    for first in range(0, max(1, len(entries)), ENTRIES_MAX):
        yield write(address, pack_hint(header, entries[first : first + ENTRIES_MAX]))
