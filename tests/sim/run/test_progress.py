"""The line that says how far a run is: when it is shown, and what it says."""

import io

import pytest

from kv_endpoint.sim.run import progress
from kv_endpoint.sim.run.progress import Progress, RequestProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds, to be set: `clock[0]`."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def counters(clocks, answered, early=0, late=0):
    return {"clocks": clocks, "hosts": {"answered": answered, "early": early, "late": late}}


def test_a_file_has_a_line_every_ten_seconds(clock):
    stream = io.StringIO()
    shown = Progress(8, stream)
    for second in range(25):
        clock[0] = 100.0 + second
        shown.show(step=second, hit_rate=0.5, checked=1234, cycles=1000 * second)
    assert stream.getvalue().splitlines() == [
        "  10 s  step 8 of 8  10,000 clocks (1,000/s)  hit rate so far 0.500  1,234 records checked",
        "  20 s  step 8 of 8  20,000 clocks (1,000/s)  hit rate so far 0.500  1,234 records checked",
    ]


def test_what_a_run_without_clocks_or_hits_does_not_have_is_left_out(clock):
    stream = io.StringIO()
    shown = Progress(8, stream)
    clock[0] += 10
    shown.show(step=-1, hit_rate=None, checked=0)
    assert stream.getvalue() == "  10 s  step 0 of 8  0 records checked\n"


def test_on_a_terminal_a_line_takes_the_place_of_the_one_before_and_goes_for_one_that_stays(clock):
    stream = Terminal()
    shown = Progress(8, stream)
    for cycles in (10**6, 1):
        clock[0] += 1
        shown.show(step=0, hit_rate=None, checked=0, cycles=cycles)
    shown.say("built")
    shown.clear()
    _, long, short, blank, rest = stream.getvalue().split("\r")
    assert long.startswith("   1 s") and short.startswith("   2 s")
    assert len(short) == len(long) and blank.strip() == "" and len(blank) >= len(short.rstrip())
    assert rest == "built\n"


def test_requests_are_counted_over_all_runs_with_what_is_left_in_proportion(clock):
    stream = io.StringIO()
    shown = RequestProgress(400, stream)
    for seconds, run in ((10, counters(0, 0)), (20, counters(900, 100, 3, 4))):
        clock[0] = 100.0 + seconds
        shown.show(run)
    shown.end_run(counters(2000, 200, 5, 6))
    clock[0] = 160.0
    shown.show(counters(1500, 100, 1, 1))
    assert stream.getvalue().splitlines() == [
        "  10 s  0 of 400 requests  0 clocks  0 conflicts",
        "  20 s  100 of 400 requests  900 clocks  7 conflicts  about 60 s left",
        "  60 s  300 of 400 requests  3,500 clocks  13 conflicts  about 20 s left",
    ]
