"""Verilator's run-time library, compiled once for all builds: a compiler launcher, as `ccache` is one.

A build calls it as `python object_cache.py CACHE COMPILER ARGUMENTS...`. Objects of the sources of Verilator itself are
kept in the folder CACHE by the hash of source, arguments and compiler; every other command is just run.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["main"]


def _key(command, source):
    digest = hashlib.sha256(subprocess.run([command[0], "--version"], capture_output=True, check=True).stdout)
    digest.update("\0".join(command).encode())
    # The headers beside it belong to it.
    for path in sorted(source.parent.glob("*.h")):
        digest.update(path.name.encode() + path.read_bytes())
    digest.update(source.read_bytes())
    return digest.hexdigest()[:32]


def main(arguments, environment=os.environ):
    """Compile; returns the exit code of the compiler."""
    cache, command = Path(arguments[0]), arguments[1:]
    source = Path(command[-1])
    library = Path(environment.get("VERILATOR_ROOT", "/nonexistent")) / "include"
    if source.parent != library or "-c" not in command or "-o" not in command:
        return subprocess.run(command, check=False).returncode
    target = Path(command[command.index("-o") + 1])
    kept = cache / f"{_key(command, source)}.o"
    if not kept.exists():
        code = subprocess.run(command, check=False).returncode
        if code:
            return code
        cache.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_suffix(f".{os.getpid()}")
        shutil.copyfile(target, temporary)
        temporary.replace(kept)
    else:
        shutil.copyfile(kept, target)
        if "-MMD" in command:
            # The make file includes what the compiler says of dependencies.
            target.with_suffix(".d").write_text(f"{target.name}: {source}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
