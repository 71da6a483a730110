"""Stream rules: of the blocks behind the outer ports, and of the arbiter that every shared port uses."""

from golden.config import preset
from hw.event_port import EventPort
from hw.phase import PhaseDetector
from hw.streams import Arbiter
from tests.formal.free import FreeBlock, ReadyIsLate
from tests.formal.prove import Method, Proof

__all__ = ["PROOFS"]

_CONFIG = preset("tiny")
_BLOCKS = {
    "arbiter": lambda: Arbiter(4, count=3),
    "event_port": lambda: EventPort(config=_CONFIG, pipeline_depth=9),
    "phase": lambda: PhaseDetector(config=_CONFIG),
}


def _proofs():
    for name, make in _BLOCKS.items():
        yield Proof(
            f"{name}_streams", "valid is not withdrawn, the payload is stable", "stream rules",
            lambda make=make: FreeBlock(make), Method.INDUCTION, 6, short=True,
        )  # fmt: skip
        yield Proof(
            f"{name}_ready", "no valid depends on a ready of the same clock", "stream rules",
            lambda make=make: ReadyIsLate(make), Method.BOUNDED, 10, short=name != "phase",
        )  # fmt: skip


PROOFS = tuple(_proofs())
