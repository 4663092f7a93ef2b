"""What is gone: losses are found and classified, and what may be gone or was never due is none."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge_conformance.checkers import Outcome
from mqbridge_conformance.checkers.log_losses import log_losses
from mqbridge_conformance.history import Kind
from tests.conformance.checkers.stories import ALL_CLAIMED, TOPIC, Story, anomalies, findings, value

CHECKS = (log_losses,)


def found(story: Story) -> set[str]:
    return anomalies(story.history(), CHECKS)


def test_what_is_confirmed_is_in_the_look() -> None:
    """lost-write, though no reader came near it; what was not confirmed may be missing."""
    story = Story().filled(4)
    story.end(story.begin(value(4)), None, outcome="info")
    story.end(story.begin(value(5)), None, outcome="fail")
    story.look()
    assert found(story) == set()
    story.look(without=(3,))
    (finding,) = findings(story.history(), CHECKS)
    assert finding.anomaly == "lost-write"
    assert [(event.f, event.kind) for event in finding.witness][-2:] == [("send", "ok"), ("looked", "ok")]


def test_what_is_confirmed_while_somebody_looks_may_be_missing() -> None:
    """A look says nothing of what was confirmed after it began."""
    story = Story().filled(1)
    op = story.begin(value(1))
    look = story.say("invoke", "looked", dest=TOPIC)
    story.end(op, 1)
    story.say("ok", "stored", op=look, dest=TOPIC, part=0, off=0, key="k", val=value(0))
    story.say("ok", "looked", op=look, dest=TOPIC)
    assert found(story) == set()


def test_a_look_that_failed_or_came_after_a_deletion_says_nothing() -> None:
    """Only one that ended well, while the topic was there."""
    story = Story().filled(2)
    story.say("invoke", "looked", dest=TOPIC)
    story.did("delete", dest=TOPIC)
    story.look(without=(0, 1))
    assert found(story) == set()


def test_the_last_look_counts() -> None:
    """A replica may lag in an earlier one; what vanishes later is lost, though it was read before."""
    story = Story().filled(2)
    story.consumer()
    story.poll("c", 0, 1)
    story.look(without=(1,))
    story.look()
    assert found(story) == set()
    story.look(without=(1,))
    assert found(story) == {"lost-write"}
    story.poll("c", 1, lease=2)
    assert found(story) == set()


@pytest.mark.parametrize(
    ("missing", "told"),
    [((0, 1), "lost-prefix"), ((2,), "lost-middle"), ((4, 5), "lost-postfix"), ((0, 1, 2, 3, 4, 5), "lost-all")],
)
def test_losses_are_classified(missing: tuple[int, ...], told: str) -> None:
    """By where they lie in what their producer has confirmed."""
    story = Story().filled(6)
    story.end(story.begin(value(6)), None, outcome="info")
    story.look(without=missing)
    (finding,) = findings(story.history(), CHECKS)
    assert finding.text.startswith(f"{len(missing)} of 6 confirmed by p are gone: {told}")


def test_losses_are_told_by_producer() -> None:
    """One finding each."""
    story = Story().filled(3)
    story.producer("q")
    for number in range(3):
        story.send(value(number, producer="q"), 3 + number, "q")
    story.look(without=(0, 5))
    told = sorted(finding.text for finding in findings(story.history(), CHECKS))
    assert [text.partition(" (")[0] for text in told] == [
        "1 of 3 confirmed by p are gone: lost-prefix",
        "1 of 3 confirmed by q are gone: lost-postfix",
    ]


def test_what_a_reader_passed_and_nobody_saw_is_lost() -> None:
    """lost-write without a look: not at the end, where the reader may not have come yet, nor before its start."""
    story = Story().filled(5)
    story.consumer()
    story.poll("c", 1)
    story.poll("c", 3)
    (finding,) = findings(story.history(), CHECKS)
    assert finding.anomaly == "lost-write"
    assert [event.off for event in finding.witness if event.f == "deliver"] == [1, 3]
    story.replay()
    story.poll("r", 2, lease=None)
    assert found(story) == set()


def test_what_may_be_gone_or_was_sent_twice_is_passed() -> None:
    """No lost-write between two deliveries where records were deleted, or where nobody knows which send it was."""
    for twice in (True, False):
        story = Story().filled(5)
        if twice:
            story.send(value(2), 9)
        else:
            story.did("delete_records", dest=TOPIC, more={"before": {"0": 3}})
        story.consumer()
        story.poll("c", 1)
        story.poll("c", 3)
        assert found(story) == set()


def test_a_reader_that_was_told_to_jump_shows_no_loss() -> None:
    """No lost-write where it went on at the end because its place was removed."""
    for on_gap, wanted in (("latest", set()), ("earliest", {"lost-write"})):
        story = Story().filled(6)
        story.consumer(on_gap=on_gap)
        story.poll("c", 0)
        story.did("delete_records", dest=TOPIC, more={"before": {"0": 2}})
        story.poll("c", 5)
        assert found(story) == wanted


def test_workers_hold_some_back() -> None:
    """No lost-write between two deliveries to handlers of run()."""
    story = Story().filled(5)
    story.consumer()
    story.poll("c", 1, 3, more={"handler": True})
    assert found(story) == set()


def test_a_producer_that_did_not_wait_for_all_is_promised_nothing() -> None:
    """lost-write is counted with acks='leader'."""
    story = Story()
    story.producer(acks="leader")
    story.send(value(0), 0)
    story.look(without=(0,))
    assert found(story) == set()
    assert [finding.anomaly for finding in findings(story.history(), CHECKS)] == ["lost-write"]


def test_records_that_were_deleted_are_gone() -> None:
    """No lost-write below the new start; above it, yes, and where nobody knows where it lay, no."""
    story = Story().filled(4)
    story.end(story.begin(value(9)), None)
    story.did("delete_records", dest=TOPIC, more={"before": {"0": 2}})
    story.look(without=(0, 1))
    assert found(story) == set()
    story.look(without=(0, 1, 2))
    assert found(story) == {"lost-write"}


def test_retention_takes_the_oldest() -> None:
    """No lost-write below all that is kept; in the middle, yes."""
    story = Story(retention={"max_age_s": 60.0, "max_bytes": None}).filled(4)
    story.look(without=(0, 1))
    assert found(story) == set()
    story.look(without=(0, 2))
    assert found(story) == {"lost-write"}
    story.look(without=(0, 1, 2, 3))
    assert found(story) == set()


def test_compaction_keeps_the_last_of_each_key() -> None:
    """lost-write of the last one only; of those sent at the same time any may be the last."""
    story = Story(cleanup="compact")
    story.producer()
    for number, key in enumerate("abab"):
        story.send(value(number, key), number, key=key)
    story.look(without=(0, 1))
    assert found(story) == set()
    story.look(without=(0, 3))
    assert found(story) == {"lost-write"}
    story = Story(cleanup="compact")
    story.producer()
    one, two = story.begin(value(0)), story.begin(value(1))
    story.end(one, 1)
    story.end(two, 0)
    story.put(1, value(0))
    story.look()
    assert found(story) == set()


def test_a_group_that_asked_for_everything_was_given_it() -> None:
    """unseen: confirmed before the last question, and never given to it; another group's delivery does not help."""
    story = Story().filled(4)
    story.consumer()
    story.consumer("d", group="other")
    story.poll("c", 0, 1, 2)
    story.poll("d", 0, 1, 2, 3)
    story.poll("c")
    story.drained()
    story.drained(group="other")
    (finding,) = findings(story.history(), CHECKS)
    assert finding.anomaly == "unseen"
    assert "lost-postfix" in finding.text
    story.poll("c", 3)
    assert found(story) == set()


def test_what_was_confirmed_after_the_last_question_was_not_asked_for() -> None:
    """No unseen for a send that ended while the last poll was under way."""
    story = Story().filled(2)
    story.consumer()
    story.poll("c", 0, 1)
    op = story.begin(value(2))
    poll = story.say("invoke", "poll", client="c", group="g", dest=TOPIC)
    story.end(op, 2)
    story.say("ok", "poll", op=poll, client="c", group="g", more={"count": 0})
    story.drained()
    assert found(story) == set()


def test_only_questions_before_the_end_count() -> None:
    """No unseen for a send after the last of them, whatever is asked later; none where the topic was deleted."""
    story = Story().filled(2)
    story.consumer()
    story.poll("c", 0, 1)
    story.send(value(2), 2)
    story.drained()
    story.poll("c")
    assert found(story) == set()
    story.did("delete", dest=TOPIC)
    story.drained()
    assert found(story) == set()


def test_a_group_is_asked_for_what_nobody_can_place() -> None:
    """unseen without offsets: where it had to be given everything, and nobody moved it."""
    for start, moved, wanted in (
        ({"name": "EARLIEST"}, False, {"unseen"}),
        ({"name": "EARLIEST"}, True, set()),
        ({"name": "LATEST"}, False, set()),
    ):
        story = Story().filled(3, told=False)
        story.consumer(start=start)
        if moved:
            story.did("seek", "c", dest=TOPIC, part=0, off=0)
        story.poll("c", 0, 1)
        story.poll("c")
        story.drained()
        assert found(story) == wanted


@pytest.mark.parametrize("start", [{"name": "LATEST"}, {"when": "0:00:10"}, {"offsets": {"0": 2}}])
def test_a_start_excuses_what_lies_before_it(start: dict[str, object]) -> None:
    """No unseen below it, and one above it."""
    for given, wanted in (((2, 3), set()), ((2,), {"unseen"})):
        story = Story().filled(4)
        story.consumer(start=start)
        story.poll("c", *given)
        story.poll("c")
        story.drained()
        assert found(story) == wanted


def test_a_seek_and_a_reset_excuse_what_they_pass() -> None:
    """No unseen below where they lead to; of a reset by time nobody knows where it leads."""
    for f, more, off in (
        ("seek", {}, 2),
        ("reset", {"offsets": {"0": 2}}, None),
        ("reset", {"to": {"offsets": {"0": 2}}}, None),
        ("reset", {"to": {"name": "LATEST"}}, None),
    ):
        story = Story().filled(4)
        story.consumer()
        story.did(f, "c" if f == "seek" else "main/", group="g", dest=TOPIC, part=0, off=off, more=more)
        story.poll("c", 2, 3)
        story.poll("c")
        story.drained()
        assert found(story) == set()


def test_a_start_at_an_offset_includes_it() -> None:
    """unseen of the very first record that was asked for."""
    story = Story().filled(4)
    story.consumer(start={"offsets": {"0": 2}})
    story.poll("c", 3)
    story.poll("c")
    story.drained()
    assert found(story) == {"unseen"}


def test_a_move_excuses_no_more_than_it_passes() -> None:
    """unseen above where it leads to, in another partition, of another group, or by one that failed."""
    moves: tuple[tuple[str, dict[str, Any], Kind], ...] = (
        ("reset", {"more": {"offsets": {"0": 2}}}, "ok"),
        ("reset", {"more": {"to": {"name": "EARLIEST"}}}, "ok"),
        ("reset", {"group": "other", "more": {"to": {"name": "LATEST"}}}, "ok"),
        ("reset", {"more": {"to": {"name": "LATEST"}}}, "fail"),
        ("delete", {"dest": None}, "fail"),
        ("seek", {"part": 1, "off": 4}, "ok"),
    )
    for f, facts, outcome in moves:
        story = Story(partitions=2).filled(4)
        story.consumer()
        moved: dict[str, Any] = {"group": "g", "dest": TOPIC, **facts}
        story.did(f, "c" if f == "seek" else "main/", outcome=outcome, **moved)
        story.poll("c", 2)
        story.poll("c")
        story.drained()
        assert found(story) == {"unseen"}, (f, facts)


def test_who_settles_before_seeing_may_lose() -> None:
    """unseen is counted where a member was opened with ack='before'."""
    story = Story().filled(2)
    story.consumer(ack="before")
    story.poll("c", 0)
    story.drained()
    assert found(story) == set()
    assert [finding.anomaly for finding in findings(story.history(), CHECKS)] == ["unseen"]


def test_what_is_lost_is_not_unseen_too() -> None:
    """Where a look shows that it is not there, no reader is to blame."""
    story = Story().filled(3)
    story.consumer()
    story.poll("c", 0, 1)
    story.poll("c")
    story.drained()
    story.look(without=(2,))
    assert found(story) == {"lost-write"}


def test_a_topic_that_was_asked_for_everything() -> None:
    """unseen without a group: given to nobody at all."""
    story = Story().filled(3)
    story.consumer()
    story.poll("c", 0, 1)
    story.poll("c")
    story.drained(group=None)
    assert found(story) == {"unseen"}
    story.replay()
    story.poll("r", 2, lease=None)
    assert found(story) == set()


# --- nobody looked


def judged(story: Story) -> tuple[Outcome, str]:
    judgement = log_losses(story.history(), ALL_CLAIMED)
    return judgement.outcome, judgement.reason


def test_what_nobody_looked_for_nobody_can_tell() -> None:
    """Unknown: confirmed, and no reader, no observer and no drain came afterwards. It is no loss and not valid."""
    story = Story().filled(3)
    told = f"3 were confirmed in {TOPIC}, and nobody looked there afterwards"
    assert judged(story) == (Outcome.UNKNOWN, told)
    story.consumer()
    story.poll("c")
    assert judged(story) == (Outcome.UNKNOWN, told)
    story.say("invoke", "looked", dest=TOPIC)
    assert judged(story) == (Outcome.UNKNOWN, told)


@pytest.mark.parametrize("by", ["deliver", "stored", "drained"])
def test_one_look_afterwards_is_enough(by: str) -> None:
    """Whoever it was; and what is confirmed after it is unknown again."""
    story = Story().filled(3)
    story.consumer(start={"name": "LATEST"})
    if by == "deliver":
        story.poll("c", 0)
    elif by == "stored":
        story.look()
    else:
        story.drained("another")
    assert judged(story) == (Outcome.VALID, "")
    story.send(value(3), 3)
    assert judged(story) == (Outcome.UNKNOWN, f"1 were confirmed in {TOPIC}, and nobody looked there afterwards")


def test_what_need_not_be_there_needs_no_look() -> None:
    """What failed, has no known outcome, was seen already, or was asked to be less than safe; a topic that was deleted;
    nothing at all."""
    story = Story().filled(1)
    story.look()
    story.send(value(1), None, outcome="fail")
    story.send(value(2), None, outcome="info")
    op = story.begin(value(3))
    story.put(3, value(3))
    story.look()
    story.end(op, 3)
    story.producer("weak", acks="leader")
    story.send(value(4), 4, "weak")
    assert judged(story) == (Outcome.VALID, "")
    story = Story().filled(2)
    story.did("delete", dest=TOPIC)
    assert judged(story) == (Outcome.VALID, "")
    assert judged(Story()) == (Outcome.VALID, "")


def test_an_error_is_more_than_unknown() -> None:
    """Where something is lost, what nobody looked for does not hide it."""
    story = Story().filled(2)
    story.look(without=(1,))
    story.send(value(2), 2)
    assert judged(story)[0] is Outcome.INVALID
