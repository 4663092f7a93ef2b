"""All saboteurs, by their codes.

The rule: a code means the same for ever. M01 to M40 are the classic ones, of which those that are missing belong to
what the library does not have yet (transactions, outbox); S01 and on are for promises that those leave alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

from mqbridge_conformance.saboteurs import (
    administering,
    connecting,
    consumers,
    contents,
    groups,
    queues,
    reading,
    sending,
)
from mqbridge_conformance.saboteurs.saboteur import Pieces, Saboteur

__all__ = ["SABOTEURS"]

LOST: Final = "lost-write unseen lost"

Row: TypeAlias = tuple[str, str, str, Pieces]
"""Code, name, anomalies with blanks between them, what it puts in the place of what. After an ``=`` there stands what
the check of a scenario says, where no anomaly has a name for it."""


def _of(area: str, *rows: Row) -> Iterator[Saboteur]:
    for code, name, found, pieces in rows:
        anomalies, _, words = found.partition("=")
        yield Saboteur(code, name, area, tuple(anomalies.split()), pieces, words)


_ALL: Final = (
    *_of(
        "sending",
        ("M01", "swap-records", "nonmonotonic-send key-order fifo-inversion", Pieces(channel=sending.SwapsRecords)),
        ("M02", "drop-after-ack", LOST, Pieces(channel=sending.DropsAfterAck)),
        ("M03", "ack-before-append", LOST, Pieces(channel=sending.AcksBeforeAppend)),
        ("M05", "append-twice", "duplicate", Pieces(channel=sending.AppendsTwice)),
        ("M06", "drop-on-roll", LOST, Pieces(channel=sending.DropsOnRoll)),
        ("M07", "reuse-offsets", "inconsistent-offsets", Pieces(channel=sending.ReusesOffsets)),
        ("M25", "move-keys", "key-moved", Pieces(channel=sending.MovesKeys)),
        ("M40", "report-failure", "G1a phantom", Pieces(channel=sending.ReportsFailure)),
        ("S04", "confirm-unroutable", "unroutable-confirmed", Pieces(channel=sending.ConfirmsUnroutable)),
        ("S09", "take-without-end", "unbounded limit-ignored", Pieces(sender=sending.takes_without_end)),
    ),
    # Its subject is on one engine alone: the others refuse to be asked for less.
    Saboteur("S55", "ask-for-more", "sending", ("acks-ignored",), Pieces(sender=sending.asks_for_more), only="kafka"),
    *_of(
        "contents",
        ("M26", "lose-headers", "payload-corruption=headers: found", Pieces(channel=contents.LosesHeaders)),
        (
            "M26b",
            "forget-timestamps",
            "payload-corruption=timestamp.*: found",
            Pieces(channel=contents.ForgetsTimestamps),
        ),
        ("M26c", "empty-null", "payload-corruption=value: found b''", Pieces(channel=contents.EmptiesNull)),
        ("M33", "expire-early", "ttl-early", Pieces(channel=contents.ExpiresEarly)),
        ("S01", "damage-payloads", "payload-corruption", Pieces(channel=contents.DamagesPayloads)),
        ("S54", "write-at-opening", "phantom refusal-applied", Pieces(channel=contents.WritesAtOpening)),
        ("S02", "misplace", "wrong-destination", Pieces(channel=contents.Misplaces)),
        ("S03", "lose-keys", "key-moved key-order wrong-partition=key: found None", Pieces(channel=contents.LosesKeys)),
        (
            "S06",
            "ignore-delay",
            "delay-early delay-ignored=are delayed: still Counts",
            Pieces(channel=contents.IgnoresDelay),
        ),
        ("S07", "ignore-priority", "priority-inversion priority-ignored", Pieces(channel=contents.IgnoresPriority)),
        ("S08", "ignore-expiry", "ttl-late ttl-ignored", Pieces(channel=contents.IgnoresExpiry)),
    ),
    *_of(
        "groups",
        ("M15", "lose-commits", "commit-lost", Pieces(topic=groups.LosesCommits)),
        ("M16", "commit-one-more", "committed-too-far", Pieces(topic=groups.CommitsOneMore)),
        ("M17", "commit-stale", "commit-regression commit-lost", Pieces(topic=groups.CommitsStale)),
        ("M18", "take-stale-commits", "zombie-commit", Pieces(topic=groups.TakesStaleCommits)),
        ("M19", "two-owners", "double-ownership", Pieces(topic=groups.KeepsWhatIsRevoked)),
        ("M20", "leave-unowned", "starvation unseen", Pieces(topic=groups.LeavesUnowned)),
        ("M21", "skip-at-rebalance", "handover-gap poll-skip", Pieces(topic=groups.SkipsAtRebalance)),
        ("M22", "rewind-too-far", "commit-lost", Pieces(topic=groups.RewindsTooFar)),
        ("S10", "ignore-pause", "paused-delivery", Pieces(topic=groups.IgnoresPause)),
        ("S13", "forget-instances", "static-moved", Pieces(topic=groups.ForgetsInstances)),
        ("S14", "stop-the-world", "eager-rebalance", Pieces(topic=groups.StopsTheWorld)),
        (
            "S15",
            "stay-after-close",
            "unseen starvation missing-redelivery lost=has \\d+ members",
            Pieces(topic=groups.StaysInTheGroup, queue=consumers.StaysAtTheQueue),
        ),
    ),
    *_of(
        "reading",
        (
            "M23",
            "seek-off-by-one",
            "replay-mismatch poll-skip nonmonotonic-poll",
            Pieces(topic=reading.SeeksBesides, replay=reading.ReplaysOneLate),
        ),
        (
            "M24",
            "swap-earliest-and-latest",
            "committed-too-far starvation poll-skip nonmonotonic-poll unseen",
            Pieces(topic=reading.BeginsAtTheOtherEnd, replay=reading.ReplaysFromTheOtherEnd),
        ),
        ("S12", "hide-gaps", "=that was removed: no error", Pieces(topic=reading.HidesGaps)),
        ("S17", "repeat-blocks", "nonmonotonic-poll int-nonmonotonic-poll", Pieces(topic=reading.RepeatsBlocks)),
        (
            "S18",
            "replay-backwards",
            "nonmonotonic-poll int-nonmonotonic-poll replay-mismatch",
            Pieces(replay=reading.ReplaysBackwards),
        ),
        ("S19", "begin-late", "replay-mismatch", Pieces(topic=reading.BeginsLate, replay=reading.ReplaysLate)),
        ("S20", "replay-one-less", "replay-mismatch", Pieces(replay=reading.ReplaysOneLess)),
    ),
    *_of(
        "queues",
        ("M27", "redeliver", "redelivery-after-settle", Pieces(queue=queues.AcksAreReleases)),
        ("M28", "drop-returned", "missing-redelivery lost", Pieces(queue=queues.DropsReturned)),
        ("M29", "prefetch-plus-one", "prefetch-bound", Pieces(queue=queues.HandsOutOneMore)),
        ("M30", "hide-redelivery", "dup-unflagged", Pieces(queue=queues.HidesRedelivery)),
        ("M31", "drop-dead-letters", "dlq-lost", Pieces(queue=queues.DropsDeadLetters)),
        ("M32", "double-dead-letters", "dlq-dup", Pieces(queue=queues.WritesDeadLettersTwice)),
        ("M34", "one-attempt-more", "delivery-limit", Pieces(queue=queues.AllowsOneAttemptMore)),
        ("S22", "share-leases", "concurrent-lease", Pieces(queue=consumers.SharesLeases)),
        ("S23", "hand-out-twice", "concurrent-lease", Pieces(queue=consumers.HandsOutTwice)),
        ("S24", "count-releases", "release-counted", Pieces(queue=consumers.CountsReleases)),
        ("S25", "forget-retries", "attempt-wrong", Pieces(queue=consumers.ForgetsRetries)),
        ("S26", "forget-attempts", "attempt-wrong", Pieces(queue=consumers.ForgetsAttempts)),
        ("S27", "return-rejected", "dlq-lost redelivery-after-settle", Pieces(queue=consumers.ReturnsRejected)),
        ("S28", "drop-what-it-holds", "missing-redelivery lost", Pieces(queue=consumers.DropsWhatItHolds)),
        (
            "S30",
            "never-resume",
            "unseen lost starvation missing-redelivery",
            Pieces(topic=consumers.NeverResumesReading, queue=consumers.NeverResumes),
        ),
        ("S31", "ignore-retry-delay", "delay-early delay-ignored", Pieces(queue=consumers.IgnoresRetryDelay)),
        ("S32", "lose-reasons", "death-untold=error=None|error=''", Pieces(queue=consumers.LosesReasons)),
        ("S33", "settle-after", "duplicate settled-twice", Pieces(queue=consumers.SettlesAfter)),
    ),
    *_of(
        "administering",
        (
            "S35",
            "create-by-looking",
            "phantom-topic=does not exist: no error",
            Pieces(admin=administering.CreatesByLooking),
        ),
        (
            "S36",
            "create-by-sending",
            "phantom-topic=sending to a topic that does not exist: no error",
            Pieces(channel=administering.CreatesBySending),
        ),
        ("S37", "hide-mismatches", "mismatch-hidden", Pieces(admin=administering.HidesMismatches)),
        ("S38", "refuse-nothing", "refusal-applied=no error", Pieces(connection=connecting.RefusesNothing)),
        (
            "S39",
            "purge-nothing",
            "purge-incomplete purge-count=was purged: still",
            Pieces(admin=administering.PurgesNothing),
        ),
        ("S40", "count-one-more", "depth-wrong", Pieces(admin=administering.CountsOneMore)),
        ("S41", "redrive-nothing", "redrive-count redrive-lost", Pieces(admin=administering.RedrivesNothing)),
        (
            "S42",
            "reject-the-missing",
            "=Rejected.*(?:cannot be had|where NotFound is due)",
            Pieces(admin=administering.RejectsWhatIsMissing),
        ),
        ("S43", "delete-nothing", "=deleted", Pieces(admin=administering.DeletesNothing)),
        (
            "S44",
            "add-no-partitions",
            "untrue-answer wrong-partition=partitions",
            Pieces(admin=administering.AddsNoPartitions),
        ),
        ("S45", "lag-less", "untrue-answer", Pieces(admin=administering.LagsLess)),
        ("S46", "reset-nothing", "untrue-answer commit-lost", Pieces(admin=administering.ResetsNothing)),
        (
            "S47",
            "delete-no-records",
            "untrue-answer=records that are left",
            Pieces(admin=administering.DeletesNoRecords),
        ),
        ("S48", "bind-wider", "misrouted wrong-destination", Pieces(admin=administering.BindsWider)),
        ("S49", "bind-nothing", "misrouted unroutable-confirmed lost", Pieces(admin=administering.BindsNothing)),
        ("S50", "keep-bindings", "misrouted wrong-destination", Pieces(admin=administering.KeepsBindings)),
        ("S56", "emulate-anyway", "refusal-applied=no error", Pieces(request=connecting.emulates_anyway)),
        ("S52", "let-anybody-in", "let-in", Pieces(request=connecting.lets_anybody_in)),
        (
            "S53",
            "hide-natives",
            "no-native",
            Pieces(
                connection=connecting.HidesNatives,
                topic=connecting.HidesNativesOfMembers,
                queue=connecting.HidesNativesOfConsumers,
            ),
        ),
        ("S51", "find-later", "untrue-answer replay-mismatch", Pieces(admin=administering.FindsLater)),
    ),
)

SABOTEURS: Final = {saboteur.code: saboteur for saboteur in sorted(_ALL, key=lambda saboteur: saboteur.code)}
