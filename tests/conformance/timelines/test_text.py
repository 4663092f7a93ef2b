"""A finding as lines of text."""

from __future__ import annotations

from mqbridge_conformance.timelines import timeline
from tests.conformance.timelines.made import Story, lost, twice


def test_a_timeline_says_who_did_what_when_and_which_of_it_proves_it() -> None:
    """One line an act, in order; the witness has stars; what took long says how long, and what failed that it did."""
    history, witness = twice()
    rest = [event for event in history if event not in witness and event.f != "run"]
    assert timeline(witness, rest).splitlines() == [
        "       0.000 ms  main/producer-1           send p1#0 queue:mails",
        "*      5.400 ms  share-1/queue-consumer-1  deliver p1#0 mails tag 1",
        "       5.600 ms  share-1/queue-consumer-1  ack p1#0 mails tag 1",
        "*      5.820 ms  share-1/queue-consumer-1  commit (4 ms)",
        "*     79.820 ms  share-2/queue-consumer-1  deliver p1#0 mails tag 1 attempt 2 again",
    ]


def test_ends_that_are_not_plain_are_told() -> None:
    """Failed, unknown, and never ended."""
    history, _ = lost()
    lines = timeline((), list(history)).splitlines()
    (unknown,) = [line for line in lines if "connection_lost" in line]
    assert unknown.endswith("-> nobody knows connection_lost: maybe applied (1244 ms)")
    assert any(line.endswith("-> failed rejected: not applied (2 ms)") for line in lines)
    assert any(line.endswith("send p1#5 key customer-1 topic:orders -> no end: nobody knows") for line in lines)


def test_nothing_is_no_lines() -> None:
    """And no error."""
    assert timeline((), Story().events) == ""
