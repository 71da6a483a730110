"""Running a block as a program: the same testbenches as in Amaranth's simulator, some hundred times the clocks.

A block becomes Verilog, Verilator's C++, and a shared library that is kept by content (`kv_endpoint.tb.runs.cache`).
That takes 5 to 40 s once, so it pays for what runs long. Amaranth's simulator starts at once and sees every signal.
The endpoint itself is taken from the build that the benches of cocotb run on.
"""

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass

from amaranth.back import verilog
from amaranth.hdl import ClockDomain, Const, Module, Signal, Value, ValueCastable
from amaranth.hdl._ast import Concat, Operator, ShapeCastable, Slice
from amaranth.hdl._ir import Fragment, NetlistEmitter, PortDirection
from amaranth.hdl._nir import Netlist
from amaranth.lib import wiring

from kv_endpoint.hw.endpoint import Endpoint
from kv_endpoint.hw.verilog import collector_paused, runnable
from kv_endpoint.tb.runs import cache, library
from kv_endpoint.tb.runs.build import compile_environment, port_widths, verilator_arguments, verilator_version
from kv_endpoint.tb.runs.library import Design
from kv_endpoint.tb.runs.tops import interactive_top

__all__ = ["simulate"]

#: compiled in half the time, and no slower beside testbenches in Python
OPTIMIZATION = "-O0"
#: Merging conditionals takes Verilator three quarters of its time.
SOON_READY = ["-fno-merge-cond"]


class _Undriven(NetlistEmitter):
    """Finds the signals that nothing drives: the testbench does."""

    def emit_undef_ff(self):
        late, connections = self.netlist.signals.items(), self.netlist.connections
        self.found = [
            signal for signal, nets in late
            if len(nets) and all(net.is_late and net not in connections for net in nets)
        ]  # fmt: skip


def _parts(dut):
    """(block under its `ResetInserter`s, what these are, their signals)."""
    inserters, controls = [], []
    while hasattr(dut, "_elaboratable_"):
        for transform in dut._transforms_:
            inserters.append((type(transform).__name__, *transform.controls))
            controls += transform.controls.values()
        dut = dut._elaboratable_
    return dut, inserters, controls


def _members(block):
    """Every signal of the ports of a block, or of a module's own signals and the ports of its blocks."""
    if isinstance(block, wiring.Component):
        values = [Value.cast(value) for _, _, value in block.signature.flatten(block)]
        yield from (value for value in values if isinstance(value, Signal))
    else:
        for part in vars(block).values():
            if isinstance(part, Signal):
                yield part
            elif hasattr(part, "elaborate"):
                yield from _members(part)


def _identity(what):
    """What tells a block, or a setting of one, apart from all that become other Verilog; None if that is not known."""
    if hasattr(what, "elaborate"):
        ports, flat = set(), []
        if isinstance(what, wiring.Component):
            ports = set(what.signature.members)
            flat = [
                (path, str(member.flow), len(Value.cast(port))) for path, member, port in what.signature.flatten(what)
            ]
        # Amaranth keeps books of its own in attributes with such names.
        own = {name: part for name, part in vars(what).items() if name not in ports and "__" not in name}
        said = {name: _identity(part) for name, part in own.items()}
        return None if None in said.values() else (type(what).__module__, type(what).__qualname__, str(said), str(flat))
    if isinstance(what, Signal):
        return f"signal {what.shape()!r} {what.init}"
    text = repr(what)
    # An object that says no more than where it lies may be anything.
    return None if " at 0x" in text else text


@dataclass(frozen=True)
class _Port:
    """`place`: number of the signal among those that testbenches can name; None for one that they cannot."""

    name: str
    place: int | None
    driven: bool
    bits: int
    init: int


#: what inserters and block are -> library and ports
_known = {}


def _convert(dut, named):
    """(Verilog, ports) of a block: what nothing drives goes in, and of the signals `named` all others come out."""
    module = Module()
    module.domains.sync = domain = ClockDomain("sync")
    module.submodules.dut = dut
    fragment = Fragment.get(module, None)
    clock = [("clk", domain.clk, PortDirection.Input), ("rst", domain.rst, PortDirection.Input)]
    design = fragment.prepare(ports=clock, hierarchy=("top",))
    finder = _Undriven(Netlist(), design, all_undef_to_ff=True)
    finder.emit_fragment(design.fragment, None)
    places = {id(signal): number for number, signal in enumerate(named)}
    seen = {id(signal) for signal in finder.found} | {id(domain.clk), id(domain.rst)}
    used = {id(signal) for signal in finder.netlist.signals}
    outputs = []
    for signal in named:
        if id(signal) in used and id(signal) not in seen and len(signal):
            seen.add(id(signal))
            outputs.append(signal)
    ports, said = [], list(clock)
    for letter, signals, direction in (("i", finder.found, PortDirection.Input), ("o", outputs, PortDirection.Output)):
        for number, signal in enumerate(signals):
            name, driven = f"{letter}{number}", direction == PortDirection.Input
            ports.append(_Port(name, places.get(id(signal)), driven, len(signal), signal.init))
            said.append((name, signal, direction))
    # Domains were propagated when the ports were found.
    text, _ = verilog.convert_fragment(
        fragment, ports=said, name="top", emit_src=False, strip_internal_attrs=True, propagate_domains=False
    )
    return runnable(text), ports


def _library(text, ports):
    """The shared library of a block's Verilog, from the cache or built."""
    names = [port.name for port in ports]
    arguments = [*verilator_arguments(len(text)), *SOON_READY]
    recipe = [text, names, library.GLUE, verilator_version(), arguments, OPTIMIZATION]
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]

    def make(folder):
        (folder / "top.v").write_text(text)
        command, environment = compile_environment(folder, OPT_FAST=OPTIMIZATION)
        command += ["--cc", "--build", *arguments, "--top-module", "top"]
        command += ["--prefix", "Vtop", "--Mdir", str(folder / "obj"), str(folder / "top.v")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Verilator cannot build the block:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        library.link(folder, folder / "obj", prefix="Vtop", ports=names, environment=environment)
        shutil.rmtree(folder / "obj")

    return cache.entry(f"block-{digest}", make) / library.LIBRARY


class _Tick:
    """What `await ctx.tick()` waits for."""

    def __init__(self, context, count=1, condition=None):
        self._context, self.count, self.condition = context, count, condition

    def repeat(self, count):
        return _Tick(self._context, count)

    def until(self, condition):
        return _Tick(self._context, 1, condition)

    def __await__(self):
        yield self


def _is_reading(value):
    """Whether it says of bits no more than how they are read: a signed field does."""
    return isinstance(value, Operator) and value.operator in ("s", "u")


class _Context:
    """The part of Amaranth's simulator context that testbenches of blocks use: `get`, `set`, `tick`."""

    def __init__(self, path, ports, named):
        self._design = Design(path, [port.bits for port in ports])
        self._places = {}
        for port, place in zip(ports, self._design.places, strict=True):
            if port.driven:
                place.write(port.init)
            if port.place is not None:
                self._places[id(named[port.place])] = place, port.driven
        self._dirty = True

    def end(self):
        self._design.end()

    def _place(self, signal):
        try:
            return self._places[id(signal)]
        except KeyError:
            raise LookupError(f"signal {signal.name} is not visible: name it in `reads`") from None

    def _bits(self, value):
        if isinstance(value, Signal):
            return self._place(value)[0].read()
        if isinstance(value, Slice):
            return self._bits(value.value) >> value.start & (1 << value.stop - value.start) - 1
        if isinstance(value, Const):
            return value.value & (1 << len(value)) - 1
        if isinstance(value, Concat):
            bits = at = 0
            for part in value.parts:
                bits |= self._bits(part) << at
                at += len(part)
            return bits
        if _is_reading(value):
            return self._bits(value.operands[0])
        raise TypeError(f"only signals, slices and their concatenations can be read, not {value!r}")

    def get(self, what):
        if self._dirty:
            self._design.eval()
            self._dirty = False
        value = Value.cast(what)
        bits = self._bits(value)
        shape = what.shape() if isinstance(what, ValueCastable) else None
        if isinstance(shape, ShapeCastable):
            return shape.from_bits(bits)
        if value.shape().signed and bits >> len(value) - 1:
            bits -= 1 << len(value)
        return bits

    def set(self, what, value):
        shape = what.shape() if isinstance(what, ValueCastable) else None
        if isinstance(shape, ShapeCastable):
            value = shape.const(value)
        bits = value if isinstance(value, int) else Const.cast(value).value
        self._store(Value.cast(what), int(bits))

    def _store(self, target, bits):
        if isinstance(target, Signal):
            place, driven = self._place(target)
            if not driven:
                raise TypeError(f"signal {target.name} is driven by the block")
            place.write(bits)
            self._dirty = True
        elif isinstance(target, Slice):
            mask = (1 << target.stop - target.start) - 1
            before = self._bits(target.value)
            self._store(target.value, before & ~(mask << target.start) | (bits & mask) << target.start)
        elif isinstance(target, Concat):
            for part in target.parts:
                self._store(part, bits)
                bits >>= len(part)
        elif _is_reading(target):
            self._store(target.operands[0], bits)
        else:
            raise TypeError(f"only signals, slices and their concatenations can be set, not {target!r}")

    def tick(self):
        return _Tick(self)

    def clock(self):
        self._design.clock()
        self._dirty = False


def _run(context, testbenches, background):
    """Each testbench to its end, and those in the background until then, in their order within a clock."""
    waiting = {}
    running = [testbench(context) for testbench in (*testbenches, *background)]
    awaited = running[: len(testbenches)]

    def resume(coroutine):
        try:
            waiting[coroutine] = coroutine.send(None)
        except StopIteration:
            waiting.pop(coroutine, None)

    try:
        for coroutine in running:
            resume(coroutine)
        while any(coroutine in waiting for coroutine in awaited):
            due = []
            for coroutine in running:
                tick = waiting.get(coroutine)
                if tick is None:
                    continue
                # What a condition says is what it was before the edge.
                if tick.condition is not None:
                    if context.get(tick.condition):
                        due.append(coroutine)
                else:
                    tick.count -= 1
                    if tick.count <= 0:
                        due.append(coroutine)
            context.clock()
            for coroutine in due:
                resume(coroutine)
    finally:
        for coroutine in running:
            coroutine.close()


def _endpoint(dut, named, controls):
    """(path of the library, ports) of the endpoint: it shares the build of the benches."""
    built = interactive_top("verilator", dut.config)
    widths = port_widths((built.folder / "endpoint.v").read_text(), "endpoint")
    signals = {"rst": controls[0]} if controls else {}
    driven = {"clk", "rst"}
    for path, member, value in dut.signature.flatten(dut):
        name = "__".join(map(str, path))
        signals[name] = Value.cast(value)
        if member.flow == wiring.In:
            driven.add(name)
    places = {id(signal): number for number, signal in enumerate(named)}
    ports = [
        _Port(name, places.get(id(signals.get(name))), name in driven, bits, getattr(signals.get(name), "init", 0))
        for name, bits in widths.items()
    ]
    return built.folder / library.LIBRARY, ports


def _load(dut, named, *, reads):
    """(path of the library, ports) of a block."""
    block, inserters, controls = _parts(dut)
    if isinstance(block, Endpoint):
        return _endpoint(block, named, controls)
    identity = _identity(block)
    # Nothing tells the signals that somebody names from others of the same block.
    key = None if identity is None or reads else (str(inserters), identity)
    if key is None or key not in _known:
        with collector_paused():
            text, ports = _convert(dut, named)
        _known[key] = _library(text, ports), ports
    return _known[key]


def simulate(dut, *testbenches, reads=(), background=()):
    """Run coroutines `testbench(ctx)` side by side on `dut`, with one clock, until all have returned.

    Those in `background` go on for as long. All may set what nothing drives, and read the ports of `dut`, those of the
    blocks that are its attributes, and `reads`. Of two blocks that are the same but for their signals,
    the second is there at once.
    """
    block, _, controls = _parts(dut)
    named = [*controls, *_members(block), *map(Value.cast, reads)]
    context = _Context(*_load(dut, named, reads=reads), named)
    try:
        _run(context, testbenches, background)
    finally:
        context.end()
