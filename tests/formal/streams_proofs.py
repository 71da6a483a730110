"""Stream rules: of the blocks behind the outer ports, and of the arbiter that every shared port uses."""

from kv_endpoint.golden.common.config import preset
from kv_endpoint.hw.data.memory_port import MemoryPort
from kv_endpoint.hw.events.port import EventPort
from kv_endpoint.hw.frames.migration import Migration
from kv_endpoint.hw.frames.misses.engine import MissEngine
from kv_endpoint.hw.lib.arbiter import Arbiter
from kv_endpoint.hw.pipeline.phase import PhaseDetector
from kv_endpoint.hw.registers.bus import CsrBus
from tests.formal.axi_bench import AxiBench
from tests.formal.free import FreeBlock, ReadyIsLate
from tests.formal.prove import Method, Proof

__all__ = ["PROOFS"]

_CONFIG = preset("tiny")
_FEW = preset(
    "tiny", heads=1, blocks_per_head=2, read_slots=2, write_slots=2, pin_cap=0, demotion_slots=1, filter_sets=2,
)  # fmt: skip
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
    yield Proof(
        "migration_pages", "valid is not withdrawn, the payload is stable", "page_command",
        lambda: FreeBlock(lambda: Migration(config=_CONFIG), only=("page_commands",)), Method.BOUNDED, 14, short=True,
    )  # fmt: skip
    # The first command comes 18 clocks after reset.
    yield Proof(
        "miss_pages", "valid is not withdrawn, the payload is stable", "page_command",
        lambda: FreeBlock(lambda: MissEngine(config=_FEW), only=("page_commands",)), Method.BOUNDED, 22,
    )  # fmt: skip
    says = "valid is not withdrawn, nothing changes until it is taken"
    yield Proof(
        "memory_axi", says, "mem AW W AR",
        lambda: AxiBench(lambda: MemoryPort(config=_CONFIG), "mem", ("aw", "w", "ar")), Method.BOUNDED, 8,
    )  # fmt: skip
    yield Proof(
        "csr_axi", says, "csr B R", lambda: AxiBench(lambda: CsrBus(address_bits=12), "bus", ("b", "r")),
        Method.INDUCTION, 3, short=True,
    )  # fmt: skip


PROOFS = tuple(_proofs())
