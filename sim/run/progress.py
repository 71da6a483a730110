"""The line that says how far a run is."""

import sys
import time

__all__ = ["Progress", "RequestProgress"]

#: seconds between lines on a terminal, where a line replaces the one before, and in a file
TERMINAL_SECONDS = 0.5
FILE_SECONDS = 10


class _Line:
    """A line on `stream`, standard error if there is none, that is shown now and then."""

    def __init__(self, stream=None):
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._width = 0
        self.start()

    def start(self):
        """The run begins now: what came before it, a build, counts for no speed."""
        self._started = time.monotonic()
        self._due = self._started + self._interval

    @property
    def _interval(self):
        return TERMINAL_SECONDS if self._terminal else FILE_SECONDS

    def _show(self, parts):
        """Show the texts that `parts(seconds)` gives, if it is time to; `seconds` since the start."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + self._interval
        seconds = now - self._started
        text = "  ".join([f"{seconds:4.0f} s", *parts(seconds)])
        if self._terminal:
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
            self._stream.flush()
        else:
            print(text, file=self._stream, flush=True)

    def say(self, text):
        """A line that stays."""
        self.clear()
        print(text, file=self._stream, flush=True)

    def clear(self):
        """Take the moving line away."""
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width = 0


class Progress(_Line):
    """Of a run that takes `steps`."""

    def __init__(self, steps, stream=None):
        self._steps = steps
        super().__init__(stream)

    def show(self, *, step, hit_rate, checked, cycles=None):
        """Say it if it is time to. `step` counts from 0 and may still be in progress."""

        def parts(seconds):
            yield f"step {max(0, min(step, self._steps))} of {self._steps}"
            if cycles is not None:
                yield f"{cycles:,} clocks ({cycles / seconds:,.0f}/s)"
            if hit_rate is not None:
                yield f"hit rate so far {hit_rate:.3f}"
            yield f"{checked:,} records checked"

        self._show(parts)


class RequestProgress(_Line):
    """Of several runs, one after the other, of `requests` of caching hosts in all."""

    def __init__(self, requests, stream=None):
        self._requests = requests
        self._before = (0, 0, 0)
        super().__init__(stream)

    def _so_far(self, counters):
        hosts = counters["hosts"]
        run = counters["clocks"], hosts["answered"], hosts["early"] + hosts["late"]
        return tuple(map(sum, zip(self._before, run, strict=True)))

    def show(self, counters):
        """Say it if it is time to, with the `tb.runs.batch.counters` of the run in progress."""
        clocks, answered, conflicts = self._so_far(counters)

        def parts(seconds):
            yield f"{answered:,} of {self._requests:,} requests"
            yield f"{clocks:,} clocks"
            yield f"{conflicts:,} conflicts"
            if answered:
                yield f"about {seconds * max(0, self._requests - answered) / answered:.0f} s left"

        self._show(parts)

    def end_run(self, outcome):
        """The next run begins; this one came to `outcome`."""
        self.clear()
        self._before = self._so_far(outcome)
