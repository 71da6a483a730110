"""Every proof, in the order of the table."""

from tests.formal import streams_proofs

__all__ = ["PROOFS"]

PROOFS = tuple(streams_proofs.PROOFS)
