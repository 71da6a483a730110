"""The host's issue rate: how it follows the load that responses say."""

import pytest

from kv_endpoint.golden.common.messages import DevLoad
from kv_endpoint.tb.agents.throttle import INTERVAL, RATE_MIN, RATE_ONE, Throttle


def after(throttle, *levels, intervals=1):
    """The rate after so many intervals, in each of which a response of each of `levels` came."""
    loads = [0] * len(DevLoad)
    for _ in range(intervals):
        for level in levels:
            loads[level] += 1
        for _ in range(INTERVAL):
            throttle.clock(tuple(loads))
    return throttle.rate


@pytest.mark.parametrize(
    ("levels", "parts"),
    [
        ((), 1),
        ((DevLoad.OPTIMAL,), 1),
        ((DevLoad.LIGHT,), 9 / 8),
        ((DevLoad.MODERATE,), 7 / 8),
        ((DevLoad.SEVERE,), 1 / 2),
        ((DevLoad.LIGHT, DevLoad.MODERATE, DevLoad.LIGHT), 7 / 8),
        ((DevLoad.MODERATE, DevLoad.SEVERE, DevLoad.OPTIMAL), 1 / 2),
    ],
)
def test_rate_follows_the_highest_load_of_an_interval(levels, parts):
    throttle = Throttle()
    throttle.rate = RATE_ONE // 2
    assert after(throttle, *levels) == RATE_ONE // 2 * parts


def test_rate_stays_within_its_bounds():
    throttle = Throttle()
    assert after(throttle, DevLoad.LIGHT) == RATE_ONE
    assert after(throttle, DevLoad.SEVERE, intervals=50) == RATE_MIN
    assert after(throttle, DevLoad.LIGHT, intervals=100) == RATE_ONE


@pytest.mark.parametrize("rate", [RATE_MIN, 100, RATE_ONE // 2, 1000, RATE_ONE])
def test_messages_are_offered_at_the_rate_of_each_channel(rate):
    throttle = Throttle()
    throttle.rate = rate
    offered = {"req": 0, "rwd": 0}
    clocks = 10 * RATE_ONE
    for _ in range(clocks):
        throttle.clock((0,) * len(DevLoad))
        for channel in offered:
            if throttle.free(channel):
                throttle.offered(channel)
                offered[channel] += 1
    for count in offered.values():
        assert abs(count - clocks * rate / RATE_ONE) <= 2
