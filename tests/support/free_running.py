"""Driving pipelines that never stall: inputs at every clock, the result a fixed number of clocks later."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal

from tests.support import native
from tests.support.simulation import simulate

__all__ = ["run_pipeline", "run_every_argument"]


def run_pipeline(dut, inputs, output, vectors, *, rig=None):
    """What `output` shows `dut.latency` clocks after each of `vectors` was at `inputs` for one clock.

    With a `rig`, which has `dut` among its blocks, it is that which runs, as a program (`native`).
    """
    results = []

    async def bench(ctx):
        for vector in vectors + [vectors[-1]] * dut.latency:
            results.append(ctx.get(output))
            for port, value in zip(inputs, vector, strict=True):
                ctx.set(port, value)
            await ctx.tick()

    if rig is None:
        simulate(dut, bench)
    else:
        native.simulate(rig, bench)
    return results[dut.latency :]


class _Counted(Elaboratable):
    """`copies` of a pipeline, each with a share of all arguments, counted in logic; `packed`: what they show."""

    def __init__(self, component, input_name, output_name, copies):
        self.duts = [component() for _ in range(copies)]
        self._inputs = [getattr(dut, input_name) for dut in self.duts]
        self._outputs = [getattr(dut, output_name) for dut in self.duts]
        self.shape = self._outputs[0].shape()
        self.share = (1 << len(self._inputs[0])) // copies
        self.packed = Signal(copies * self.shape.width)

    def elaborate(self, platform):
        m = Module()
        counter = Signal(len(self._inputs[0]))
        m.d.sync += counter.eq(counter + 1)
        for number, (dut, port) in enumerate(zip(self.duts, self._inputs, strict=True)):
            m.submodules[f"dut{number}"] = dut
            m.d.comb += port.eq(counter + number * self.share)
        m.d.comb += self.packed.eq(Cat(*self._outputs))
        return m


def run_every_argument(component, input_name, output_name, copies=4):
    """What the output of a pipeline `component()` shows for every value of its only input, in order.

    The arguments are counted in logic and divided among `copies` instances, and all of it runs as a program
    (`native`): many times faster than setting them one by one.
    """
    counted = _Counted(component, input_name, output_name, copies)
    rows = []

    async def bench(ctx):
        await ctx.tick().repeat(counted.duts[0].latency)
        for _ in range(counted.share):
            rows.append(ctx.get(counted.packed))
            await ctx.tick()

    native.simulate(counted, bench)
    width = counted.shape.width
    sign = 1 << (width - 1) if counted.shape.signed else 0
    mask = (1 << width) - 1
    return [((row >> number * width & mask) ^ sign) - sign for number in range(copies) for row in rows]
