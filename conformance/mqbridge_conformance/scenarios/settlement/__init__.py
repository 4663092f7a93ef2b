"""Settling: each verb, on topics and queues; the modes of ack; what a crash brings back."""

from mqbridge_conformance.scenarios.settlement.ack_modes import ack_auto, ack_before
from mqbridge_conformance.scenarios.settlement.attempts import attempts_counted
from mqbridge_conformance.scenarios.settlement.double_settle import double_settle
from mqbridge_conformance.scenarios.settlement.lease_lost import lease_lost
from mqbridge_conformance.scenarios.settlement.out_of_order_ack import out_of_order_ack
from mqbridge_conformance.scenarios.settlement.topic_dead_letter import topic_dead_letter, topic_dead_letter_unconfirmed
from mqbridge_conformance.scenarios.settlement.topic_verbs import settle_once_on_a_topic
from mqbridge_conformance.scenarios.settlement.verbs import verbs

__all__ = ["ALL"]

ALL = (
    verbs,
    double_settle,
    lease_lost,
    attempts_counted,
    out_of_order_ack,
    settle_once_on_a_topic,
    topic_dead_letter,
    topic_dead_letter_unconfirmed,
    ack_before,
    ack_auto,
)
