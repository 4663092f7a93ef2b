"""Where messages of queues come from, judged: phantoms, damage, wrong places, and what had an unknown outcome."""

from __future__ import annotations

from mqbridge_conformance.history import Payload
from tests.conformance.checkers.queue_tale import LETTERS, QUEUE, Tale


def sent(outcome: str | None = "ok", val: str = "m") -> Tale:
    """A message that was sent, and a consumer that takes it."""
    tale = Tale()
    tale.queue()
    tale.producer().send(val, outcome=outcome)
    tale.consumer().one(val)
    return tale


def test_what_was_sent_is_no_phantom() -> None:
    """A message that was sent may be delivered."""
    tale = sent()
    assert (tale.errors(), tale.counted()) == ([], [])


def test_what_nobody_sent_is_a_phantom() -> None:
    """A value that is in no send is one, and its delivery is the witness."""
    tale = sent()
    tale.consumer("d").one("other")
    (found,) = [found for judgement in tale.judgements() for found in judgement.errors]
    assert (found.anomaly, found.where) == ("phantom", QUEUE)
    assert [(event.f, event.val) for event in found.witness] == [("deliver", "other")]


def test_what_failed_is_a_phantom() -> None:
    """A send that was said not to have been applied and is delivered all the same."""
    assert sent("fail").errors() == ["phantom"]


def test_what_failed_first_and_was_sent_again_is_none() -> None:
    """Its second send accounts for it."""
    tale = Tale()
    tale.queue()
    producer = tale.producer()
    producer.send("m", outcome="fail")
    producer.send("m")
    tale.consumer().one("m")
    assert tale.errors() == []


def test_what_is_there_before_it_was_sent_is_a_phantom() -> None:
    """An effect before its cause."""
    tale = Tale()
    tale.queue()
    tale.consumer().one("m")
    tale.producer().send("m")
    assert tale.errors() == ["phantom"]


def test_what_had_no_known_outcome_is_counted() -> None:
    """Applied after all: legal, and told as recovered, for a send that failed so and for one that never ended."""
    for outcome in ("info", None):
        tale = sent(outcome)
        assert (tale.errors(), tale.counted()) == ([], ["recovered"])


def test_a_letter_nobody_sent_is_a_phantom() -> None:
    """Observers see phantoms too."""
    tale = sent()
    tale.look("letters", QUEUE, "other")
    assert tale.errors() == ["phantom"]


def test_a_dead_letter_comes_from_its_queue() -> None:
    """What is delivered from a dead-letter queue was sent to the queue in which it died."""
    tale = Tale()
    tale.queue()
    tale.producer().send("m")
    tale.consumer().one("m").reject()
    tale.consumer("undertaker", LETTERS).one("m", death="rejected").ack()
    assert tale.errors() == []


def test_a_damaged_payload_is_found() -> None:
    """One changed letter in a payload with a checksum; the value as a whole is nothing that anybody sent."""
    whole = Payload("r", QUEUE, "-", "p", 7).encode().decode()
    tale = sent(val=whole)
    assert tale.errors() == []
    tale.consumer("d").one(whole.replace(" 7 ", " 8 "))
    assert tale.errors() == ["payload-corruption"]


def test_a_message_in_another_queue_is_in_the_wrong_place() -> None:
    """It was sent to one queue, and another one delivers it."""
    payload = Payload("r", QUEUE, "-", "p", 0).encode().decode()
    tale = sent(val=payload)
    tale.queue("queue:other")
    tale.consumer("d", "queue:other").one(payload)
    assert tale.errors() == ["wrong-destination"]


def test_what_a_topic_was_sent_is_not_for_a_queue() -> None:
    """The same from a topic."""
    payload = Payload("r", "topic:t", "-", "p", 0).encode().decode()
    tale = Tale()
    tale.queue()
    tale.producer().send(payload, dest="topic:t")
    tale.consumer().one(payload)
    assert tale.errors() == ["wrong-destination"]


def routed(kind: str, key: str, routing_key: str) -> Tale:
    """A message sent to an exchange with one binding, and delivered from the queue at its end."""
    tale = Tale()
    tale.queue()
    tale.exchange(type=kind)
    tale.bind("exchange:e", QUEUE, key)
    tale.producer().send("m", dest="exchange:e", routing_key=routing_key)
    tale.consumer().one("m")
    return tale


def test_what_a_binding_carries_is_no_phantom() -> None:
    """Through a direct, a fanout, a topic and a headers exchange."""
    for kind, key, routing_key in (
        ("direct", "a", "a"),
        ("fanout", "", "x"),
        ("topic", "a.*.#", "a.b"),
        ("headers", "", ""),
    ):
        assert routed(kind, key, routing_key).errors() == []


def test_what_no_binding_carries_is_in_the_wrong_place() -> None:
    """A direct exchange whose key is another, a topic exchange whose pattern does not match."""
    for kind, key, routing_key in (("direct", "a", "b"), ("topic", "a.*", "a.b.c")):
        found = routed(kind, key, routing_key).errors()
        assert "wrong-destination" in found


def test_an_exchange_nobody_declared_may_carry_anything() -> None:
    """Its bindings are not known, so nothing is said against what comes through it."""
    tale = Tale()
    tale.queue()
    tale.producer().send("m", dest="exchange:strange", routing_key="x")
    tale.consumer().one("m")
    assert tale.errors() == []


def test_a_null_value_is_a_value() -> None:
    """It has an identity as any other: sent it is fine, unsent it is a phantom."""
    tale = Tale()
    tale.queue()
    tale.consumer().one(None)
    assert tale.errors() == ["phantom"]
    tale = Tale()
    tale.queue()
    tale.producer().send(None)
    tale.consumer().one(None)
    assert tale.errors() == []


def test_what_only_an_observer_saw_is_judged_too() -> None:
    """phantom, payload-corruption and wrong-destination of what lies in a queue."""
    payload = Payload("r", "queue:other", "-", "p", 1).encode().decode()
    for val, wrong in (("x", ["phantom"]), (payload, ["wrong-destination"]), ("mqp1 cut", ["payload-corruption"])):
        tale = sent()
        tale.producer("p2").send(payload, dest="queue:other")
        tale.look("looked", QUEUE, "m", val)
        tale.look("looked", "queue:other", payload)
        assert tale.errors() == wrong
        (found,) = [found for judgement in tale.judgements() for found in judgement.errors]
        assert found.witness[-1].f == "stored"


def test_a_message_keeps_its_key() -> None:
    """payload-corruption: it comes under another key, without its own, or with one that it had not; whoever sees it."""
    for key, shown, wrong in (("k", "k", []), ("k", "other", ["x"]), ("k", None, ["x"]), (None, "k", ["x"])):
        for f in ("deliver", "stored"):
            tale = Tale()
            tale.queue()
            tale.done("main", "send", client="p", dest=QUEUE, val="m", key=key)
            tale.write("main", "ok", f, client="c", dest=QUEUE, val="m", key=shown, tag=1)
            assert tale.errors() == ["payload-corruption" for _ in wrong]
