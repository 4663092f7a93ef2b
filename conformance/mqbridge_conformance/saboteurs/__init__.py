"""Deliberately broken engines, made by wrapping any adapter: the proof that the suite's checks bite."""

from mqbridge_conformance.saboteurs.catalogue import SABOTEURS
from mqbridge_conformance.saboteurs.saboteur import Pieces, Saboteur
from mqbridge_conformance.saboteurs.strikes import Plan, strikes_told
from mqbridge_conformance.saboteurs.wrapping import in_force, open_bus

__all__ = ["SABOTEURS", "Pieces", "Plan", "Saboteur", "in_force", "open_bus", "strikes_told"]
