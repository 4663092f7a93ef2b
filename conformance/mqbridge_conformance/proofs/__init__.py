"""Known bad configurations on real brokers: each fails, and the same scenario passes without it."""

from mqbridge_conformance.proofs.table import PROOFS, Proof, ProofRuns, show, target_of

__all__ = ["PROOFS", "Proof", "ProofRuns", "show", "target_of"]
