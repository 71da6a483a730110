"""The order of the regression: the longest tests first, so that no core ends long after the other.

`tests/durations.json` has the seconds of the longest test of each function that takes long. `make test
ARGS=--write-durations` writes it anew. It decides nothing but the order, so an old one costs time and nothing else.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("durations.json")
#: shorter functions are not listed
SECONDS_LISTED = 2


def pytest_addoption(parser):
    parser.addoption("--write-durations", action="store_true", help=f"write {FILE.name} anew from this run")


def _function(nodeid):
    """A test's function: all of its parameters together."""
    return nodeid.partition("[")[0]


def _longest_first(items, seconds):
    """Items in order of their function's seconds; what is not listed keeps its order at the end."""
    return sorted(items, key=lambda item: -seconds.get(_function(item.nodeid), 0))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items[:] = _longest_first(items, json.loads(FILE.read_text()))


class _Durations:
    """Keeps what the longest test of each function took, in the process that hears of all tests."""

    def __init__(self):
        self._seconds = Counter()

    def pytest_runtest_logreport(self, report):
        function = _function(report.nodeid)
        self._seconds[function] = max(self._seconds[function], report.duration)

    def pytest_sessionfinish(self):
        listed = {name: round(seconds) for name, seconds in self._seconds.most_common() if seconds >= SECONDS_LISTED}
        FILE.write_text(json.dumps(listed, indent=0) + "\n")


def pytest_configure(config):
    if config.getoption("--write-durations") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Durations())
