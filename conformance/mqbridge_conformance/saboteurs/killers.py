"""Which scenario kills which saboteur: one for each, and for each scenario one, as the whole matrix has shown.

The rule: the cheapest pair that is certain, at probability 1, on the native engine. A saboteur or a scenario that is
not here is not known to be of use.
"""

from __future__ import annotations

from typing import Final

from mqbridge_conformance.saboteurs.saboteur import Saboteur
from mqbridge_conformance.scenario import Scenario

__all__ = ["KILLERS", "is_killer"]

KILLERS: Final[frozenset[tuple[str, str]]] = frozenset(())
"""(saboteur, scenario)."""


def is_killer(scenario: Scenario, saboteur: Saboteur) -> bool:
    """Is that a pair that is known?"""
    return (saboteur.code, scenario.name) in KILLERS
