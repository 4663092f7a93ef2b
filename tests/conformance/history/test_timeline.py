"""A timeline shows who did what around a finding, and marks what proves it."""

from __future__ import annotations

from typing import Any

from mqbridge_conformance.checkers import Finding
from mqbridge_conformance.checkers.log_catalogue import LOG_CHECKERS
from mqbridge_conformance.history import timeline
from tests.conformance.checkers.stories import Story, findings, value

PICTURE = """\
poll-skip at topic:t/0 in group g: b/c went from offset 1 to 3 and was not given offset 2

times in ms; > marks what proves it
             main/p                                   b/c
      0.000  send p#1 to topic:t -> ok 0/1 in 1.000   .
>     2.000  send p#2 to topic:t -> ok 0/2 in 1.000   .
      4.000  send p#3 to topic:t -> ok 0/3 in 1.000   .
      8.000  .                                        assigned 0 lease 1
>     9.000  .                                        given 0/1 p#1 (lease 1)
>    14.000  .                                        given 0/3 p#3 (lease 1)
in force: pause at broker from 11.000 until 12.000

around offsets 1, 2, 3 of topic:t/0:
          0  p#0: confirmed
>         1  p#1: confirmed, given to b/c
>         2  p#2: confirmed, seen by an observer
>         3  p#3: confirmed, given to b/c
"""


def skip() -> Story:
    """A reader goes from 1 to 3 over a fault; an observer saw 2."""
    story = Story().filled(4)
    story.consumer("b/c")
    story.poll("b/c", 1)
    story.fault("broker")
    story.heal("broker")
    story.poll("b/c", 3)
    story.look(without=(0, 1, 3))
    return story


def test_a_finding_is_a_picture() -> None:
    """Columns for who, rows for when, the fault, and the neighbours of the offsets."""
    story = skip()
    (finding,) = (found for found in findings(story.history(), LOG_CHECKERS) if found.anomaly == "poll-skip")
    assert timeline(story.history(), finding) == PICTURE


def test_as_many_neighbours_as_are_asked_for() -> None:
    """None, one, or all there are."""
    history = Story().filled(9).history()
    (sent,) = (event for event in history if event.kind == "ok" and event.off == 4)
    finding = Finding("lost-write", "topic:t", "it is gone", (sent,))
    for around, offsets in ((0, [4]), (1, [3, 4, 5]), (9, list(range(9)))):
        lines = timeline(history, finding, around).partition("around")[2].splitlines()[1:]
        assert [int(line[1:11]) for line in lines] == offsets


def test_a_message_of_a_queue_is_shown_by_its_life() -> None:
    """Its send, its deliveries by tag, its settlements with what became of them, and where it lies at the end."""
    story = Story()
    story.producer()
    story.end(story.begin("x", dest="queue:q"), None)
    facts: dict[str, Any] = {"client": "c", "dest": "queue:q", "tag": 7}
    story.say("ok", "deliver", **facts, val="x", attempt=2, redelivered=True)
    op = story.say("invoke", "reject", **facts)
    story.say("fail", "reject", op=op, **facts)
    story.say("ok", "deliver", client="c", dest="queue:q", tag=8, val="y", attempt=1)
    story.say("ok", "letter", dest="queue:q", val="x", attempt=2)
    history = story.history()
    told = timeline(history, Finding("dlq-lost", "queue:q", "twice", tuple(history.said("letter")), "counted"))
    for words in (
        "legal: counted",
        "send 'x' to queue:q -> ok",
        "given tag 7 'x' (attempt 2, redelivered)",
        "letter 'x'",
    ):
        assert words in told
    assert "tag 8" not in told
    assert "around" not in told
    delivered = tuple(event for event in history.said("deliver") if event.tag == 7)
    assert "reject tag 7 -> fail in 1.000" in timeline(history, Finding("x", "queue:q", "", delivered))


def test_a_damaged_payload_and_a_commit_are_told_as_such() -> None:
    """What a person looks for first."""
    story = Story()
    story.consumer("a/c")
    story.put(0, value(0)[:-1] + "!")
    story.poll("a/c", 0)
    story.settle("a/c", 0)
    story.commit("a/c", outcome="info")
    story.committed(0)
    history = story.history()
    witness = (history.said("deliver")[0], history.said("committed")[0])
    told = timeline(history, Finding("payload-corruption", "topic:t/0", "", witness))
    for words in ("DAMAGED 'mqp1 run", "ack 0/0", "commit -> info x in 1.000", "committed group g -> ok 0/0"):
        assert words in told


def test_many_clients_are_told_in_a_list() -> None:
    """Where columns would be too wide for a screen, each row names its client."""
    story = Story().filled(1)
    for number in range(9):
        story.consumer(f"a-process-with-a-long-name-{number}/c", group=f"g{number}")
        story.poll(f"a-process-with-a-long-name-{number}/c", 0)
    history = story.history()
    told = timeline(history, Finding("x", "topic:t/0", "", tuple(history.said("deliver"))))
    assert max(map(len, told.splitlines()[2:14])) < 100
    assert "a-process-with-a-long-name-8/c  given 0/0 p#0 (lease 1)" in told


def test_a_finding_without_a_witness_is_its_sentence() -> None:
    """Nothing to draw."""
    told = timeline(Story().history(), Finding("unseen", "topic:t", "nobody knows", ()))
    assert told == "unseen at topic:t: nobody knows\n"


def test_a_long_history_is_cut_to_what_is_near() -> None:
    """At most forty rows beside the proof."""
    story = Story().filled(1)
    story.consumer()
    for lease in range(100):
        story.poll("c", 0, lease=lease)
    history = story.history()
    told = timeline(history, Finding("x", "topic:t/0", "", (history.said("deliver")[50],)))
    rows = [line for line in told.splitlines() if "given 0/0" in line]
    assert len(rows) <= 41
    assert [line for line in rows if line.startswith(">")] == [line for line in rows if "(lease 50)" in line]
