"""Checkers: what a history proves about the engine that it was recorded on."""

from mqbridge_conformance.checkers.judging import Checker, Finding, Judge, Judgement, Outcome, Profile

__all__ = ["Checker", "Finding", "Judge", "Judgement", "Outcome", "Profile"]
