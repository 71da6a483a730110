"""How many windows the phase detector gets right: `python -m tests.support.phase_figures` prints the confusion
matrices.

Takes a quarter of a minute with the production trace.
"""

import sys

from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.events.port import Phase
from tests.support.phase_traffic import accuracy, confusions, requests, serve

__all__ = ["RULES", "SHARES", "table"]

#: the detector with and without the burst test
RULES = {"burst test": Policy(), "ratio and hysteresis": Policy(phase_burst=False)}
#: share of a head's blocks that a step of decode reads: dense attention, and a selection
SHARES = (1.0, 0.125)
EVERY = 40


def table(matrix):
    """Lines of a confusion matrix: rows are what the windows were, columns the verdicts and the share right."""
    names = [phase.name.lower() for phase in Phase]
    lines = [f"{'':>12}" + "".join(f"{name:>12}" for name in (*names, "right"))]
    for truth, name in zip(Phase, names, strict=True):
        counts = "".join(f"{matrix[truth, verdict]:12}" for verdict in Phase)
        lines.append(f"{name:>12}{counts}{accuracy(matrix, truth):12.4f}")
    return lines


def main():
    name, served = requests(EVERY)
    for share in SHARES:
        print(f"{len(served)} requests of {name}, decode reads {share:.1%} of the blocks")
        for rule, matrix in confusions(serve(served, share=share), RULES).items():
            print(f"  {rule}: {accuracy(matrix):.4f} of {matrix.total()} windows are right")
            print(*table(matrix), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
