"""The control-and-policy block of a CXL memory endpoint for KV caches: golden model, RTL, benches, simulation.

`kv_endpoint.golden` is the executable specification, `.hw` the RTL, `.tb` the benches, `.sim` the program that people
run. The names in `EXPORTS` are loaded when they are first asked for.
"""

from importlib import import_module
from pathlib import Path

__all__ = ["EXPORTS", "__version__", "Config", "Endpoint", "Follower", "emit", "preset"]

__version__ = "0.1.0"

#: name -> the module that defines it
EXPORTS = {
    "Config": "golden.common.config",
    "Endpoint": "golden.endpoint",
    "Follower": "golden.follow.follower",
    "emit": "hw.verilog",
    "preset": "golden.common.config",
}

_folder = Path(__file__).resolve().parent
# In a checkout the parts lie beside this folder, not in it.
if not (_folder / "golden").is_dir() and (_folder.parent / "pyproject.toml").is_file():
    __path__.append(str(_folder.parent))


def __getattr__(name):
    if name not in EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{EXPORTS[name]}"), name)
