"""Driving pipelines that never stall: inputs at every clock, the result a fixed number of clocks later."""

from amaranth.hdl import Cat, Module, Signal

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


def run_every_argument(component, input_name, output_name, copies=16):
    """What the output of a pipeline `component()` shows for every value of its only input, in order.

    The arguments are counted in the simulated logic and divided among `copies` instances: several times faster than
    setting them one by one.
    """
    m = Module()
    duts = [component() for _ in range(copies)]
    width = len(getattr(duts[0], input_name))
    share = (1 << width) // copies
    counter = Signal(width)
    m.d.sync += counter.eq(counter + 1)
    for number, dut in enumerate(duts):
        m.submodules[f"dut{number}"] = dut
        m.d.comb += getattr(dut, input_name).eq(counter + number * share)
    outputs = [getattr(dut, output_name) for dut in duts]
    shape = outputs[0].shape()
    packed = Signal(len(outputs[0]) * copies)
    m.d.comb += packed.eq(Cat(*outputs))
    rows = []

    async def bench(ctx):
        await ctx.tick().repeat(duts[0].latency)
        for _ in range(share):
            rows.append(ctx.get(packed))
            await ctx.tick()

    simulate(m, bench)
    sign = 1 << (shape.width - 1) if shape.signed else 0
    mask = (1 << shape.width) - 1
    return [((row >> number * shape.width & mask) ^ sign) - sign for number in range(copies) for row in rows]
