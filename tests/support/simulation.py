"""Running a block in Amaranth's simulator: what every block test needs and no more."""

from amaranth.sim import Simulator

__all__ = ["simulate", "fields_of", "set_payload"]


def simulate(dut, *testbenches):
    """Run coroutines `testbench(ctx)` side by side on `dut`, with one clock, until all have returned."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    simulator.run()


def fields_of(payload):
    """A flat struct value as a dict of integers."""
    return {name: int(payload[name]) for name, _ in payload.shape()}


def set_payload(ctx, payload, values):
    """Set the named fields of a struct signal."""
    for name, value in values.items():
        ctx.set(getattr(payload, name), int(value))
