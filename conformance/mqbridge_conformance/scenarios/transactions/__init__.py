"""What is sent as a whole or not at all, as those see it who read."""

from mqbridge_conformance.scenarios.transactions.isolation import read_committed

__all__ = ["ALL"]

ALL = (read_committed,)
