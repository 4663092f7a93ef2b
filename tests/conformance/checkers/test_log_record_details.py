"""Small things that decide about records: what they say of themselves, who sent them, and which of them may be gone."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge_conformance.checkers import Finding, Profile
from mqbridge_conformance.checkers.log_facts import Logs
from mqbridge_conformance.checkers.log_losses import log_losses
from mqbridge_conformance.checkers.log_order import log_order
from mqbridge_conformance.checkers.log_origin import log_origin
from mqbridge_conformance.checkers.log_payloads import log_payloads
from mqbridge_conformance.checkers.log_writes import log_writes
from mqbridge_conformance.history import Event, History, Kind
from tests.conformance.checkers.stories import ALL_CLAIMED, TOPIC, Story, findings, value

CHECKERS = (log_losses, log_order, log_origin, log_payloads, log_writes)
STORED = [("send", "invoke"), ("send", "ok"), ("stored", "ok")]
DAMAGED = value(1).replace("run", "rum")


def named(story: Story, anomaly: str, profile: Profile = ALL_CLAIMED) -> list[Finding]:
    return [found for found in findings(story.history(), CHECKERS, profile) if found.anomaly == anomaly]


def proof(found: Finding) -> list[tuple[str, str]]:
    return [(event.f, event.kind) for event in found.witness]


def given(story: Story, val: str | None, **more: Any) -> None:
    """Somebody was given it, without a place unless one is told."""
    story.say("ok", "deliver", client="x", dest=TOPIC, val=val, **more)


# --- what payloads say


def test_what_is_whole_or_empty_hides_nothing_that_is_damaged() -> None:
    """All payloads are counted; a damaged one is told with its place, as far as it has one."""
    story = Story().filled(2)
    story.look()
    assert log_payloads(story.history(), ALL_CLAIMED).looked_at["payloads"] == 2
    given(story, None)
    given(story, DAMAGED)
    given(story, DAMAGED, part=0, off=7)
    assert [found.where for found in named(story, "payload-corruption")] == [TOPIC, f"{TOPIC}/0"]


def test_another_key_is_shown_with_the_send() -> None:
    """And with who saw it."""
    story = Story().filled(1)
    story.put(0, value(0), key="other")
    story.look()
    (found,) = named(story, "payload-corruption")
    assert proof(found) == STORED


def test_a_misplaced_message_is_shown_with_the_send() -> None:
    """To where it belongs; one that was sent here as well hides none."""
    story = Story()
    story.producer()
    story.declare("topic:u")
    for number in (0, 1):
        story.send(value(number), number)
    story.send(value(0), 0, dest="topic:u")
    story.put(1, value(1), dest="topic:u")
    story.look("topic:u")
    (found,) = named(story, "wrong-destination")
    assert proof(found) == STORED


def test_an_order_is_shown_with_both_sends() -> None:
    """And both places; a record that has no number hides nothing."""
    story = Story()
    story.producer()
    story.send("no number", 0)
    one, two = story.begin(value(0)), story.begin(value(1))
    story.put(1, value(1))
    story.put(2, value(0))
    story.end(one, None)
    story.end(two, None)
    story.look()
    (found,) = named(story, "key-order")
    assert proof(found) == [("send", "invoke"), ("send", "invoke"), ("stored", "ok"), ("stored", "ok")]


def test_two_with_one_number_have_no_order_in_the_log() -> None:
    """Neither says that it came before the other."""
    story = Story()
    story.producer()
    for off, key in ((1, "a"), (0, "b")):
        story.send(value(1, key=key), off)
    story.look()
    assert named(story, "key-order") == []


@pytest.mark.parametrize("outcome", ["ok", "info"])
def test_a_key_in_two_partitions(outcome: Kind) -> None:
    """Told by who saw it where nobody confirmed it; an unkeyed message hides none, and a producer goes by the key."""
    story = Story(partitions=2)
    story.say("ok", "open", client="p", more={"role": "producer"})
    story.send(value(0), 0, key=None)
    for number, part in ((1, 0), (2, 1)):
        story.send(value(number), number, part=part, outcome=outcome)
    story.send(value(3, key="l"), 2, key="l")
    story.look()
    assert log_payloads(story.history(), ALL_CLAIMED).looked_at["keys"] == 2
    claims = {**ALL_CLAIMED.claims, "PARTITION_BY_KEY": "unsupported"}
    for profile, legal in ((ALL_CLAIMED, False), (Profile(claims=claims), True)):
        assert [bool(found.legal) for found in named(story, "key-moved", profile)] == [legal]


# --- who sent them


def test_what_others_speak_of_hides_no_phantom() -> None:
    """One that belongs elsewhere, and one that is damaged; then one that nobody sent, without a place."""
    story = Story()
    for val in (value(1, dest="topic:u"), DAMAGED, value(2)):
        given(story, val)
    assert [found.where for found in named(story, "phantom")] == [TOPIC]


# --- what is gone


def test_a_reader_that_went_back_shows_what_lies_next_to_it() -> None:
    """The two deliveries around it, by their offsets."""
    story = Story()
    story.producer()
    for number in range(4):
        story.end(story.begin(value(number)), number)
        if number != 2:
            story.put(number, value(number))
    story.consumer()
    story.poll("c", 0, 3, 1)
    (found,) = named(story, "lost-write")
    assert sorted(event.off or 0 for event in found.witness if event.f == "deliver") == [1, 3]


def test_what_another_group_had_to_reach_is_its_own_affair() -> None:
    """A group that began at the end is drained; one that began at the start is not asked. Without a group all are."""
    story = Story().filled(3)
    story.consumer("c", "late", start={"name": "LATEST"})
    story.consumer("d", "early")
    story.poll("c", 2)
    story.poll("d", 0)
    story.drained("late")
    assert named(story, "unseen") == []
    story.drained(None)
    assert [found.where for found in named(story, "unseen")] == [TOPIC]


def lost(story: Story) -> bool:
    return bool([found for found in named(story, "lost-write") if not found.legal])


def test_what_was_deleted_in_one_partition_excuses_no_other() -> None:
    """Nor does a deletion that failed, or that took nothing."""
    deletions: list[tuple[dict[str, int], Kind]] = [({"1": 5}, "ok"), ({"0": 5}, "fail"), ({"0": 0}, "ok")]
    for before, outcome in deletions:
        story = Story(partitions=2).filled(1)
        story.did("delete_records", dest=TOPIC, outcome=outcome, more={"before": before})
        story.look(without=(0,))
        assert lost(story)


def test_a_deletion_that_failed_hides_none_that_did_not() -> None:
    """What was deleted afterwards is gone."""
    story = Story().filled(1)
    story.did("delete_records", dest=TOPIC, outcome="fail", more={"before": {"0": 1}})
    story.did("delete_records", dest=TOPIC, more={"before": {"0": 1}})
    story.look(without=(0,))
    assert not lost(story)


def test_what_may_have_gone_by_itself() -> None:
    """Where retention takes records: what nobody can place. Where the last of a key stays: what has no key."""
    story = Story(retention={"max_bytes": 9})
    story.producer()
    story.send(value(0), None, told=False)
    story.look()
    assert not lost(story)
    story = Story(cleanup="compact").filled(1, key=None)
    story.look(without=(0,))
    assert not lost(story)


def test_a_send_that_failed_replaces_nothing() -> None:
    """In a compacted topic the one before it stays."""
    story = Story(cleanup="compact").filled(1)
    story.send(value(1), None, outcome="fail")
    story.look(without=(0,))
    assert lost(story)


@pytest.mark.parametrize("outcome", ["ok", "info"])
def test_what_somebody_saw_is_there_to_be_given(outcome: Kind) -> None:
    """Confirmed without a place, or with no known outcome; a reader who steps over it skips it."""
    story = Story().filled(1)
    story.send(value(1), 1, told=False, outcome=outcome)
    story.send(value(2), 2)
    story.look()
    story.consumer()
    for off in (0, 2):
        story.poll("c", off)
    assert len(named(story, "poll-skip")) == 1


def test_other_sends_and_looks_hide_no_loss() -> None:
    """A send to a queue, a look that never ended, one at a topic that was deleted, and a deletion that failed."""
    story = Story()
    story.producer()
    story.send("x", None, dest="queue:q")
    story.send(value(0), 0)
    story.say("invoke", "looked", dest=TOPIC)
    story.declare("topic:u")
    story.did("delete", dest="topic:u")
    story.look("topic:u")
    story.did("delete", dest=TOPIC, outcome="fail")
    story.look(without=(0,))
    assert lost(story)


# --- clients and transactions


def test_a_client_is_what_it_was_opened_with() -> None:
    """Its options told apart or within, its sources, its group; and a role only if one is told."""
    story = Story()
    told = {"role": "topic-consumer", "options": {"acks": 1}, "sources": ["topic:a", "topic:b"], "group": "g"}
    story.say("ok", "open", client="c", dest="topic:a", more=told)
    story.say("ok", "open", client="d")
    clients = Logs(story.history()).clients
    one, other = clients["main/c"], clients["main/d"]
    assert (one.role, one.options["acks"], one.sources, one.group) == ("topic-consumer", 1, ("topic:a", "topic:b"), "g")
    assert (other.role, other.sources, other.group) == ("", ("",), None)


def test_a_producer_asks_for_all_confirmations_if_it_says_nothing() -> None:
    """So what it sent is lost, or there twice, by no fault of its own; and a consumer settles by itself."""
    story = Story()
    story.say("ok", "open", client="p", more={"role": "producer"})
    story.send(value(0), 0)
    story.put(1, value(0))
    story.look(without=(0,))
    assert [bool(found.legal) for found in named(story, "duplicate")] == [False]
    story.send(value(1), 2)
    story.look(without=(2,))
    assert lost(story)
    story = Story().filled(1)
    story.say("ok", "open", client="c", group="g", dest=TOPIC, more={"role": "topic-consumer", "start": "earliest"})
    story.drained()
    assert [bool(found.legal) for found in named(story, "unseen")] == [False]


def outcomes(story: Story) -> dict[str, str]:
    return {txn: whole.outcome for (_, txn), whole in Logs(story.history()).transactions.items()}


def test_what_became_of_transactions() -> None:
    """Begun alone, or sent in alone: never to be seen. An abort hides no commit, and one yes is enough."""
    story = Story()
    story.producer()
    story.say("invoke", "begin", client="p", txn="begun")
    story.begin(value(0), txn="sent in")
    for txn in ("aborted", "committed", "tried", "asked again"):
        story.did("begin", "p", txn=txn)
    story.did("end", "p", txn="aborted", more={"commit": False})
    story.did("end", "p", txn="committed", more={"commit": True})
    story.did("end", "p", txn="tried", outcome="info", more={"commit": True})
    story.did("end", "p", txn="tried", more={"commit": True})
    story.did("end", "p", txn="asked again", more={"commit": True})
    story.did("end", "p", txn="asked again", outcome="info", more={"commit": True})
    assert outcomes(story) == {
        **{"begun": "fail", "sent in": "fail", "aborted": "fail"},
        **{"committed": "ok", "tried": "ok", "asked again": "ok"},
    }


def test_what_became_of_a_send_within() -> None:
    """What failed has failed whatever became of the rest; what nobody knows is not known because the rest is."""
    story = Story()
    story.producer()
    story.send(value(0), None, outcome="fail", txn="unknown")
    story.send(value(1), None, outcome="info", txn="committed")
    story.did("end", "p", txn="unknown", outcome="info", more={"commit": True})
    story.did("end", "p", txn="committed", more={"commit": True})
    assert [sent.outcome for sent in Logs(story.history()).logs[TOPIC].sends] == ["fail", "info"]


# --- claims


def test_a_profile_is_what_the_run_says() -> None:
    """And at least once, of nobody in particular, if it says nothing."""
    said = {"engine": "e", "claims": {"ACK": "direct"}, "legal": {"lost": "x"}, "guarantee": "transactional"}
    run = Event(1, 1, "main", "ok", "run", more=said)
    assert Profile.of(History([run])) == Profile("e", {"ACK": "direct"}, {"lost": "x"}, "transactional")
    assert Profile.of(History([run._replace(more={})])) == Profile("", {}, {}, "at-least-once")
