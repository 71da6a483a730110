"""Where simulations are kept between runs, by content, and how they come there whole."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["cache_folder", "entry", "link_builds"]

#: the checkout, or the folder that an installed package lies in
ROOT = Path(__file__).resolve().parents[2]


def cache_folder():
    """`build/sim` of a checkout; else `kv-endpoint` in the user's cache folder (XDG Base Directory Specification)."""
    if (ROOT / "pyproject.toml").is_file():
        return ROOT / "build" / "sim"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kv-endpoint"


def link_builds(root):
    """Give the checkout at `root`, which has no cache yet, what this one has now, as hard links.

    Entries never change, so that a link is as good as a copy.
    """
    target = root / "build" / "sim"
    target.mkdir(parents=True)
    for folder in cache_folder().glob("*"):
        # Names with a dot are locks and entries in the making.
        if folder.is_dir() and "." not in folder.name:
            shutil.copytree(folder, target / folder.name, copy_function=os.link)


def entry(name, make):
    """The folder `name` of the cache. `make(folder)` fills it if it is not there.

    `name` must tell all that the content depends on. What `make` fills lies beside the others until it is complete, and
    then takes its name at once, so that nobody meets half of one. Of two processes that want the same, one waits.
    Raises what `make` raises, and keeps nothing then; OSError where the cache cannot be written.
    """
    cache = cache_folder()
    folder = cache / name
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return folder
        making = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=cache))
        try:
            make(making)
            making.rename(folder)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
    with contextlib.suppress(OSError):
        (cache / f"{name}.lock").unlink()
    return folder
