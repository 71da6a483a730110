"""Running a block as a program: the same testbenches as in Amaranth's simulator, some hundred times the clocks.

A block becomes Verilog, Verilator's C++, and a shared library that is kept by content (`kv_endpoint.tb.runs.cache`).
That takes 5 to 40 s once, so it pays for what runs long. Amaranth's simulator starts at once and sees every signal.
"""

import ctypes
import hashlib
import json
import subprocess
from dataclasses import dataclass

from amaranth.back import verilog
from amaranth.hdl import ClockDomain, Const, Module, Signal, Value, ValueCastable
from amaranth.hdl._ast import Concat, ShapeCastable, Slice
from amaranth.hdl._ir import Fragment, NetlistEmitter, PortDirection
from amaranth.hdl._nir import Netlist
from amaranth.lib import wiring

from kv_endpoint.hw.verilog import runnable
from kv_endpoint.tb.runs import cache
from kv_endpoint.tb.runs.build import VERILATOR_ARGS, compile_environment, verilator_version

__all__ = ["simulate"]

LIBRARY = "block.so"
#: makes a block, moves it on, and says where its ports lie
GLUE = """#include "Vtop.h"
#include "verilated.h"
double sc_time_stamp() {{ return 0; }}
extern "C" {{
void* block_make() {{ return new Vtop{{new VerilatedContext}}; }}
void block_end(void* top) {{
    VerilatedContext* context = ((Vtop*)top)->contextp();
    delete (Vtop*)top;
    delete context;
}}
void block_eval(void* top) {{ ((Vtop*)top)->eval(); }}
void block_tick(void* top) {{
    Vtop* t = (Vtop*)top;
    t->clk = 0;
    t->eval();
    t->clk = 1;
    t->eval();
}}
void* block_port(void* top, int number) {{
    Vtop* t = (Vtop*)top;
    switch (number) {{
{cases}
    }}
    return nullptr;
}}
}}
"""


class _Undriven(NetlistEmitter):
    """Finds the signals that nothing drives: the testbench does."""

    def emit_undef_ff(self):
        late, connections = self.netlist.signals.items(), self.netlist.connections
        self.found = [
            signal for signal, nets in late
            if len(nets) and all(net.is_late and net not in connections for net in nets)
        ]  # fmt: skip


def _parts(dut):
    """(block under its `ResetInserter`s, the signals of these)."""
    controls = []
    while hasattr(dut, "_elaboratable_"):
        controls += [signal for transform in dut._transforms_ for signal in transform.controls.values()]
        dut = dut._elaboratable_
    return dut, controls


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


#: identity of a block -> its library and ports
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
    cases = "\n".join(f"    case {number}: return (void*)&t->{port.name};" for number, port in enumerate(ports))
    glue = GLUE.format(cases=cases)
    recipe = [text, glue, verilator_version(), VERILATOR_ARGS]
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]

    def make(folder):
        (folder / "top.v").write_text(text)
        (folder / "glue.cpp").write_text(glue)
        command, environment = compile_environment(folder)
        command += ["--cc", "--build", *VERILATOR_ARGS, "-CFLAGS", "-fPIC", "--top-module", "top", "--prefix", "Vtop"]
        command += ["--Mdir", str(folder / "obj"), str(folder / "top.v")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Verilator cannot build the block:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        include = f"{environment['VERILATOR_ROOT']}/include"
        link = ["g++", "-shared", "-fPIC", "-O1", "-I", include, "-I", f"{include}/vltstd", "-I", str(folder / "obj")]
        link += ["-o", str(folder / LIBRARY), str(folder / "glue.cpp")]
        link += [str(path) for path in sorted((folder / "obj").glob("*.o"))]
        subprocess.run([*link, "-pthread"], check=True)
        for path in (folder / "obj").iterdir():
            path.unlink()

    return cache.entry(f"block-{digest}", make) / LIBRARY


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


class _Context:
    """The part of Amaranth's simulator context that testbenches of blocks use: `get`, `set`, `tick`."""

    def __init__(self, library, ports, named):
        self._library, self._top = library, library.block_make()
        self._places = {}
        for number, port in enumerate(ports):
            address = library.block_port(self._top, number)
            for kind in (ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64):
                if port.bits <= 8 * ctypes.sizeof(kind):
                    place = kind.from_address(address)
                    break
            else:
                place = (ctypes.c_uint32 * -(-port.bits // 32)).from_address(address)
            found = place, port.bits > 64, port.driven, (1 << port.bits) - 1
            if port.driven:
                self._write(found, port.init)
            if port.place is not None:
                self._places[id(named[port.place])] = found
        self._dirty = True

    def end(self):
        self._library.block_end(self._top)

    def _place(self, signal):
        try:
            return self._places[id(signal)]
        except KeyError:
            raise LookupError(f"signal {signal.name} is not visible: name it in `reads`") from None

    def _write(self, found, value):
        place, wide, _, mask = found
        value &= mask
        if wide:
            ctypes.memmove(place, value.to_bytes(ctypes.sizeof(place), "little"), ctypes.sizeof(place))
        else:
            place.value = value
        self._dirty = True

    def _bits(self, value):
        if isinstance(value, Signal):
            place, wide, _, _ = self._place(value)
            return int.from_bytes(bytes(place), "little") if wide else place.value
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
        raise TypeError(f"only signals, slices and their concatenations can be read, not {value!r}")

    def get(self, what):
        if self._dirty:
            self._library.block_eval(self._top)
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
            found = self._place(target)
            if not found[2]:
                raise TypeError(f"signal {target.name} is driven by the block")
            self._write(found, bits)
        elif isinstance(target, Slice):
            mask = (1 << target.stop - target.start) - 1
            before = self._bits(target.value)
            self._store(target.value, before & ~(mask << target.start) | (bits & mask) << target.start)
        elif isinstance(target, Concat):
            for part in target.parts:
                self._store(part, bits)
                bits >>= len(part)
        else:
            raise TypeError(f"only signals, slices and their concatenations can be set, not {target!r}")

    def tick(self):
        return _Tick(self)

    def clock(self):
        self._library.block_tick(self._top)
        self._dirty = False


def _run(context, testbenches):
    """Each testbench to its end, in their order within a clock."""
    waiting = {}
    running = [testbench(context) for testbench in testbenches]

    def resume(coroutine):
        try:
            waiting[coroutine] = coroutine.send(None)
        except StopIteration:
            waiting.pop(coroutine, None)

    try:
        for coroutine in running:
            resume(coroutine)
        while waiting:
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


def _load(dut, named):
    """(library, ports) of a block."""
    identity = _identity(_parts(dut)[0]), len(named)
    if identity not in _known or identity[0] is None:
        text, ports = _convert(dut, named)
        library = ctypes.CDLL(str(_library(text, ports)))
        library.block_make.restype = library.block_port.restype = ctypes.c_void_p
        library.block_eval.argtypes = library.block_tick.argtypes = library.block_end.argtypes = [ctypes.c_void_p]
        library.block_port.argtypes = [ctypes.c_void_p, ctypes.c_int]
        _known[identity] = library, ports
    return _known[identity]


def simulate(dut, *testbenches, reads=()):
    """Run coroutines `testbench(ctx)` side by side on `dut`, with one clock, until all have returned.

    They may set what nothing drives, and read the ports of `dut`, those of the blocks that are its attributes, and
    `reads`. Of two blocks that are the same but for their signals, the second is there at once.
    """
    block, controls = _parts(dut)
    named = [*controls, *_members(block), *map(Value.cast, reads)]
    context = _Context(*_load(dut, named), named)
    try:
        _run(context, testbenches)
    finally:
        context.end()
