"""`python -m sim`."""

import sys

from kv_endpoint.sim.cli import main

# The checker is a process of its own that imports this module again.
if __name__ == "__main__":
    sys.exit(main())
