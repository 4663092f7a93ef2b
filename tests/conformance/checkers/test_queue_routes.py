"""Which way messages take through exchanges, as far as a history tells."""

from __future__ import annotations

import pytest

from mqbridge_conformance.checkers.queue_routes import Routes, topic_matches
from mqbridge_conformance.history import Event
from tests.conformance.checkers.queue_tale import QUEUE, Tale

FIRST, SECOND = "exchange:e", "exchange:f"
OTHER = "queue:other"


def sent(tale: Tale, key: str | None = "k", dest: str = FIRST) -> tuple[Event, Event]:
    """A send, with its end."""
    maker = tale.producer()
    end = maker.begin("m", dest, **({} if key is None else {"routing_key": key}))
    begun = tale.events[-1]
    end()
    return begun, tale.events[-1]


def reach(tale: Tale, key: str | None = "k", queue: str = QUEUE, dest: str = FIRST) -> str:
    """How a send now would reach a queue."""
    begun, end = sent(tale, key, dest)
    return Routes(tale.history).reach(begun, end.t, queue)


def nowhere(tale: Tale, key: str | None = "k") -> bool:
    return Routes(tale.history).leads_nowhere(sent(tale, key)[0])


def bound(kind: str = "direct", key: str = "k") -> Tale:
    """One exchange with one binding to the queue."""
    tale = Tale()
    tale.exchange(FIRST, type=kind)
    tale.bind(FIRST, QUEUE, key)
    return tale


@pytest.mark.parametrize(
    ("kind", "pattern", "key", "found"),
    [
        ("direct", "k", "k", "yes"),
        ("direct", "k", "other", "no"),
        ("direct", "", None, "yes"),
        ("fanout", "k", "other", "yes"),
        ("topic", "a.*", "a.b", "yes"),
        ("topic", "a.*", "b.a", "no"),
        ("topic", "*", None, "maybe"),
        ("headers", "", "k", "maybe"),
        ("strange", "k", "k", "maybe"),
    ],
)
def test_one_binding(kind: str, pattern: str, key: str | None, found: str) -> None:
    """What each type carries, and what cannot be told."""
    tale = bound(kind, pattern)
    assert reach(tale, key) == found
    assert nowhere(tale, key) is (found == "no")


def test_another_queue_is_not_reached() -> None:
    """The binding leads to one queue only."""
    assert reach(bound(), queue=OTHER) == "no"


def test_one_of_several_bindings_is_enough() -> None:
    """Certain wins over perhaps, perhaps over no."""
    tale = bound(key="other")
    assert reach(tale) == "no"
    tale.bind(FIRST, QUEUE, "k", f="declare")
    assert reach(tale) == "yes"
    tale = bound("headers")
    tale.bind(FIRST, OTHER)
    assert reach(tale) == "maybe"


def test_an_exchange_nobody_declared() -> None:
    """Perhaps; and so it is after two declarations of different types."""
    tale = Tale()
    assert reach(tale) == "maybe"
    assert nowhere(tale) is False
    tale = bound()
    tale.exchange(FIRST, type="direct")
    assert reach(tale) == "yes"
    tale.exchange(FIRST, type="fanout")
    assert reach(tale) == "maybe"
    tale.exchange(FIRST, type="direct")
    assert reach(tale) == "maybe"


@pytest.mark.parametrize("what", ["unbind", "queue", "exchange"])
def test_what_goes_while_it_is_sent(what: str) -> None:
    """A binding that ends, with or without its ends, before the send is over: perhaps. Another one's end: certain."""
    tale = bound()
    begun, end = sent(tale)
    assert Routes(tale.history).reach(begun, end.t, QUEUE) == "yes"
    assert Routes(tale.history).reach(begun, None, QUEUE) == "maybe"
    if what == "unbind":
        tale.bind(FIRST, QUEUE, "k", f="unbind")
    else:
        tale.done("main", "delete", dest=QUEUE if what == "queue" else FIRST)
    assert Routes(tale.history).reach(begun, end.t, QUEUE) == "yes"
    assert reach(tale) == "maybe"
    assert nowhere(tale) is False


def test_another_binding_that_goes_changes_nothing() -> None:
    """Of another key, another queue, another exchange."""
    tale = bound()
    tale.bind(FIRST, QUEUE, "other", f="unbind")
    tale.bind(FIRST, OTHER, "k", f="unbind")
    tale.bind(SECOND, QUEUE, "k", f="unbind")
    assert reach(tale) == "yes"


def test_a_binding_that_comes_later() -> None:
    """It may have been seen late by others, or early by nobody."""
    tale = Tale()
    tale.exchange(FIRST)
    begun, end = sent(tale)
    tale.bind(FIRST, QUEUE, "k")
    assert Routes(tale.history).reach(begun, end.t, QUEUE) == "maybe"


def chained(first: str = "k", second: str = "k") -> Tale:
    """One exchange bound to another, and that to the queue."""
    tale = Tale()
    tale.exchange(FIRST)
    tale.exchange(SECOND)
    tale.bind(FIRST, SECOND, first)
    tale.bind(SECOND, QUEUE, second)
    return tale


def test_exchanges_in_a_row() -> None:
    """Both bindings must carry it."""
    assert (reach(chained()), nowhere(chained())) == ("yes", False)
    for tale in (chained(first="other"), chained(second="other")):
        assert (reach(tale), nowhere(tale)) == ("no", True)


def test_the_second_of_them_may_be_strange() -> None:
    """Then it may lead anywhere."""
    tale = bound(key="other")
    tale.bind(FIRST, SECOND, "k")
    assert (reach(tale), nowhere(tale)) == ("maybe", False)
    tale = bound(key="other")
    tale.bind(FIRST, SECOND, "other")
    assert (reach(tale), nowhere(tale)) == ("no", True)


def test_a_circle_ends() -> None:
    """Two exchanges that lead to each other, one that leads to itself."""
    tale = chained(second="other")
    tale.bind(SECOND, FIRST, "k")
    tale.bind(FIRST, FIRST, "k")
    assert (reach(tale), nowhere(tale)) == ("no", True)
    tale.bind(SECOND, QUEUE, "k")
    assert (reach(tale), nowhere(tale)) == ("yes", False)


def alternate(key: str = "other", rest: str = "") -> Tale:
    """An exchange with an alternate one, which has a binding."""
    tale = Tale()
    tale.exchange(SECOND)
    tale.exchange(FIRST, alternate=SECOND)
    tale.bind(FIRST, OTHER, key)
    tale.bind(SECOND, QUEUE, rest)
    return tale


def test_an_alternate_exchange_is_perhaps() -> None:
    """It has what nothing else takes; where its own binding does not match, it is no."""
    assert (reach(alternate(rest="k")), nowhere(alternate(rest="k"))) == ("maybe", False)
    assert (reach(alternate(rest="other")), nowhere(alternate(rest="other"))) == ("no", True)
    assert reach(alternate(key="k"), queue=OTHER) == "yes"


def test_alternates_in_a_circle_end() -> None:
    """Each is the other's."""
    tale = Tale()
    tale.exchange(FIRST, alternate=SECOND)
    tale.exchange(SECOND, alternate=FIRST)
    assert (reach(tale), nowhere(tale)) == ("no", True)


def test_the_queues_that_there_may_be_a_way_to() -> None:
    """Through bindings and alternates, in rows and circles; every queue, if one on the way is strange."""
    every = [QUEUE, OTHER, "queue:third"]
    tale = chained(second="never")
    tale.bind(SECOND, FIRST)
    assert Routes(tale.history).queues(every, FIRST) == [QUEUE]
    tale = alternate()
    assert Routes(tale.history).queues(every, FIRST) == [OTHER, QUEUE]
    tale.bind(SECOND, "exchange:strange")
    assert Routes(tale.history).queues(every, FIRST) == every
    assert Routes(Tale().history).queues(every, FIRST) == every
    tale = Tale()
    tale.exchange(FIRST)
    assert Routes(tale.history).queues(every, FIRST) == []


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a.*", "a", False),
        ("#", "a.b.c", True),
        ("#.c", "a.b.c", True),
        ("#.b", "a.b.c", False),
        ("a.#.#.c", "a.c", True),
        ("*.#", "a", True),
        ("*.*", "a", False),
        ("b.#", "a", False),
        ("", "", True),
        ("a", "", None),
        ("a.", "a", None),
        ("#", "", True),
    ],
)
def test_topic_patterns(pattern: str, key: str, matches: bool | None) -> None:
    """Words, one, any number; None where an empty word makes it a matter of the broker."""
    assert topic_matches(pattern, key) is matches
