"""The order of records: both lanes of the event port, merged by sequence number."""

from kv_endpoint.golden.events.port import SEQUENCE_BITS

__all__ = ["Merger", "SequenceError"]

#: records of one lane that may leave before an earlier one of the other lane; the FIFOs of the event port hold less
WINDOW = 1024


class SequenceError(AssertionError):
    """A sequence number that is missing or comes twice."""


class Merger:
    """Puts records of both lanes into the order of their sequence numbers. `sink(lane, fields)` gets them."""

    def __init__(self, sink):
        self._sink = sink
        self._waiting = {}
        #: records that left in order: also the next sequence number, before it wraps
        self.count = 0

    def add(self, lane, fields):
        """Raises `SequenceError` for a number that comes twice or never."""
        distance = (fields["sequence"] - self.count) % (1 << SEQUENCE_BITS)
        if fields["sequence"] in self._waiting or distance >= WINDOW:
            seen = f"record {fields['sequence']} of lane {lane.name.lower()}"
            raise SequenceError(f"{seen} while {self.count} is due: it comes twice, or one is missing")
        self._waiting[fields["sequence"]] = (lane, fields)
        while (record := self._waiting.pop(self.count % (1 << SEQUENCE_BITS), None)) is not None:
            self.count += 1
            self._sink(*record)

    def finish(self):
        """Raises `SequenceError` if records wait for one that never came."""
        if self._waiting:
            raise SequenceError(f"record {self.count} is missing; {len(self._waiting)} later ones came")
