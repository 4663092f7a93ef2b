"""What payloads say: damaged, misplaced, moved and disordered ones are found, copies and second sends are not."""

from __future__ import annotations

from mqbridge_conformance.checkers import Profile
from mqbridge_conformance.checkers.log_payloads import log_payloads
from tests.conformance.checkers.stories import ALL_CLAIMED, TOPIC, Story, anomalies, findings, value

CHECKS = (log_payloads,)


def found(story: Story) -> set[str]:
    return anomalies(story.history(), CHECKS)


def test_a_damaged_payload_is_corruption() -> None:
    """payload-corruption: one character, or one byte that is no text any more; not what was sent damaged."""
    good = value(1)
    text, binary = good.replace("run", "rum"), f"hex:{(good[:-1].encode() + bytes([0xE9])).hex()}"
    for bad in (text, binary):
        story = Story().filled(3)
        story.put(1, bad)
        story.look()
        assert found(story) == {"payload-corruption"}
    story = Story()
    story.producer()
    story.send(text, 0)
    story.look()
    assert found(story) == set()


def test_a_message_keeps_its_key() -> None:
    """payload-corruption: it comes back under another key, without the one that it had, or with one that it had not."""
    for sent, seen in (("k", "other"), ("k", None), (None, "k")):
        story = Story().filled(1)
        story.send(value(1), 1, key=sent)
        story.look()
        assert found(story) == set()
        story.put(1, value(1), key=seen)
        story.look()
        (finding,) = findings(story.history(), CHECKS)
        assert finding.anomaly == "payload-corruption"
        assert finding.text == f"it was sent under key {sent!r} and came back under {seen!r}"


def test_a_message_is_where_it_belongs() -> None:
    """wrong-destination: unless the application sent it there as well, or it was buried there."""
    story = Story().filled(2)
    story.declare("topic:u", partitions=1)
    story.put(0, value(1), dest="topic:u")
    for _ in range(3):
        story.look("topic:u")
    (finding,) = findings(story.history(), CHECKS)
    assert finding.anomaly == "wrong-destination"
    story.send(value(1), 0, dest="topic:u")
    assert found(story) == set()


def test_what_belongs_to_nowhere_known_and_what_was_sent_here_twice() -> None:
    """wrong-destination of the one, and not of the other; nor of what says that it died."""
    story = Story().filled(1)
    story.put(1, value(3, dest="topic:unheard-of"))
    story.look()
    assert found(story) == {"wrong-destination"}
    story = Story().filled(1)
    for off in (1, 2):
        story.send(value(3, dest="topic:u"), off)
    story.look()
    assert found(story) == set()
    story = Story().filled(1)
    story.put(1, value(3, dest="topic:u"))
    story.consumer()
    story.poll("c", 1, more={"death": "rejected"})
    assert found(story) == set()


def test_a_dead_letter_is_a_copy() -> None:
    """No wrong-destination in a topic that a consumer buries in, by its name or by the consumer's options."""
    story = Story().filled(2)
    story.consumer(dead_letter="topic:graves")
    for grave in ("topic:graves", "topic:t.g.dlq"):
        story.put(0, value(1), dest=grave)
        story.look(grave)
    assert found(story) == set()


def test_a_key_keeps_its_order() -> None:
    """key-order in the log: by one producer, whatever other keys and producers do."""
    story = Story()
    story.producer()
    one, two = story.begin(value(0)), story.begin(value(1))
    story.put(0, value(1))
    story.put(1, value(0))
    story.end(one, None)
    story.end(two, None)
    story.look()
    assert found(story) == {"key-order"}
    claims = {name: level for name, level in ALL_CLAIMED.claims.items() if name != "ORDER_PER_KEY"}
    assert anomalies(story.history(), CHECKS, Profile(claims=claims)) == set()


def test_keys_and_producers_have_no_order_among_each_other() -> None:
    """No key-order between two keys or two producers, nor with a send whose outcome is unknown and which came late."""
    story = Story()
    story.producer()
    story.producer("q")
    other, second = value(0, key="l"), value(0, producer="q")
    late = story.begin(value(0))
    for op, who in ((story.begin(other, key="l"), "p"), (story.begin(second, "q"), "q"), (story.begin(value(1)), "p")):
        story.end(op, None, who)
    story.end(late, None, outcome="info")
    story.put(0, value(1))
    story.put(1, second)
    story.put(2, other, key="l")
    story.put(3, value(0))
    story.look()
    assert found(story) == set()


def test_what_is_stored_twice_or_numbered_backwards_is_in_order() -> None:
    """No key-order by a second copy of an earlier one, nor where the application counts down."""
    story = Story()
    story.producer(on_unknown="resend")
    for number in (0, 1):
        story.send(value(number), number)
    story.put(2, value(0))
    story.look()
    assert found(story) == set()
    story = Story()
    story.producer()
    for off, number in enumerate((5, 3)):
        story.send(value(number), off)
    story.look()
    assert found(story) == set()


def test_a_key_that_moved_is_known_by_its_confirmations_too() -> None:
    """key-moved though nobody read it; of an unknown producer nobody knows what it goes by."""
    for known, acks, wanted in ((True, "all", {"key-moved"}), (False, "all", set()), (True, "leader", set())):
        story = Story(partitions=2)
        if known:
            story.producer(acks=acks)
        for part in (0, 1):
            story.send(value(part), 0, part=part)
        assert found(story) == wanted


def test_a_key_has_one_partition() -> None:
    """key-moved: unless partitions were added, or the producer goes by something else than the key."""
    for partitioner, added, key, wanted in (
        ("by_key", False, "k", {"key-moved"}),
        ("by_key", True, "k", set()),
        ("round_robin", False, "k", set()),
        ("by_key", False, None, set()),
    ):
        story = Story(partitions=2)
        story.producer(partitioner=partitioner)
        story.send(value(0), 0, key=key)
        if added:
            story.did("add_partitions", dest=TOPIC, more={"partitions": 3})
        story.send(value(1), 0, part=1, key=key)
        story.look()
        assert found(story) == wanted
