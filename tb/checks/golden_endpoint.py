"""The golden endpoint of a bench, what the scoreboard compares each record with, and its protocol monitor."""

import os
import time
from pathlib import Path

from kv_endpoint.golden.follow.follower import Follower
from kv_endpoint.tb.checks.bins_hit import Coverage
from kv_endpoint.tb.checks.protocol import ProtocolMonitor

__all__ = ["COVERAGE_FOLDER", "COVERAGE_FILES", "golden_endpoint", "protocol_monitor"]

#: pattern of the names of files of coverage
COVERAGE_FILES = "*.coverage.json"
#: environment variable: the folder in which every process leaves the coverage of what it has checked
COVERAGE_FOLDER = "KV_ENDPOINT_COVERAGE"
#: process -> (file name, coverage): a child begins anew
_covered = {}


def _of_this_process():
    name = f"{os.getpid()}-{time.time_ns()}{COVERAGE_FILES[1:]}"
    return _covered.setdefault(os.getpid(), (name, Coverage()))


class _CountingEndpoint(Follower):
    """Counts what its records cover; written down when an endpoint is finished."""

    def check(self, lane, record):
        _, coverage = _of_this_process()
        coverage.follow(self, lane, record, super().check)

    def finish(self):
        super().finish()
        folder, (name, coverage) = Path(os.environ[COVERAGE_FOLDER]), _of_this_process()
        folder.mkdir(parents=True, exist_ok=True)
        coverage.write(folder / name)


class _CountingMonitor(ProtocolMonitor):
    """Counts messages too. The endpoint beside it writes them down."""

    def take(self, channel, fields):
        super().take(channel, fields)
        _, coverage = _of_this_process()
        coverage.message(channel, fields)


def protocol_monitor(config, **more):
    """A `ProtocolMonitor`."""
    return (_CountingMonitor if COVERAGE_FOLDER in os.environ else ProtocolMonitor)(config, **more)


def golden_endpoint(config):
    """A golden `Follower` as after reset."""
    return (_CountingEndpoint if COVERAGE_FOLDER in os.environ else Follower)(config)
