"""Every proof, in the order of the table."""

from tests.formal import coherency_proofs, queue_proofs, request_proofs, streams_proofs

__all__ = ["PROOFS"]

PROOFS = (*streams_proofs.PROOFS, *coherency_proofs.PROOFS, *request_proofs.PROOFS, *queue_proofs.PROOFS)
