"""The policy registers: what the host sets by CSR and every block obeys."""

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Priority", "ScoreSource", "Policy", "lambda_of", "alpha_code", "policy_fields"]

ALPHA_BITS = 16
LAMBDA_FRACTION_BITS = 20
LAMBDA_BITS = 24


class Priority(IntEnum):
    """Which block leaves first."""

    DECAYED = 0
    PRODUCT = 1
    LRU = 2


class ScoreSource(IntEnum):
    """What an EMA is fed with."""

    MASS = 0
    ANNOUNCED = 1
    ACCESS = 2


def alpha_code(alpha):
    """`alpha` in [0, 1) as UQ0.16."""
    return min(0xFFFF, round(alpha * 65536))


def lambda_of(alpha):
    """lambda = log2(1 / (1 - alpha)) as UQ4.20, for the code of alpha: what the host writes together with alpha."""
    import math

    return round(-math.log2(1 - alpha_code(alpha) / 65536) * (1 << LAMBDA_FRACTION_BITS))


@dataclass(frozen=True)
class Policy:
    """Values of the policy registers; the defaults are the reset values."""

    priority: Priority = Priority.DECAYED
    score: ScoreSource = ScoreSource.MASS
    #: UQ0.16 and UQ4.20
    alpha: int = alpha_code(0.2)
    lam: int = lambda_of(0.2)
    protect: bool = True
    bypass: bool = True
    #: largest step advance by one hint header
    leap_cap: int = 256
    #: sources of prefetches that are on, and how many misses and demotions may be open for a prefetch to begin
    prefetch_announced: bool = False
    prefetch_window: bool = False
    prefetch_streams: bool = False
    prefetch_depth: int = 12
    #: the phase detector: reads a write from which on a window counts as decode, log2 of a window's accesses, whether a
    #: burst of writes shows prefill, and how many lines written to a block in a step make one
    phase_ratio: int = 10
    phase_window: int = 10
    phase_burst: bool = True
    phase_burst_lines: int = 32


def policy_fields():
    """((field, bits), ...) of the policy bundle that the CSR block drives, lowest bits first."""
    return (
        ("priority", 2), ("score", 2), ("alpha", ALPHA_BITS), ("lam", LAMBDA_BITS), ("protect", 1), ("bypass", 1),
        ("leap_cap", 16), ("prefetch_announced", 1), ("prefetch_window", 1), ("prefetch_streams", 1),
        ("prefetch_depth", 8), ("phase_ratio", 8), ("phase_window", 4), ("phase_burst", 1), ("phase_burst_lines", 8),
    )  # fmt: skip
