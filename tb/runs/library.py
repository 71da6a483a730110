"""A Verilator build as a shared library: a program moves the design clock by clock, without cocotb between.

A call costs a microsecond, where a handle of cocotb costs three to twenty, and no process has to start.
"""

import ctypes
import subprocess

__all__ = ["LIBRARY", "Design", "link"]

#: the library's file in the folder of a build
LIBRARY = "design.so"
GLUE_FILE = "glue.cpp"
#: makes a design, moves it on, and says where its ports lie
GLUE = """#include "{prefix}.h"
#include "verilated.h"
// The run-time library wants it.
double sc_time_stamp() {{ return 0; }}
extern "C" {{
void* design_make() {{ return new {prefix}{{new VerilatedContext}}; }}
void design_end(void* top) {{
    VerilatedContext* context = (({prefix}*)top)->contextp();
    delete ({prefix}*)top;
    delete context;
}}
void design_eval(void* top) {{ (({prefix}*)top)->eval(); }}
void design_clock(void* top) {{
    {prefix}* t = ({prefix}*)top;
    t->clk = 0;
    t->eval();
    t->clk = 1;
    t->eval();
}}
void* design_port(void* top, int number) {{
    {prefix}* t = ({prefix}*)top;
    switch (number) {{
{cases}
    }}
    return nullptr;
}}
}}
"""
#: sizes of what Verilator keeps a port of up to 64 bits in
_KINDS = (ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64)
_WORD = ctypes.c_uint32


def link(folder, objects, *, prefix, ports, environment, main=()):
    """Link the objects in folder `objects`, compiled with -fPIC, to `LIBRARY` in `folder`.

    `prefix` is that of the C++ class, `ports` the names of the ports, in the order that `Design` numbers them. `main`
    names the objects that a library does without. Raises CalledProcessError.
    """
    # Verilator writes two underscores in a row so.
    names = [name.replace("__", "___05F") for name in ports]
    cases = [f"    case {number}: return (void*)&t->{name};" for number, name in enumerate(names)]
    glue = folder / GLUE_FILE
    glue.write_text(GLUE.format(prefix=prefix, cases="\n".join(cases)))
    include = f"{environment['VERILATOR_ROOT']}/include"
    command = ["g++", "-shared", "-fPIC", "-O1", "-I", include, "-I", f"{include}/vltstd", "-I", str(objects)]
    command += ["-o", str(folder / LIBRARY), str(glue)]
    command += [str(path) for path in sorted(objects.glob("*.o")) if path.name not in main]
    subprocess.run([*command, "-pthread"], check=True, capture_output=True, text=True)


class _Place:
    """Where a port of a design lies."""

    def __init__(self, address, bits):
        self._mask = (1 << bits) - 1
        kind = next((kind for kind in _KINDS if bits <= 8 * ctypes.sizeof(kind)), None)
        self._word = kind.from_address(address) if kind else None
        self._words = None if kind else (_WORD * -(-bits // 32)).from_address(address)

    def read(self):
        return int.from_bytes(bytes(self._words), "little") if self._word is None else self._word.value

    def write(self, value):
        value &= self._mask
        if self._word is None:
            size = ctypes.sizeof(self._words)
            ctypes.memmove(self._words, value.to_bytes(size, "little"), size)
        else:
            self._word.value = value


class Design:
    """One instance of the design of a library; as many as wanted may live in a process.

    Parameters
    ----------
    path : Path
        The library.
    bits : sequence of int
        Widths of its ports, in the order that it was linked with.
    """

    def __init__(self, path, bits):
        self._library = library = ctypes.CDLL(str(path))
        library.design_make.restype = library.design_port.restype = ctypes.c_void_p
        library.design_eval.argtypes = library.design_clock.argtypes = library.design_end.argtypes = [ctypes.c_void_p]
        library.design_port.argtypes = [ctypes.c_void_p, ctypes.c_int]
        self._top = library.design_make()
        #: of each port, to be read and written: `eval` or `clock` makes the design see what is written
        self.places = [_Place(library.design_port(self._top, number), width) for number, width in enumerate(bits)]

    def eval(self):
        """Let what depends on the inputs alone follow them."""
        self._library.design_eval(self._top)

    def clock(self):
        """One clock: falling edge, rising edge."""
        self._library.design_clock(self._top)

    def end(self):
        self._library.design_end(self._top)
