"""Proofs of the RTL: `python -m tests.formal`. A proof is an Amaranth bench that assumes, asserts and covers."""
