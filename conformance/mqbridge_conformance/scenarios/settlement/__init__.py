"""Settling: each verb, on topics and queues."""

from mqbridge_conformance.scenarios.settlement.attempts import attempts_counted
from mqbridge_conformance.scenarios.settlement.double_settle import double_settle
from mqbridge_conformance.scenarios.settlement.lease_lost import lease_lost
from mqbridge_conformance.scenarios.settlement.verbs import verbs

__all__ = ["ALL"]

ALL = (verbs, double_settle, lease_lost, attempts_counted)
