"""Which responses each message must get, by the golden front end."""

from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.common.messages import NDROpcode
from kv_endpoint.golden.front.frontend import slot_of_req, slot_of_rwd
from kv_endpoint.golden.pipeline.metadata import DataKind, Entry, SlotKind, commit

__all__ = ["Expected", "ProtocolError", "expected_responses"]

#: the responses that an ANSWER slot's data operation means; a read has both, a write NDR alone
_ANSWERS = {
    DataKind.ZEROS: ("ndr", "drs"),
    DataKind.NXM: ("drs",),
    DataKind.COMPLETE: ("ndr",),
    DataKind.ACK: ("ndr",),
    DataKind.DISCARD: (),
}
_CMP = frozenset({NDROpcode.CMP})
_CMP_S_OR_E = frozenset({NDROpcode.CMP_S, NDROpcode.CMP_E})
_CMP_E = frozenset({NDROpcode.CMP_E})
#: NDR opcodes of requests that may be cached; all others are completed with Cmp
_GRANTS = {
    Access.READ_SHARED: _CMP_S_OR_E,
    Access.READ_DATA: _CMP_S_OR_E,
    Access.READ_OWN: _CMP_E,
    Access.OWN: _CMP_E,
}


class ProtocolError(AssertionError):
    """A message that nothing asked for, not the one that was due, or one that breaks a rule of the protocol."""


class Expected:
    """What a message is answered with.

    Attributes
    ----------
    channels : tuple of str
        `ndr`, `drs`: where a response is due.
    ndr : frozenset of NDROpcode
        What the NDR may be.
    place : (head, block, line) or None
        The line of a block that the message is about.
    access : Access
    """

    __slots__ = ("channels", "ndr", "place", "access")

    def __init__(self, config, regions, channel, fields):
        slot = slot_of_req(config, regions, fields) if channel == "req" else slot_of_rwd(config, regions, fields)
        self.access, self.place, self.ndr = Access.PLAIN, None, _CMP
        if slot is None:
            self.channels = ("ndr",)
        elif slot.kind == SlotKind.ANSWER:
            data = commit(Entry(), slot, 0, None).data
            self.channels = _ANSWERS[data]
            if data == DataKind.ACK:
                self.ndr = frozenset({NDROpcode.BI_CONFLICT_ACK})
        else:
            self.access, self.place = slot.access, (slot.head, slot.block, slot.line)
            wants_data = slot.kind == SlotKind.READ and slot.access != Access.OWN
            self.channels = ("ndr", "drs") if wants_data else ("ndr",)
            self.ndr = _GRANTS.get(slot.access, _CMP)

    @property
    def may_be_nxm(self):
        """A read that may be cached is answered as outside every region where it needs a frame that it cannot get."""
        return self.access.caches and "drs" in self.channels

    @property
    def ndr_unwritable(self):
        """What the NDR may be while flash cannot be written: ownership is then refused by Cmp."""
        return self.ndr | _CMP if self.access == Access.OWN else self.ndr


def expected_responses(config, regions, channel, fields):
    """Channels on which a message is answered."""
    return Expected(config, regions, channel, fields).channels
