"""The folder of a result: who may write there, and what of it a later run may replace.

A run takes a folder that is empty, that has its marker, or that has a `results.json` of ours. The marker lists the
files that runs have written there; they alone are replaced. Folders with a marker of their own may lie in another.
"""

import contextlib
import fcntl
import json
import os
from pathlib import Path

from kv_endpoint.sim.settings import SettingsError

__all__ = ["MARKER", "claimed", "check_folder", "written"]

MARKER = ".kv-endpoint.json"
RESULTS = "results.json"
MANIFEST = "manifest.json"
#: keys that every `results.json` of ours has had
RESULTS_KEYS = {"schema", "preset", "simulator", "golden", "demand"}
#: what a run without a marker has left beside its `results.json`
OF_UNMARKED = (RESULTS, "events.txt", "trace.txt", "waves.vcd")
#: foreign files that a refusal names
NAMED_MAX = 3


def _loaded(path):
    """The contents of a JSON file, None if it is none."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None


def _is_ours(folder):
    """Whether a folder has what a command of ours leaves."""
    manifest = _loaded(folder / MANIFEST)
    return (folder / MARKER).is_file() or isinstance(manifest, dict) and manifest.get("top") == "endpoint"


def _has_results(folder):
    results = _loaded(folder / RESULTS)
    return isinstance(results, dict) and results.keys() >= RESULTS_KEYS


def _inside(folder, name):
    """Whether `name` is of a file below `folder`, also by where links lead."""
    if not isinstance(name, str) or not name or Path(name).is_absolute():
        return False
    parent = (folder / name).parent.resolve()
    return ".." not in Path(name).parts and parent.is_relative_to(folder.resolve())


def written(folder, option):
    """Names of the files that runs have written to `folder`, as its marker lists them; [] without one.

    Raises `SettingsError`, which begins with `option`, for a marker that is a link, that is broken, or that lists a
    path outside of the folder.
    """
    marker = folder / MARKER
    if marker.is_symlink():
        raise SettingsError(f"{option}: {marker} must be a file, not a link")
    if not marker.exists():
        return []
    listed = _loaded(marker)
    names = listed.get("written") if isinstance(listed, dict) else None
    if not isinstance(names, list):
        raise SettingsError(f"{option}: {marker} must list the files of a run; remove it to keep all that is there")
    for name in names:
        if not _inside(folder, name):
            raise SettingsError(f"{option}: {marker} lists {name!r}: must be below {folder}")
    return names


def _files(folder):
    """Names of all files below `folder`, but not below folders of ours in it."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_dir():
            if path.name != MARKER:
                yield path.name
        elif not _is_ours(path):
            yield from (f"{path.name}/{name}" for name in _files(path))


def check_folder(text, planned, option="--out"):
    """(path, names that may be replaced) of the folder `text`, which is made if it is not there.

    `planned` are the files that the run will write. Raises `SettingsError` where it may not.
    """
    if not text:
        raise SettingsError(f"{option} '': must name a folder")
    said, folder = f"{option} {text}", Path(text)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
        listed = written(folder, said)
        if not listed and not (folder / MARKER).exists() and _has_results(folder):
            listed = [name for name in OF_UNMARKED if (folder / name).exists()]
        found = list(_files(folder))
    except OSError as error:
        raise SettingsError(f"{said}: must be a folder that can be written: {error.strerror}") from None
    foreign = [name for name in found if name not in listed]
    if foreign and not (folder / MARKER).exists() and not listed:
        names = ", ".join(foreign[:NAMED_MAX]) + ", ..." * (len(foreign) > NAMED_MAX)
        raise SettingsError(f"{said}: must be empty or the folder of an earlier run: no run has written {names}")
    for name in planned:
        if name in foreign:
            raise SettingsError(f"{said}: no run has written the {name} there, which this one would replace: move it")
        if not _inside(folder, name):
            raise SettingsError(f"{said}: {name} would lead outside of it: remove the link")
    return folder, listed


def _mark(folder, names, process):
    temporary = folder / f"{MARKER}.{os.getpid()}"
    temporary.write_text(json.dumps({"written": sorted(names), "process": process}, indent=1) + "\n")
    temporary.replace(folder / MARKER)


def _remove(folder, names):
    """Remove the files `names`, and the folders that are empty then."""
    for name in names:
        path = folder / name
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            path.unlink()
        for parent in Path(name).parents:
            if parent != Path("."):
                with contextlib.suppress(OSError):
                    (folder / parent).rmdir()


@contextlib.contextmanager
def claimed(text, planned, option="--out"):
    """The folder `text`, this process's own until the end: what runs have left there is gone, and nothing else.

    Afterwards all that has come into it since is on its list. Raises `SettingsError` where `check_folder` does, or
    where another process has it.
    """
    folder, _ = check_folder(text, planned, option)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            marker = _loaded(folder / MARKER)
            process = marker.get("process") if isinstance(marker, dict) else None
            raise SettingsError(f"{option} {text}: in use by process {process or 'unknown'}") from None
        # What was there may have changed while nobody had the folder.
        _, listed = check_folder(text, planned, option)
        _remove(folder, listed)
        kept = set(_files(folder))
        _mark(folder, {*planned}, os.getpid())
        try:
            yield folder
        finally:
            with contextlib.suppress(OSError):
                _mark(folder, {*_files(folder)} - kept, None)
    finally:
        os.close(descriptor)
