"""The watchdog of the interactive form: a test that no longer moves stops with the message that waits longest."""

import cocotb
from cocotb.triggers import Timer

__all__ = ["Stuck", "Watchdog"]

#: `limit`s for which one message may be the oldest, while others move
PERIODS = 10


class Stuck(AssertionError):
    """A message was outstanding for too long."""


class Watchdog:
    """Raises `Stuck` when `moved` was not called for `limit` to 2 x `limit` clocks while `oldest()` names a message, or
    when that was the same one for `PERIODS` times as long, whatever moved.
    """

    def __init__(self, clock_period_steps, *, limit, oldest):
        self._period, self._limit, self._oldest = clock_period_steps, limit, oldest
        self._moves = 0
        self._thread = cocotb.start_soon(self._run())

    def moved(self):
        """Something happened."""
        self._moves += 1

    async def _run(self):
        seen, waiting, periods = self._moves, None, 0
        while True:
            await Timer(self._limit * self._period, unit="step")
            oldest = self._oldest()
            periods = periods + 1 if oldest is not None and oldest == waiting else 0
            if periods and self._moves == seen:
                raise Stuck(f"no response and no record for {self._limit} clocks; the oldest message is {oldest}")
            if periods == PERIODS:
                raise Stuck(f"no response for {PERIODS * self._limit} clocks, while others had one, to {oldest}")
            seen, waiting = self._moves, oldest
