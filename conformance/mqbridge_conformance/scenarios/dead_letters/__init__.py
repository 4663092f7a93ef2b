"""Dead letters: why, how often tried, browsed, redriven."""

from mqbridge_conformance.scenarios.dead_letters.dead_letters import dead_letters

__all__ = ["ALL"]

ALL = (dead_letters,)
