"""What the notes about snoops must be: which leave, which are answered, what is taken back, what went wrong."""

from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.events.port import EngineKind, ErrorKind

__all__ = ["CoherencyNotes"]

#: of ERROR BAD_BIRSP: BITag, opcode, LowAddr, BI-ID
_BAD_BIRSP_BITS = 30


class CoherencyNotes:
    """Follows BI_SNOOP, BI_ANSWER, BI_RECALL, BI_SCRUB; `rules` has the method of each kind, `errors` those of the
    ERROR notes of this part.

    Parameters
    ----------
    endpoint : golden.follow.follower.Follower
        The state that the notes change.
    """

    def __init__(self, endpoint):
        coherent = endpoint.coherent
        self.rules = {
            EngineKind.BI_SNOOP: coherent.snoop,
            EngineKind.BI_ANSWER: coherent.answer,
            EngineKind.BI_RECALL: coherent.recall,
            EngineKind.BI_SCRUB: coherent.scrub,
        }
        self.errors = {ErrorKind.BAD_BIRSP: self._bad_birsp, ErrorKind.SNOOP_TIMEOUT: coherent.snoops.timed_out}

    @staticmethod
    def _bad_birsp(aux):
        """An input: what is wrong with a BIRsp may have been right when it was noted."""
        if aux >> _BAD_BIRSP_BITS:
            raise Mismatch("aux", f"{_BAD_BIRSP_BITS} bits", aux)
