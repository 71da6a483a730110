"""How a host slows down on the load that a device reports: its issue rate, clock for clock as in `tb/hdl/player.v`.

The behaviour is that of a host in CXL 3.0 section 3.3.4 (QoS telemetry); the numbers are ours.
"""

from kv_endpoint.golden.common.messages import DevLoad

__all__ = ["INTERVAL", "RATE_MIN", "RATE_ONE", "SHIFTS", "Throttle"]

#: rate of one message a clock on each channel: no slowing down
RATE_ONE = 1024
#: the lowest rate, a message in 128 clocks: progress goes on
RATE_MIN = 8
#: clocks from one change of the rate to the next: longer than a message takes to show what a change has done
INTERVAL = 256
#: the steps as parts of the rate, 2^-shift: up (light load), down (moderate overload), down (severe overload)
SHIFTS = (3, 3, 1)


class Throttle:
    """One issue rate for a device, kept on both request channels; it begins at `RATE_ONE`.

    Once an interval it changes by the highest load in the responses since: up at light load, not at all at optimal
    load or without a response, down in moderate, and further down in severe overload.
    """

    def __init__(self):
        self.rate = RATE_ONE
        self._clocks = 0
        self._before = (0,) * len(DevLoad)
        self._credits = {"req": RATE_ONE, "rwd": RATE_ONE}

    def clock(self, loads):
        """A clock has passed, and `loads` counts by level the responses up to its end."""
        self._clocks += 1
        if self._clocks % INTERVAL == 0:
            self._change([level for level in DevLoad if loads[level] != self._before[level]])
            self._before = tuple(loads)
        for channel, credit in self._credits.items():
            self._credits[channel] = min(credit + self.rate, 2 * RATE_ONE - 1)

    def _change(self, levels):
        up, down, far_down = SHIFTS
        highest = max(levels, default=DevLoad.OPTIMAL)
        if highest == DevLoad.LIGHT:
            self.rate = min(RATE_ONE, self.rate + (self.rate >> up))
        elif highest == DevLoad.MODERATE:
            self.rate = max(RATE_MIN, self.rate - (self.rate >> down))
        elif highest == DevLoad.SEVERE:
            self.rate = max(RATE_MIN, self.rate - (self.rate >> far_down))

    def free(self, channel):
        """Whether the rate lets a message be offered now."""
        return self._credits[channel] >= RATE_ONE

    def offered(self, channel):
        self._credits[channel] -= RATE_ONE
