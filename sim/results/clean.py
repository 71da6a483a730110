"""`python -m kv_endpoint.sim.results.clean DIR`: which files of results a later run would replace, below a folder.

With `--remove` it removes them. Files that no run has written stay in either case.
"""

import argparse
import sys
from pathlib import Path

from kv_endpoint.sim.results.folder import MARKER, claimed, written
from kv_endpoint.sim.settings import SettingsError

__all__ = ["main"]

BAD_INPUT = 2


def main(arguments=None):
    """Run the command; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m kv_endpoint.sim.results.clean", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="where results lie, in it or in folders of it")
    parser.add_argument("--remove", action="store_true", help="remove them")
    options = parser.parse_args(arguments)
    count = 0
    try:
        # The innermost first: a folder that is empty then goes too.
        for marker in sorted(options.folder.rglob(MARKER), reverse=True):
            folder = marker.parent
            names = written(folder, str(folder))
            for name in names:
                print(folder / name)
            count += len(names)
            if options.remove:
                with claimed(str(folder), (), option="folder"):
                    pass
                marker.unlink()
    except SettingsError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return BAD_INPUT
    done = "removed" if options.remove else "would be removed: make clean-results REMOVE=1 does it"
    print(f"{count} files {done}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
