"""The register map of `csr.rdl`, elaborated for a configuration."""

import inspect
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from systemrdl import RDLCompiler
from systemrdl.node import RegNode
from systemrdl.rdltypes import AccessType, OnWriteType

__all__ = ["ADDRESS_BITS", "RDL", "PARAMETERS", "Kind", "Field", "Register", "elaborate", "registers"]

RDL = Path(__file__).with_name("csr.rdl")
#: byte address width of the register port
ADDRESS_BITS = 12
#: root parameters of the map: fields and derived parameters of `Config`
PARAMETERS = (
    "heads", "blocks_per_head", "regions", "step_bits", "frames", "pool_frames_min", "pool_frames_max", "pin_cap",
    "bypass_slots", "sweep_width", "queue_depth", "streams", "prefetch_queue_depth", "prefetch_slots", "read_slots",
    "write_slots", "hosts", "filter_sets", "filter_ways", "snoops", "pool_frames_min_cached",
)  # fmt: skip


class Kind(Enum):
    """How a field behaves, and how the document calls that."""

    #: fixed by the build
    CONSTANT = "r, constant"
    #: follows the hardware
    STATUS = "r"
    #: counts hardware events modulo 2^width
    COUNTER = "r, counter"
    #: keeps what is written
    STORED = "rw"
    #: set by hardware, writing 1 clears
    STICKY = "rw, woclr, hwset"
    #: writing 1 starts something; reads as 0
    PULSE = "rw, singlepulse"


@dataclass(frozen=True)
class Field:
    """Bits `low .. low + width - 1` of a register."""

    name: str
    low: int
    width: int
    reset: int
    kind: Kind
    #: {value: (name, meaning)} of an encoded field, else empty: every value is legal
    encoding: dict
    #: smallest and largest value that a write may set
    least: int
    most: int
    rebuild: bool
    meaning: str


@dataclass(frozen=True)
class Register:
    """One 32-bit register; `name` is the path in the map, as in `REGION[1].BASE_LO`."""

    name: str
    address: int
    held: bool
    command: bool
    #: no field may be below the one before it
    rising: bool
    fields: tuple
    meaning: str

    @property
    def writable(self):
        return any(field.kind in (Kind.STORED, Kind.STICKY, Kind.PULSE) for field in self.fields)

    @property
    def mask(self):
        """The bits that belong to fields."""
        return sum(((1 << field.width) - 1) << field.low for field in self.fields)

    @property
    def reset(self):
        """What the register reads after reset, as far as it does not follow the hardware."""
        return sum(field.reset << field.low for field in self.fields)

    def field(self, name):
        """The field called `name`."""
        return next(field for field in self.fields if field.name == name)


def elaborate(config, **overrides):
    """The root node of the map, its parameters set from `config` or else `overrides`."""
    compiler = RDLCompiler()
    compiler.compile_file(str(RDL))
    return compiler.elaborate(parameters={name: getattr(config, name) for name in PARAMETERS} | overrides)


def _kind(node):
    software, hardware = node.get_property("sw"), node.get_property("hw")
    if software == AccessType.r:
        if node.get_property("counter"):
            return Kind.COUNTER
        return Kind.CONSTANT if hardware == AccessType.na else Kind.STATUS
    if software == AccessType.rw and hardware == AccessType.r:
        if node.get_property("onwrite") == OnWriteType.woclr and node.get_property("hwset"):
            return Kind.STICKY
        if node.get_property("onwrite") is None and not node.get_property("hwset"):
            return Kind.PULSE if node.get_property("singlepulse") else Kind.STORED
    raise ValueError(f"{node.get_path()}: {RDL.name} describes an access that the CSR block does not build")


def _text(node):
    return inspect.cleandoc(node.get_property("desc") or "").replace("\n", " ")


def _field(node):
    reset = node.get_property("reset", default=0)
    first = node.get_property("first", default=None)
    array = node.parent.parent
    if first is not None and array.is_array and not any(array.current_idx):
        reset = first
    encoding = node.get_property("encode")
    return Field(
        name=node.inst_name,
        low=node.low,
        width=node.width,
        reset=reset,
        kind=_kind(node),
        encoding={member.value: (member.name, member.rdl_desc or "") for member in encoding or ()},
        least=node.get_property("least", default=0),
        most=node.get_property("most", default=(1 << node.width) - 1),
        rebuild=node.get_property("rebuild", default=False),
        meaning=_text(node),
    )


def registers(config, **overrides):
    """Every `Register` of the endpoint built from `config`, by address; `overrides` replace root parameters."""
    top = elaborate(config, **overrides).top
    found = [
        Register(
            name=node.get_rel_path(top),
            address=node.absolute_address,
            held=node.get_property("held", default=False),
            command=node.get_property("command", default=False),
            rising=node.get_property("rising", default=False),
            fields=tuple(_field(field) for field in node.fields()),
            meaning=_text(node),
        )
        for node in top.descendants(unroll=True)
        if isinstance(node, RegNode)
    ]
    return tuple(sorted(found, key=lambda register: register.address))
