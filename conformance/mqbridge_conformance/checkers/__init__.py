"""Checkers: what a history proves about the engine that it was recorded on."""

from mqbridge_conformance.checkers.catalogue import ALL, judge
from mqbridge_conformance.checkers.judging import Checker, Finding, Judge, Judgement, Outcome, Profile

__all__ = ["ALL", "Checker", "Finding", "Judge", "Judgement", "Outcome", "Profile", "judge"]
