"""The golden lock-step of a batch run: a process beside the simulator that reads the event file as it grows."""

import time
import traceback

from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.events.port import Lane, unpacker
from kv_endpoint.sim.results.statistics import Statistics
from kv_endpoint.tb.checks.golden_endpoint import golden_endpoint
from kv_endpoint.tb.lib.record_order import Merger, SequenceError

__all__ = ["Checker", "follow"]

_LANES = {"S": Lane.SLOT, "E": Lane.ENGINE}
#: seconds between two looks at a file that has not grown, and between two reports
POLL_SECONDS = 0.05
REPORT_SECONDS = 0.3


def follow(path, ended):
    """The whole lines of a file that is still being written, until `ended()` and nothing is left.

    A last line without its end is dropped: its writer was stopped.
    """
    while not path.exists():
        if ended():
            return
        time.sleep(POLL_SECONDS)
    with open(path) as file:
        rest = ""
        while True:
            # Asked before reading: what was written before the end is in the read that follows.
            last = ended()
            chunk = file.read(1 << 20)
            if chunk:
                lines = (rest + chunk).split("\n")
                rest = lines.pop()
                yield from lines
            elif last:
                return
            else:
                time.sleep(POLL_SECONDS)


class Checker:
    """Compares every record of an event file with the golden endpoint, and counts what they say.

    After `run`: `statistics` of the records that were found right, `checked`, how many that were, `victims`, how many
    of these were evictions, and `mismatch`, the first difference in words. `observer(lane, fields)`, if given, sees
    those records too. `apart`: heads whose blocks are counted by themselves.
    """

    def __init__(self, config, *, observer=None, apart=()):
        self._config = config
        self._observer = observer
        self.statistics = Statistics(apart=apart)
        self.checked = 0
        self.mismatch = None
        self._endpoint = golden_endpoint(config)

    @property
    def victims(self):
        return self._endpoint.victims

    def _record(self, lane, fields):
        self._endpoint.check(lane, fields)
        self.checked += 1
        self.statistics.record(lane, fields)
        if self._observer is not None:
            self._observer(lane, fields)

    def run(self, path, ended, report):
        """Follow the file at `path` until `ended()`; `report()` is called now and then."""
        merger = Merger(self._record)
        fields_of = {lane: unpacker(self._config, lane) for lane in Lane}
        due = 0
        try:
            for number, line in enumerate(follow(path, ended)):
                letter, payload = line.split()
                lane = _LANES[letter]
                merger.add(lane, fields_of[lane](int(payload, 16)))
                if number % 512 == 0 and time.monotonic() > due:
                    report()
                    due = time.monotonic() + REPORT_SECONDS
            merger.finish()
            self._endpoint.finish()
        except (Mismatch, SequenceError) as difference:
            self.mismatch = str(difference)


def check(config, path, ended, pipe, apart=()):
    """Body of the process: sends ("progress", step, hit rate, checked) now and then.

    At the end ("done", statistics, checked, victims, mismatch), or ("crash", traceback).
    """
    try:
        checker = Checker(config, apart=apart)
        statistics = checker.statistics

        def report():
            pipe.send(("progress", statistics.step, statistics.hit_rate, checker.checked))

        checker.run(path, ended.is_set, report)
        pipe.send(("done", statistics, checker.checked, checker.victims, checker.mismatch))
    except Exception:
        pipe.send(("crash", traceback.format_exc()))
