"""Exchanges: each type, each edge, what reaches nobody."""

from mqbridge_conformance.scenarios.routing.unroutable_and_missing import unroutable_and_missing

__all__ = ["ALL"]

ALL = (unroutable_and_missing,)
