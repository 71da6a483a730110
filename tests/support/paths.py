"""Where the project's own files lie, for tests that read them."""

from pathlib import Path

__all__ = ["HDL", "ROOT"]

ROOT = Path(__file__).resolve().parents[2]
#: Verilog that stands in for the endpoint, or around one of its blocks
HDL = ROOT / "tests" / "hdl"
