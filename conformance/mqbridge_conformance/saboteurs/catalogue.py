"""All saboteurs, by their codes.

The rule: a code means the same for ever. M01 to M40 are those of the literature on testing brokers by mutation; codes
that are missing among them belong to what the library does not have yet (transactions, outbox).
"""

from __future__ import annotations

from typing import Final

from mqbridge_conformance.saboteurs import groups, queues, sending
from mqbridge_conformance.saboteurs.saboteur import Pieces, Saboteur

__all__ = ["SABOTEURS"]

LOST: Final = ("lost-write", "unseen", "lost")
DAMAGED: Final = ("payload-corruption",)

_ALL: Final = (
    Saboteur("M01", "swap-records", "sending", ("nonmonotonic-send",), Pieces(channel=sending.SwapsRecords)),
    Saboteur("M02", "drop-after-ack", "sending", LOST, Pieces(channel=sending.DropsAfterAck)),
    Saboteur("M03", "ack-before-append", "sending", LOST, Pieces(channel=sending.AcksBeforeAppend)),
    Saboteur("M05", "append-twice", "sending", ("duplicate",), Pieces(channel=sending.AppendsTwice)),
    Saboteur("M06", "drop-on-roll", "sending", LOST, Pieces(channel=sending.DropsOnRoll)),
    Saboteur("M07", "reuse-offsets", "sending", ("inconsistent-offsets",), Pieces(channel=sending.ReusesOffsets)),
    Saboteur("M15", "lose-commits", "groups", ("commit-lost",), Pieces(topic=groups.LosesCommits)),
    Saboteur("M16", "commit-one-more", "groups", ("committed-too-far",), Pieces(topic=groups.CommitsOneMore)),
    Saboteur("M17", "commit-stale", "groups", ("commit-regression",), Pieces(topic=groups.CommitsStale)),
    Saboteur("M18", "take-stale-commits", "groups", ("zombie-commit",), Pieces(topic=groups.TakesStaleCommits)),
    Saboteur("M19", "two-owners", "groups", ("double-ownership",), Pieces(topic=groups.KeepsWhatIsRevoked)),
    Saboteur("M20", "leave-unowned", "groups", ("starvation",), Pieces(topic=groups.LeavesUnowned)),
    Saboteur("M21", "skip-at-rebalance", "groups", ("handover-gap",), Pieces(topic=groups.SkipsAtRebalance)),
    Saboteur("M22", "rewind-too-far", "groups", ("commit-lost",), Pieces(topic=groups.RewindsTooFar)),
    Saboteur(
        "M23",
        "seek-off-by-one",
        "reading",
        ("replay-mismatch", "poll-skip"),
        Pieces(topic=groups.SeeksBesides, replay=groups.ReplaysOneLate),
    ),
    Saboteur(
        "M24",
        "swap-earliest-and-latest",
        "reading",
        ("poll-skip",),
        Pieces(topic=groups.BeginsAtTheOtherEnd, replay=groups.ReplaysFromTheOtherEnd),
    ),
    Saboteur("M25", "move-keys", "sending", ("wrong-destination",), Pieces(channel=sending.MovesKeys)),
    Saboteur("M26", "lose-headers", "sending", DAMAGED, Pieces(channel=sending.LosesHeaders)),
    Saboteur("M26b", "forget-timestamps", "sending", DAMAGED, Pieces(channel=sending.ForgetsTimestamps)),
    Saboteur("M26c", "empty-null", "sending", DAMAGED, Pieces(channel=sending.EmptiesNull)),
    Saboteur("M27", "redeliver", "queues", ("redelivery-after-settle",), Pieces(queue=queues.AcksAreReleases)),
    Saboteur("M28", "drop-returned", "queues", ("missing-redelivery",), Pieces(queue=queues.DropsReturned)),
    Saboteur("M29", "prefetch-plus-one", "queues", ("prefetch-bound",), Pieces(queue=queues.HandsOutOneMore)),
    Saboteur("M30", "hide-redelivery", "queues", ("dup-unflagged",), Pieces(queue=queues.HidesRedelivery)),
    Saboteur("M31", "drop-dead-letters", "queues", ("dlq-lost",), Pieces(queue=queues.DropsDeadLetters)),
    Saboteur("M32", "double-dead-letters", "queues", ("dlq-dup",), Pieces(queue=queues.WritesDeadLettersTwice)),
    Saboteur("M33", "expire-early", "queues", ("ttl-early",), Pieces(channel=sending.ExpiresEarly)),
    Saboteur("M34", "one-attempt-more", "queues", ("delivery-limit",), Pieces(queue=queues.AllowsOneAttemptMore)),
    Saboteur("M40", "report-failure", "sending", ("G1a", "phantom"), Pieces(channel=sending.ReportsFailure)),
)

SABOTEURS: Final = {saboteur.code: saboteur for saboteur in _ALL}
