"""Which signals of the endpoint a person wants to see, in which groups, and by which names."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

from amaranth.hdl import Fragment

from kv_endpoint.golden.common import messages
from kv_endpoint.golden.common.config import LINE_BYTES
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import EngineKind, ErrorKind, Phase, PrefetchDrop, PrefetchSource, RefusalKind
from kv_endpoint.golden.front.address import Target, decode
from kv_endpoint.golden.pipeline.metadata import DataKind, Outcome, SlotKind, State
from kv_endpoint.hw.endpoint import Endpoint

__all__ = ["Group", "Wave", "groups"]


@dataclass(frozen=True)
class Wave:
    """One line of the picture.

    `sources` are signals below the endpoint, `scope.scope.signal`. Without `text` there is one, and its bits are shown;
    else what `text(*values)` says, "" for nothing to say.
    """

    label: str
    sources: tuple
    text: Callable | None = None


@dataclass(frozen=True)
class Group:
    name: str
    waves: tuple


def _name(enumeration: type[IntEnum], value):
    return enumeration(value).name if value in set(enumeration) else f"{value}?"


def _block(head, block):
    return f"h{head} b{block}"


class _Streams:
    """Texts of the streams of an endpoint of `config`, addresses by its `regions`."""

    def __init__(self, config, regions):
        self._config = config
        self._regions = regions

    def stream(self, scope, name, fields, text):
        """A stream: its payload in words while valid, its two handshake bits."""
        path = f"{scope}{name}__"
        sources = (path + "valid", *(f"{path}payload.{field}" for field in fields))

        def shown(valid, *values):
            return text(*values) if valid else ""

        return (
            Wave(name, sources, shown),
            Wave(f"{name}_valid", (path + "valid",)),
            Wave(f"{name}_ready", (path + "ready",)),
        )

    def place(self, address):
        where = decode(self._config, self._regions, address)
        if where.target == Target.BLOCK:
            return f"{_block(where.head, where.block)} l{where.line}"
        return f"hint h{where.head}" if where.target == Target.HINT else f"{address * LINE_BYTES:#x}"

    def request(self, opcodes):
        def text(opcode, tag, address):
            return f"{_name(opcodes, opcode)} {self.place(address)} #{tag:x}"

        return text

    def response(self, opcodes):
        def text(opcode, tag, load):
            return f"{_name(opcodes, opcode)} #{tag:x} {_name(messages.DevLoad, load)}"

        return text

    @staticmethod
    def slot(kind, head, block, line, tag):
        return f"{_name(SlotKind, kind)} {_block(head, block)} l{line} #{tag:x}"

    @staticmethod
    def slot_record(kind, outcome, head, block, before, after):
        text = f"{_name(SlotKind, kind)} {_name(Outcome, outcome)} {_block(head, block)}"
        return text if before == after else f"{text} {_name(State, before)}>{_name(State, after)}"

    @staticmethod
    def note(kind, head, block, key, aux):
        text = _name(EngineKind, kind)
        if kind == EngineKind.ERROR:
            return f"{text} {_name(ErrorKind, key)}"
        if kind == EngineKind.REFUSAL:
            return f"{text} {_name(RefusalKind, key)}"
        if kind == EngineKind.STEP:
            return f"{text} {aux}"
        if kind == EngineKind.PHASE:
            return f"{text} region {key} {_name(Phase, aux)}"
        text = f"{text} {_block(head, block)}"
        if kind in (EngineKind.PREFETCH_QUEUED, EngineKind.PREFETCH_DROPPED):
            text = f"{text} {_name(PrefetchSource, aux & 0xFF)}"
        if kind == EngineKind.PREFETCH_DROPPED:
            text = f"{text} {_name(PrefetchDrop, aux >> 8)}"
        return text

    def page(self, write, page, frame, mode):
        block = page % self._config.blocks_per_head
        what = "write" if write else "read"
        return f"{what} {_block(page // self._config.blocks_per_head, block)} frame {frame} {_name(Mode, mode)}"

    @staticmethod
    def first(valid, head, block, source):
        return f"{_block(head, block)} {_name(PrefetchSource, source)}" if valid else ""

    @staticmethod
    def load(level):
        return _name(messages.DevLoad, level)

    @staticmethod
    def done(tag, failed):
        return f"{tag}{' failed' if failed else ''}"

    @staticmethod
    def data_op(kind, frame, line):
        return f"{_name(DataKind, kind)} frame {frame} l{line}"


def _commit(valid, kind, outcome, head, block, before, after):
    if not valid:
        return ""
    return _Streams.slot_record(kind, outcome, head, block, before, after)


@cache
def _machines(config):
    """(scope path, signal, {value: state}) of every state machine of the endpoint."""

    def found(fragment, path):
        for machine in fragment.generated.values():
            if hasattr(machine, "encoding"):
                yield path, machine.state.name, {value: state for state, value in machine.encoding.items()}
        for below, name, *_ in fragment.subfragments:
            yield from found(below, (*path, name))

    return tuple(found(Fragment.get(Endpoint(config=config), None), ()))


def _machine_waves(config, block):
    """A wave for each state machine in `block`, a submodule of the endpoint, and below it."""
    for path, signal, states in _machines(config):
        if path[:1] == (block,):
            label = "_".join((*path[1:], signal.removesuffix("_state")))
            yield Wave(label, (".".join((*path, signal)),), lambda value, states=states: states.get(value, f"{value}?"))


def groups(config, regions):
    """The `Group`s of an endpoint of `config`, in the order in which a request meets them."""
    s = _Streams(config, regions)
    slot = ("kind", "head", "block", "line", "tag")
    channel = ("mem__arvalid", "mem__arready", "mem__araddr", "mem__rvalid", "mem__awvalid", "mem__awready",
               "mem__awaddr", "mem__wvalid", "mem__bvalid")  # fmt: skip
    first = (".valid", ".request.head", ".request.block", ".request.source")
    commit = ("valid", "slot.kind", "outcome", "slot.head", "slot.block", "before.state", "after.state")
    return (
        Group(
            "host",
            (
                *s.stream("", "req", ("opcode", "tag", "address"), s.request(messages.ReqOpcode)),
                *s.stream("", "rwd", ("opcode", "tag", "address"), s.request(messages.RwDOpcode)),
                *s.stream("", "ndr", ("opcode", "tag", "dev_load"), s.response(messages.NDROpcode)),
                *s.stream("", "drs", ("opcode", "tag", "dev_load"), s.response(messages.DRSOpcode)),
            ),
        ),
        Group("frontend", (Wave("now", ("frontend.now",)), *_machine_waves(config, "frontend"))),
        Group(
            "metadata",
            (
                *s.stream("metadata.", "req_slots", slot, s.slot),
                *s.stream("metadata.", "rwd_slots", slot, s.slot),
                *s.stream("metadata.", "engine_slots", slot, s.slot),
                Wave("commit", tuple(f"metadata.commit.{field}" for field in commit), _commit),
                Wave("held", ("metadata.hold_external",)),
                *s.stream("metadata.", "data_ops", ("kind", "frame", "line"), s.data_op),
            ),
        ),
        Group("datapath", tuple(_machine_waves(config, "datapath"))),
        Group("residency", tuple(_machine_waves(config, "residency"))),
        Group(
            "prefetch",
            (
                Wave("first", tuple(f"prefetch.first{field}" for field in first), s.first),
                *s.stream("prefetch.", "notes", ("kind", "head", "block", "key", "aux"), s.note),
                Wave("room", ("prefetch.room",)),
            ),
        ),
        Group("phase", (Wave("prefill", ("phase.prefill",)), Wave("load", ("datapath.dev_load",), s.load))),
        Group("victim", tuple(_machine_waves(config, "victim"))),
        Group("csr", tuple(_machine_waves(config, "csr"))),
        Group(
            "events",
            (
                *s.stream(
                    "",
                    "slot_record",
                    ("kind", "outcome", "head", "block", "state_before", "state_after"),
                    s.slot_record,
                ),
                *s.stream("", "engine_record", ("kind", "head", "block", "key", "aux"), s.note),
            ),
        ),
        Group("ddr5", tuple(Wave(name.removeprefix("mem__"), (name,)) for name in channel)),
        Group(
            "flash",
            (
                *s.stream("", "page_command", ("write", "page", "frame", "mode"), s.page),
                *s.stream("", "page_done", ("tag", "failed"), s.done),
            ),
        ),
    )
