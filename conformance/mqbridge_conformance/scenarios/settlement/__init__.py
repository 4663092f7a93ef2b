"""Settling: each verb, on topics and queues."""

from mqbridge_conformance.scenarios.settlement.verbs import verbs

__all__ = ["ALL"]

ALL = (verbs,)
