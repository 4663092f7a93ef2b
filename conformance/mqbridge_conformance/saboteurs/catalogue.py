"""All saboteurs, by their codes.

The rule: a code means the same for ever. M01 to M40 are the classic ones, of which those that are missing belong to
what the library does not have yet (transactions, outbox); S01 and on are for promises that those leave alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

import mqbridge as mq
from mqbridge_conformance.saboteurs import (
    administering,
    connecting,
    consumers,
    contents,
    groups,
    handing,
    queues,
    reading,
    sending,
    specifying,
)
from mqbridge_conformance.saboteurs.saboteur import Pieces, Saboteur

__all__ = ["ROWS", "SABOTEURS"]

LOST: Final = "lost-write unseen lost"

Row: TypeAlias = tuple[str, str, str, Pieces] | tuple[str, str, str, Pieces, mq.Capability]
"""Code, name, anomalies with blanks between them, what it puts in the place of what, what it needs."""


def _of(area: str, *rows: Row) -> Iterator[Saboteur]:
    for code, name, anomalies, pieces, *needs in rows:
        yield Saboteur(code, name, area, tuple(anomalies.split()), pieces, tuple(needs))


ROWS: Final = (
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
        ("S57", "choose-by-chance", "wrong-partition key-moved", Pieces(channel=sending.ChoosesByChance)),
        ("S58", "take-any-partition", "wrong-partition", Pieces(channel=sending.TakesAnyPartition)),
        ("S67", "one-after-another", "not-pipelined", Pieces(channel=sending.SendsOneAfterAnother)),
        ("S55", "ask-for-more", "acks-ignored", Pieces(sender=sending.asks_for_more), mq.Capability.ACKS_NONE),
        ("S80", "resend-blindly", "duplicate", Pieces(sender=sending.resends_blindly), mq.Capability.IDEMPOTENT_SEND),
        ("S04", "confirm-unroutable", "unroutable-confirmed", Pieces(channel=sending.ConfirmsUnroutable)),
        ("S09", "take-without-end", "unbounded limit-ignored", Pieces(sender=sending.takes_without_end)),
    ),
    *_of(
        "contents",
        ("M26", "lose-headers", "payload-corruption", Pieces(channel=contents.LosesHeaders)),
        (
            "M26b",
            "forget-timestamps",
            "payload-corruption",
            Pieces(channel=contents.ForgetsTimestamps),
        ),
        ("M26c", "empty-null", "payload-corruption", Pieces(channel=contents.EmptiesNull)),
        ("S68", "one-header-a-name", "payload-corruption", Pieces(channel=contents.KeepsOneHeaderAName)),
        ("M33", "expire-early", "ttl-early", Pieces(channel=contents.ExpiresEarly)),
        ("S01", "damage-payloads", "payload-corruption", Pieces(channel=contents.DamagesPayloads)),
        ("S54", "write-at-opening", "phantom refusal-applied", Pieces(channel=contents.WritesAtOpening)),
        ("S02", "misplace", "wrong-destination", Pieces(channel=contents.Misplaces)),
        (
            "S03",
            "lose-keys",
            "payload-corruption key-moved key-order wrong-partition",
            Pieces(channel=contents.LosesKeys),
        ),
        (
            "S06",
            "ignore-delay",
            "delay-early delay-ignored",
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
            "unseen starvation missing-redelivery lost",
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
        ("S12", "hide-gaps", "gap-hidden", Pieces(topic=reading.HidesGaps)),
        ("S17", "repeat-blocks", "nonmonotonic-poll int-nonmonotonic-poll", Pieces(topic=reading.RepeatsBlocks)),
        (
            "S18",
            "replay-backwards",
            "nonmonotonic-poll int-nonmonotonic-poll replay-mismatch",
            Pieces(replay=reading.ReplaysBackwards),
        ),
        ("S19", "begin-late", "replay-mismatch", Pieces(topic=reading.BeginsLate, replay=reading.ReplaysLate)),
        ("S70", "replay-in-a-group", "group-made", Pieces(connection=reading.ReplaysInAGroup)),
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
        ("S32", "lose-reasons", "death-untold", Pieces(queue=consumers.LosesReasons)),
        ("S33", "settle-after", "duplicate settled-twice", Pieces(queue=consumers.SettlesAfter)),
    ),
    *_of(
        "administering",
        (
            "S35",
            "create-by-looking",
            "phantom-topic",
            Pieces(admin=administering.CreatesByLooking),
        ),
        (
            "S36",
            "create-by-sending",
            "phantom-topic",
            Pieces(channel=administering.CreatesBySending),
        ),
        ("S37", "hide-mismatches", "mismatch-hidden", Pieces(admin=administering.HidesMismatches)),
        ("S38", "refuse-nothing", "refusal-applied", Pieces(connection=connecting.RefusesNothing)),
        (
            "S39",
            "purge-nothing",
            "purge-incomplete purge-count",
            Pieces(admin=administering.PurgesNothing),
        ),
        ("S40", "count-one-more", "depth-wrong", Pieces(admin=administering.CountsOneMore)),
        ("S41", "redrive-nothing", "redrive-count redrive-lost", Pieces(admin=administering.RedrivesNothing)),
        (
            "S42",
            "reject-the-missing",
            "wrong-error",
            Pieces(admin=administering.RejectsWhatIsMissing),
        ),
        ("S43", "delete-nothing", "not-deleted", Pieces(admin=administering.DeletesNothing)),
        (
            "S44",
            "add-no-partitions",
            "untrue-answer wrong-partition",
            Pieces(admin=administering.AddsNoPartitions),
        ),
        ("S45", "lag-less", "untrue-answer", Pieces(admin=administering.LagsLess)),
        ("S46", "reset-nothing", "untrue-answer commit-lost", Pieces(admin=administering.ResetsNothing)),
        (
            "S47",
            "delete-no-records",
            "untrue-answer",
            Pieces(admin=administering.DeletesNoRecords),
        ),
        ("S69", "delete-one-more", "untrue-answer lost-write", Pieces(admin=administering.DeletesOneMore)),
        ("S48", "bind-wider", "misrouted wrong-destination", Pieces(admin=administering.BindsWider)),
        ("S49", "bind-nothing", "misrouted unroutable-confirmed lost", Pieces(admin=administering.BindsNothing)),
        ("S50", "keep-bindings", "misrouted wrong-destination", Pieces(admin=administering.KeepsBindings)),
        ("S56", "emulate-anyway", "refusal-applied", Pieces(request=connecting.emulates_anyway)),
        ("S75", "keep-groups", "untrue-answer refusal-applied", Pieces(admin=administering.KeepsGroups)),
        ("S74", "hide-states", "state-untold", Pieces(request=connecting.hides_states)),
        ("S52", "let-anybody-in", "let-in", Pieces(request=connecting.lets_anybody_in), mq.Capability.PASSWORDS),
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
    *_of(
        "settling too early",
        ("S71", "ack-at-hand-out", "lost missing-redelivery EOS-lost", Pieces(queue=handing.AcksAtHandOut)),
        ("S72", "commit-at-hand-out", "committed-too-far handover-gap", Pieces(topic=handing.CommitsAtHandOut)),
    ),
    *_of(
        "specifications",
        ("S59", "forget-length", "limit-ignored", Pieces(admin=specifying.ForgetsLength)),
        ("S60", "forget-overflow", "wrong-victim", Pieces(admin=specifying.ForgetsOverflow)),
        ("S61", "forget-expiry", "expiry-ignored", Pieces(admin=specifying.ForgetsExpiry)),
        ("S62", "forget-single-active", "double-ownership", Pieces(admin=specifying.ForgetsSingleActive)),
        ("S63", "forget-alternates", "misrouted lost", Pieces(admin=specifying.ForgetsAlternates)),
        ("S64", "forget-retention", "retention-ignored", Pieces(admin=specifying.ForgetsRetention)),
        ("S65", "merge-groups", "unseen starvation commit-lost", Pieces(topic=specifying.MergesGroups)),
        ("S66", "wait-for-ever", "starvation unseen", Pieces(topic=specifying.WaitsForEver)),
        ("S73", "read-one-topic", "unseen starvation", Pieces(topic=specifying.ReadsOneTopic)),
        ("S76", "hold-silent-members", "starvation unseen", Pieces(topic=specifying.HoldsSilentMembers)),
    ),
)

SABOTEURS: Final = {saboteur.code: saboteur for saboteur in sorted(ROWS, key=lambda saboteur: saboteur.code)}
