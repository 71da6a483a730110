"""What the regression runs, and in which order.

A test with the mark `long` runs in `make regress` alone (`--long`): more seeds and cases of a rule that others check.
It runs too where the command line names it.
One with the mark `quick` is that of its block in `make quick` (`--quick`), which runs the golden models besides.

The longest tests come first, so that no core ends long after the other. `tests/durations.json` has the seconds of the
longest test of each function that takes long. `make test ARGS=--write-durations` writes it anew. It decides nothing but
the order, so an old one costs time and nothing else.
"""

import gc
import json
from collections import Counter
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("durations.json")
#: shorter functions are not listed
SECONDS_LISTED = 2
#: Amaranth's graphs are large and live long: Python's collector at its usual pace takes a third of the time.
GARBAGE_THRESHOLD = 200_000
#: all of it runs in `make quick`
QUICK_ROOM = "tests/golden/"


def pytest_addoption(parser):
    parser.addoption("--write-durations", action="store_true", help=f"write {FILE.name} anew from this run")
    parser.addoption("--long", action="store_true", help="the tests of `make regress` alone")
    parser.addoption("--quick", action="store_true", help="the tests of `make quick` alone")


def _function(nodeid):
    """A test's function: all of its parameters together."""
    return nodeid.partition("[")[0]


def _longest_first(items, seconds):
    """Items in order of their function's seconds; what is not listed keeps its order at the end."""
    return sorted(items, key=lambda item: -seconds.get(_function(item.nodeid), 0))


def _is_named(item, config):
    """Whether the command line names this very test, or its function."""
    return any("::" in name and (item.nodeid == name or _function(item.nodeid) == name) for name in config.args)


def _is_wanted(item, config):
    if _is_named(item, config):
        return True
    is_long = item.get_closest_marker("long") is not None
    if config.getoption("--long") or is_long:
        return config.getoption("--long") and is_long
    if config.getoption("--quick"):
        return item.get_closest_marker("quick") is not None or item.nodeid.startswith(QUICK_ROOM)
    return True


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    left = [item for item in items if not _is_wanted(item, config)]
    config.hook.pytest_deselected(items=left)
    wanted = [item for item in items if _is_wanted(item, config)]
    items[:] = _longest_first(wanted, json.loads(FILE.read_text()))


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
    gc.set_threshold(GARBAGE_THRESHOLD, 20, 20)
    config.addinivalue_line("markers", "long: runs in `make regress` alone")
    config.addinivalue_line("markers", "quick: the test of its block in `make quick`")
    if config.getoption("--write-durations") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Durations())
