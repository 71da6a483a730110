"""What each engine note must be: the fields of its kind, and the rule that it follows."""

from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.events.port import EngineKind, ErrorKind, Lane, record_fields
from kv_endpoint.golden.follow.coherency_notes import CoherencyNotes
from kv_endpoint.golden.follow.command_notes import CommandNotes
from kv_endpoint.golden.follow.frame_notes import FrameNotes
from kv_endpoint.golden.follow.prefetch_notes import PrefetchNotes

__all__ = ["NoteRules"]

_ERRORS = {int(kind): kind for kind in ErrorKind}
#: errors of DDR5, which no other record shows
_MEMORY_ERRORS = {ErrorKind.AXI_READ, ErrorKind.AXI_WRITE}
#: fields that a note uses; the others must be 0
_FIELDS = {
    EngineKind.STEP: ("aux",),
    EngineKind.CSR_WRITE: ("key", "aux"),
    EngineKind.MISS_OPEN: ("head", "block", "aux"),
    EngineKind.MISS_CLOSE: ("head", "block"),
    EngineKind.VICTIM: ("head", "block", "frame", "key", "aux"),
    EngineKind.BYPASS: ("head", "block", "frame", "key"),
    EngineKind.PAGE_READ: ("head", "block", "frame", "aux"),
    EngineKind.PAGE_WRITE: ("head", "block", "frame", "aux"),
    EngineKind.PAGE_READ_DONE: ("head", "block", "frame", "aux"),
    EngineKind.PAGE_WRITE_DONE: ("head", "block", "frame", "aux"),
    EngineKind.REFUSAL: ("key", "head", "block", "aux"),
    EngineKind.ERROR: ("key", "aux"),
    EngineKind.QUOTA: ("head", "key", "aux"),
    EngineKind.POOL: ("key", "aux"),
    EngineKind.PHASE: ("key", "aux"),
    EngineKind.PREFETCH_QUEUED: ("head", "block", "aux"),
    EngineKind.PREFETCH_DROPPED: ("head", "block", "aux"),
    EngineKind.BI_SNOOP: ("head", "block", "key", "aux"),
    EngineKind.BI_ANSWER: ("head", "block", "key", "aux"),
    EngineKind.BI_RECALL: ("head", "block", "key"),
    EngineKind.BI_SCRUB: ("key", "aux"),
}


class NoteRules:
    """Hands every note to the rule of its kind.

    Parameters
    ----------
    endpoint : golden.follow.follower.Follower
        The state that the notes change.
    """

    def __init__(self, endpoint):
        self._endpoint = endpoint
        names = [name for name, _ in record_fields(endpoint.config, Lane.ENGINE) if name not in ("sequence", "kind")]
        self._unused = {kind: [name for name in names if name not in used] for kind, used in _FIELDS.items()}
        coherency = CoherencyNotes(endpoint)
        self._rules = {
            EngineKind.STEP: self._step,
            EngineKind.ERROR: self._error,
            EngineKind.PHASE: endpoint.phases.note,
            **FrameNotes(endpoint).rules,
            **CommandNotes(endpoint).rules,
            **PrefetchNotes(endpoint).rules,
            **coherency.rules,
        }
        self._coherency_errors = coherency.errors

    def follow(self, kind, record):
        """The next record is a note of `kind`."""
        if kind not in self._rules:
            raise Mismatch("kind", "a note that can come", kind.name)
        for name in self._unused[kind]:
            if record[name] != 0:
                raise Mismatch(name, 0, record[name])
        self._rules[kind](record)

    def _step(self, record):
        self._endpoint.now = self._endpoint.hint_line.step(record["aux"])

    def _error(self, record):
        if record["key"] not in _ERRORS:
            raise Mismatch("key", "an ErrorKind", record["key"])
        kind, owed = _ERRORS[record["key"]], self._endpoint.errors_owed
        if kind == ErrorKind.STEP_EXHAUSTED:
            self._endpoint.hint_line.exhausted(record["aux"])
        elif kind in self._coherency_errors:
            self._coherency_errors[kind](record["aux"])
        elif kind not in _MEMORY_ERRORS:
            if not owed[kind]:
                raise Mismatch("key", "no such error", kind.name)
            owed[kind] -= 1
