"""The line that says how far a run is."""

import sys
import time

__all__ = ["Progress"]

#: seconds between lines on a terminal, where a line replaces the one before, and in a file
TERMINAL_SECONDS = 0.5
FILE_SECONDS = 10


class Progress:
    """Prints to standard error; `steps` is how many the run takes."""

    def __init__(self, steps, stream=None):
        self._steps = steps
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._width = 0
        self.start()

    def start(self):
        """The run begins now: what came before it, a build, counts for no speed."""
        self._started = time.monotonic()
        self._due = self._started + self._seconds

    @property
    def _seconds(self):
        return TERMINAL_SECONDS if self._terminal else FILE_SECONDS

    def show(self, *, step, hit_rate, checked, cycles=None):
        """Say it if it is time to. `step` counts from 0 and may still be in progress."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + self._seconds
        seconds = now - self._started
        parts = [f"{seconds:4.0f} s", f"step {max(0, min(step, self._steps))} of {self._steps}"]
        if cycles is not None:
            parts.append(f"{cycles:,} clocks ({cycles / seconds:,.0f}/s)")
        if hit_rate is not None:
            parts.append(f"hit rate so far {hit_rate:.3f}")
        parts.append(f"{checked:,} records checked")
        self._line("  ".join(parts))

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

    def _line(self, text):
        if self._terminal:
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
            self._stream.flush()
        else:
            print(text, file=self._stream, flush=True)
