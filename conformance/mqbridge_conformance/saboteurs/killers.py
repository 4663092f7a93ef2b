"""Which scenario kills which saboteur: one for each, and for each scenario one, as the whole matrix has shown.

The rule: the cheapest pair that is certain, at probability 1, on the native engine. A saboteur or a scenario that is
not here is not known to be of use, and a test says so.
"""

from __future__ import annotations

from typing import Final

from mqbridge_conformance.saboteurs.saboteur import Saboteur
from mqbridge_conformance.scenario import Scenario

__all__ = ["KILLERS", "NOT_NATIVE", "is_killer"]

_KILLERS: Final = {
    "M01": "added-latency order-in-queue",
    "M02": "disk-full lost-answers-resent lost-answers-told partition-custom too-large",
    "M03": "back-pressure",
    "M05": "rebalance-pause-eager topic-dead-letter-unconfirmed",
    "M06": "partition-sticky",
    "M07": "records-deleted",
    "M15": "concurrent-use order-across-restart topic-cut-long",
    "M16": "out-of-order-ack",
    "M17": "seek",
    "M18": "hung-handler slow-handler stalled-member-fenced",
    "M19": "rolling-restart",
    "M20": "assignment-eager",
    "M21": "start-rules",
    "M22": "start-rules",
    "M23": "replay",
    "M24": "closed-objects",
    "M25": "order-per-key",
    "M26": "round-trip",
    "M26b": "round-trip",
    "M26c": "round-trip",
    "M27": "dead-letter-queue-full",
    "M28": "purge",
    "M29": "competing-consumers prefetch-bound",
    "M30": "crash-redelivers depth queue-cut-long queue-under-kill-effectively-once",
    "M31": "dead-letter-queue-missing poison-message",
    "M32": "release-retry-reject",
    "M33": "message-ttl",
    "M34": "dead-letter-reasons",
    "M40": (
        "ack-auto ack-before members-come-and-go mismatch order-under-failing-handlers "
        "broker-killed cut-short settle-once-on-a-topic static-member-fenced stopped-member-fenced topic-dead-letter "
        "topic-under-kill-at-least-once topic-under-kill-at-most-once topic-under-kill-effectively-once"
    ),
    "S01": "assignment-cooperative assignment-server close-flushes long-handler run-drains",
    "S02": "partition-round-robin",
    "S03": "partitions-added",
    "S04": "unseen-failures",
    "S06": "delayed-send",
    "S07": "priority",
    "S08": "message-ttl",
    "S09": "back-pressure broker-paused",
    "S10": "pause-and-resume",
    "S12": "start-rules",
    "S13": "static-member-restart",
    "S14": "rebalance-pause-cooperative",
    "S15": "lease-lost",
    "S17": "member-crash order-under-retry",
    "S18": "replay-last",
    "S19": "replay-by-time",
    "S20": "replay-after-truncation",
    "S22": "route-direct",
    "S23": "route-fanout",
    "S24": "attempts-counted",
    "S25": "attempts-counted",
    "S26": "double-settle",
    "S27": "dead-letter-reasons",
    "S28": "lease-lost",
    "S30": "resumes-after-restart",
    "S31": "delayed-retry",
    "S32": "dead-letters",
    "S33": "queue-under-kill-at-most-once",
    "S35": "topic-specified",
    "S36": "unroutable-and-missing",
    "S37": "retention-by-size",
    "S38": "acks-leader acks-none compaction idempotent-lost-answers passwords permissions read-committed refusals tls",
    "S39": "purge",
    "S40": "burst-then-drain",
    "S41": "redrive",
    "S42": "unroutable-and-missing",
    "S43": "queue-specified topic-specified",
    "S44": "start-rules",
    "S45": "lag-is-truth",
    "S46": "group-reset",
    "S47": "replay-after-truncation",
    "S48": "route-headers",
    "S49": "exchange-to-exchange",
    "S50": "route-topic",
    "S51": "replay-by-time",
    "S53": "escape-hatch",
    "S54": "bad-specifications close-from-another-thread hooks queue-under-kill-at-least-once",
    "S56": "emulation-forbidden",
    "S57": "partition-by-key",
    "S58": "partition-custom",
    "S59": "length-limit-rejects",
    "S60": "length-limit-drops",
    "S61": "queue-expiry",
    "S62": "single-active-consumer",
    "S63": "alternate-exchange",
    "S64": "retention-by-age",
    "S65": "two-groups",
    "S66": "hung-handler stalled-member-fenced",
    "S67": "confirmed-in-a-pipeline",
    "S68": "round-trip",
    "S69": "records-deleted",
    "S70": "replay-beside-a-group",
    "S71": "crash-redelivers",
    "S72": "out-of-order-ack",
    "S73": "several-topics",
    "S74": "states-told",
    "S75": "group-deleted",
    "S76": "stopped-member-fenced topic-cut-long",
}

KILLERS: Final[frozenset[tuple[str, str]]] = frozenset(
    (code, name) for code, names in _KILLERS.items() for name in names.split()
)
"""(saboteur, scenario)."""

NOT_NATIVE: Final = {
    "S52": "the native engine asks nobody for a password; `passwords` kills it on Kafka and RabbitMQ",
    "S80": "the native engine has no idempotent producer yet; `idempotent-lost-answers` kills it on Kafka",
    "S55": "the native engine has no acks to choose; `acks-none` kills it on Kafka",
}
"""What the native engine gives a saboteur nothing to break of, and who kills it elsewhere."""


def is_killer(scenario: Scenario, saboteur: Saboteur) -> bool:
    """Is that a pair that is known?"""
    return (saboteur.code, scenario.name) in KILLERS
