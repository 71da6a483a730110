"""The two tops around an endpoint's Verilog: `endpoint` itself for the interactive form, `bench` for the batch form."""

from functools import lru_cache

from hw.verilog import emit
from tb.build import build, port_widths
from tb.layout import bench_sources

__all__ = ["batch_top", "interactive_top"]


@lru_cache
def _endpoint(config):
    return emit(config)


def interactive_top(simulator, config, *, waves=False):
    """A build of the endpoint alone, for cocotb tests that use `tb.interactive.TB`."""
    return build(simulator, top="endpoint", sources={"endpoint.v": _endpoint(config)}, waves=waves)


def batch_top(simulator, config, *, waves=False):
    """A build of the endpoint in the bench, for `tb.batch.run`."""
    text = _endpoint(config)
    sources = bench_sources(config, port_widths(text, "endpoint")) | {"endpoint.v": text}
    return build(simulator, top="bench", sources=sources, waves=waves)
