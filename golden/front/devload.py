"""DevLoad: how busy the endpoint says it is in each response (CXL 3.0 section 3.3.4, QoS telemetry).

What counts is the depth: requests accepted and not yet answered, in read and write slots together.
"""

from dataclasses import dataclass

from kv_endpoint.golden.common.messages import DevLoad

__all__ = ["Thresholds", "load"]


@dataclass(frozen=True)
class Thresholds:
    """Depths from which on a load is reported; in rising order, as the host sets them in DEVLOAD."""

    optimal: int
    moderate: int
    severe: int


def load(depth, thresholds):
    """The highest load whose threshold `depth` has reached."""
    if depth >= thresholds.severe:
        return DevLoad.SEVERE
    if depth >= thresholds.moderate:
        return DevLoad.MODERATE
    if depth >= thresholds.optimal:
        return DevLoad.OPTIMAL
    return DevLoad.LIGHT
