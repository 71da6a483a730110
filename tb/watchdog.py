"""The watchdog of the interactive form: a test that no longer moves stops with the message that waits longest."""

import cocotb
from cocotb.triggers import Timer

__all__ = ["Stuck", "Watchdog"]


class Stuck(AssertionError):
    """No response and no record for too long while a message was outstanding."""


class Watchdog:
    """Raises `Stuck` when `moved` was not called for `limit` to 2 x `limit` clocks while `oldest()` names a message."""

    def __init__(self, clock_period_steps, *, limit, oldest):
        self._period, self._limit, self._oldest = clock_period_steps, limit, oldest
        self._moves = 0
        self._thread = cocotb.start_soon(self._run())

    def moved(self):
        """Something happened."""
        self._moves += 1

    async def _run(self):
        seen, waiting = self._moves, None
        while True:
            await Timer(self._limit * self._period, unit="step")
            oldest = self._oldest()
            if oldest is not None and oldest == waiting and self._moves == seen:
                raise Stuck(f"no response and no record for {self._limit} clocks; the oldest message is {oldest}")
            seen, waiting = self._moves, oldest
