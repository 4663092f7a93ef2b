"""Small things that decide about exactly once: what comes first hides nothing, and what is no proof is none."""

from __future__ import annotations

from typing import Any

from mqbridge_conformance.checkers import Finding
from mqbridge_conformance.checkers.exactly_once import EXACTLY_ONCE_CHECKERS
from tests.conformance.checkers.queue_tale import QUEUE, Tale
from tests.conformance.checkers.stories import TOPIC, Story, findings, value


def named(source: Story | Tale, anomaly: str) -> list[Finding]:
    history = source.history() if isinstance(source, Story) else source.history
    return [found for found in findings(history, EXACTLY_ONCE_CHECKERS) if found.anomaly == anomaly]


# --- effects


def test_a_message_to_an_exchange_has_one_effect_for_each_queue() -> None:
    """With one queue, two are too many."""
    tale = Tale(guarantee="effectively-once")
    tale.queue()
    tale.exchange()
    tale.bind("exchange:e", QUEUE, "k")
    tale.producer().send("m", dest="exchange:e", routing_key="k")
    for number in (0, 1):
        tale.done("main", "effect", val="m", dest="table:t")
        assert len(named(tale, "EOS-dup")) == number


def test_each_message_without_an_effect_is_told() -> None:
    """Two of three."""
    tale = Tale(guarantee="effectively-once")
    tale.queue()
    tale.producer().send("a", "b", "c")
    taker = tale.consumer()
    for taken in taker.take("a", "b", "c"):
        taken.ack()
    tale.done("main", "effect", val="a", dest="table:t")
    tale.drained()
    assert [found.witness[0].val for found in named(tale, "EOS-lost")] == ["b", "c"]


# --- transactions


class Relay:
    """Transactions of one producer that reads what it settles; two records lie there, and a reader was given them."""

    def __init__(self) -> None:
        self.story = Story()
        self.story.producer()
        self.story.consumer()
        for off in (0, 1):
            self.story.send(value(off), off)
        self.story.poll("c", 0, 1)
        self.story.did("begin", "p", txn="t")

    def ack(self, off: int = 0) -> None:
        self.story.did("ack", "c", dest=TOPIC, part=0, off=off, txn="t")

    def send(self, number: int, lies: bool = True, **more: Any) -> None:
        """It lies there, or it does not."""
        op = self.story.begin(value(number), txn="t")
        if lies:
            self.story.put(number, value(number))
        self.story.end(op, number, **more)

    def over(self, commit: bool = True) -> None:
        """The transaction ends, and some time later all is looked at."""
        self.story.did("end", "p", txn="t", more={"commit": commit})
        self.story.wait(2000)
        self.story.look()

    def torn(self) -> list[Finding]:
        return named(self.story, "torn-transaction")


def test_the_first_of_a_transaction_is_in_its_witness() -> None:
    """Where it began, what is there, and who saw that the rest is not."""
    relay = Relay()
    for number, lies in ((2, True), (3, True), (4, False)):
        relay.send(number, lies)
    relay.over()
    (found,) = relay.torn()
    assert (found.witness[0].kind, found.witness[0].val) == ("invoke", value(2))


def test_an_ack_or_a_send_that_failed_hides_no_torn_part_behind_it() -> None:
    """Of what comes after them, one is there and one is not."""
    for first in ("ack", "fail"):
        relay = Relay()
        if first == "ack":
            relay.ack()
        else:
            relay.send(5, lies=False, outcome="fail")
        relay.send(2)
        relay.send(3, lies=False)
        relay.over()
        assert len(relay.torn()) == 1


def test_what_an_aborted_transaction_settled_comes_again_by_right() -> None:
    """Its send lies there for observers, its ack is undone: that is no torn one. Committed, it is."""
    for commit in (True, False):
        relay = Relay()
        relay.ack()
        relay.send(2)
        relay.over(commit)
        relay.story.poll("c", 0)
        assert bool(relay.torn()) is commit


# --- outbox


class Outbox:
    """Rows of one aggregate, and where they are read."""

    def __init__(self, *rows: str) -> None:
        self.story = Story()
        self.story.consumer()
        for val in rows:
            self.row(val)

    def row(self, val: str, proc: str = "main") -> None:
        op = self.story.say("invoke", "row", proc, val=val, key="k")
        self.story.say("ok", "row", proc, op=op, val=val, key="k")

    def given(self, *places: tuple[str, int]) -> Outbox:
        for val, off in places:
            self.story.say("ok", "deliver", client="c", group="g", dest=TOPIC, part=0, off=off, val=val)
        return self

    def reordered(self) -> list[str]:
        """Where rows are in another order."""
        return [found.where for found in named(self.story, "outbox-reorder")]


def test_a_row_that_was_sent_twice_lies_where_it_was_sent() -> None:
    """Nobody has seen it yet."""
    outbox = Outbox("a")
    for _ in range(2):
        outbox.story.send("a", None, dest=QUEUE)
    assert [found.where for found in named(outbox.story, "outbox-dup")] == [QUEUE]


def test_rows_of_two_processes_are_in_the_order_of_time() -> None:
    """Not by how much each process has written."""
    outbox = Outbox("a")
    outbox.row("b", "another")
    assert outbox.given(("b", 0), ("a", 1)).reordered() == [TOPIC]


def test_what_was_sent_too_late_says_where() -> None:
    """The destination of the older row, by whose send it is seen."""
    outbox = Outbox("a", "b")
    outbox.story.send("b", None, dest="topic:other")
    outbox.story.send("a", None)
    assert outbox.reordered() == [TOPIC]


def test_two_in_one_place_are_in_no_order() -> None:
    """That is another anomaly, of another checker."""
    assert Outbox("a", "b").given(("b", 0), ("a", 0)).reordered() == []


def test_the_lowest_place_of_a_row_counts() -> None:
    """A copy that lies above was seen first."""
    assert Outbox("a", "b").given(("a", 5), ("a", 1), ("b", 3)).reordered() == []
