"""Lock-step: the records of both lanes go to the golden endpoint one by one, in sequence order."""

from kv_endpoint.tb.lib.bus import Scoreboard
from kv_endpoint.tb.lib.record_order import Merger

__all__ = ["EventScoreboard"]


class EventScoreboard(Scoreboard):
    """Feeds the records of two monitors (lane -> monitor) to `check(lane, fields)` in sequence order.

    Keeps the records, (lane, fields), in `records`. What `check` raises stops the test in the clock of the record.
    """

    def __init__(self, dut, monitors, *, check=None, moved=None):
        super().__init__(dut)
        self.records = []
        self._check, self._moved = check, moved
        self._merger = Merger(self._take)
        for lane, monitor in monitors.items():
            self.add_interface(monitor, [], compare_fn=lambda fields, lane=lane: self._merger.add(lane, fields))

    def _take(self, lane, fields):
        self.records.append((lane, fields))
        if self._moved is not None:
            self._moved()
        if self._check is not None:
            self._check(lane, fields)

    def forget(self):
        """In a reset: the next record has number 0."""
        self._merger = Merger(self._take)

    def finish(self):
        """Raises `SequenceError` if a record is missing."""
        self._merger.finish()
