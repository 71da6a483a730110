"""What a workload is made of: steps, layers, hints and accesses; and the error that refuses a workload."""

from dataclasses import dataclass

__all__ = ["MASS_SUM_MAX", "MASS_SUM_TOLERANCE", "Access", "Hint", "Layer", "Replay", "Step", "WorkloadError"]

#: what float16 rounding may take from, or add to, the attention mass of a head in a step, which is 1
MASS_SUM_TOLERANCE = 0.01
#: most that the hints of a head may name of it
MASS_SUM_MAX = 1 + MASS_SUM_TOLERANCE


class WorkloadError(ValueError):
    """A workload that cannot be used: names the file, the place, the value and the rule."""


@dataclass(frozen=True)
class Hint:
    """One block that a head will read in this step; `existing` blocks share the head's mass of 1."""

    head: int
    block: int
    mass: float
    existing: int


@dataclass(frozen=True)
class Access:
    """`token` is None: the block is read; else the token's K and V rows are written into the block."""

    head: int
    block: int
    token: int | None = None


@dataclass(frozen=True)
class Replay:
    """Blocks 0 .. `blocks` - 1 of a head, all of which a layer reads again, lowest first."""

    head: int
    blocks: int


@dataclass(frozen=True)
class Layer:
    """What one layer does in a step: hints first, then accesses in this order; `replays` says which of them replay.

    `newest`: the block that each of its heads reads whatever attention says, since it writes into it; None if the heads
    have no such block in common.
    """

    hints: tuple
    accesses: tuple
    replays: tuple = ()
    newest: int | None = None


@dataclass(frozen=True)
class Step:
    number: int
    layers: tuple
