"""One task a clock for all that acts in every clock.

A task that waits for an edge costs ten times what a call costs, and a bench has a dozen sinks that pause at random. So
they are called: each `drive` right after the rising edge, each `sample` at the falling one, in the order of their
coming.
"""

from cocotb import start_soon
from cocotb.triggers import FallingEdge, RisingEdge

__all__ = ["every_clock"]


class _Heartbeat:
    def __init__(self, clock):
        self._clock = clock
        self._members = []
        self._task = start_soon(self._run())

    @property
    def stopped(self):
        """cocotb ends all tasks with their test."""
        return self._task.done()

    def add(self, drive, sample):
        self._members.append((drive, sample))

    async def _run(self):
        rising, falling = RisingEdge(self._clock), FallingEdge(self._clock)
        while True:
            for drive, _ in self._members:
                drive()
            await falling
            for _, sample in self._members:
                sample()
            await rising


#: by clock
_beats = {}


def every_clock(clock, drive, sample):
    """Call `drive()` right after each rising edge of `clock` and `sample()` at each falling one, till the test ends.

    Who comes in the middle of a clock begins at its next edge, whichever that is.
    """
    if clock not in _beats or _beats[clock].stopped:
        _beats[clock] = _Heartbeat(clock)
    _beats[clock].add(drive, sample)
