"""Each saboteur of who has a message, and of verbs, does what its name says, and nothing else."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, cast

import pytest

import mqbridge as mq
from mqbridge import spi
from mqbridge_conformance.saboteurs import SABOTEURS, Plan, strikes_told
from mqbridge_conformance.saboteurs.strikes import Draws, Strikes
from tests.conformance.saboteurs.broken import Pair, nothing_more, pair, receive

QUEUE = mq.Queue("q", max_attempts=5)


def send(bus: Pair, count: int = 1) -> None:
    bus.clean.admin.ensure(QUEUE)
    with bus.clean.producer() as producer:
        producer.send_many(QUEUE, [b"%d" % n for n in range(count)])


def test_s22_gives_a_message_to_two(tmp_path: Path) -> None:
    """While one has it, another gets it; both may settle."""
    with pair("S22", tmp_path) as bus:
        send(bus)
        with bus.broken.consumer(QUEUE, prefetch=1) as one, bus.clean.consumer(QUEUE) as two:
            (mine,) = receive(one, 1)
            (its,) = receive(two, 1)
            mine.ack()
            one.commit(10)
            its.ack()
            two.commit(10)
        assert bus.clean.admin.depth(QUEUE) == 0


def test_s23_hands_a_message_out_twice(tmp_path: Path) -> None:
    """The same consumer gets it twice and may settle it twice; others do not get it."""
    with pair("S23", tmp_path) as bus:
        send(bus)
        with bus.broken.consumer(QUEUE) as consumer:
            first, second = receive(consumer, 2)
            first.ack()
            second.ack()
            consumer.commit(10)
            assert nothing_more(consumer)


@pytest.mark.parametrize(
    ("code", "verb", "attempt"), [("S24", "release", 2), ("S25", "retry", 1), ("S27", "reject", 2)]
)
def test_s24_s25_and_s27_do_another_thing_than_the_verb(code: str, verb: str, attempt: int, tmp_path: Path) -> None:
    """A release counts, a retry does not, and what is rejected comes again; the other verbs do what they say."""
    with pair(code, tmp_path) as bus:
        send(bus)
        with bus.broken.consumer(QUEUE) as consumer:
            getattr(receive(consumer, 1)[0], verb)()
            (again,) = receive(consumer, 1)
            assert again.attempt == attempt
            again.ack()
            consumer.commit(10)
        assert bus.clean.admin.depth(QUEUE) == 0
        assert bus.clean.admin.dead_letters(QUEUE) == []


def test_s26_says_that_each_attempt_is_the_first(tmp_path: Path) -> None:
    """The broker counts, and the program is not told."""
    with pair("S26", tmp_path) as bus:
        send(bus)
        with bus.broken.consumer(QUEUE) as consumer:
            receive(consumer, 1)[0].retry()
            (again,) = receive(consumer, 1)
            assert (again.attempt, again.redelivered) == (1, True)
        with bus.clean.consumer(QUEUE) as consumer:
            assert receive(consumer, 1)[0].attempt == 2


def test_s15_and_s28_do_not_give_back_what_they_hold(tmp_path: Path) -> None:
    """After the consumer was closed nobody gets it: it is kept until the connection ends, or gone."""
    for code, left in (("S15", 1), ("S28", 0)):
        (tmp_path / code).mkdir()
        with pair(code, tmp_path / code) as bus:
            send(bus)
            with bus.broken.consumer(QUEUE) as consumer:
                receive(consumer, 1)
            with bus.clean.consumer(QUEUE) as other:
                assert nothing_more(other)
            bus.broken.close()
            assert bus.clean.admin.depth(QUEUE) == left


def test_s31_gives_back_at_once(tmp_path: Path) -> None:
    """What is to come in a minute comes now."""
    with pair("S31", tmp_path) as bus:
        send(bus)
        with bus.broken.consumer(QUEUE) as consumer:
            receive(consumer, 1)[0].retry(60)
            assert len(receive(consumer, 1)) == 1


def test_s32_loses_why_a_message_died(tmp_path: Path) -> None:
    """The letter has its reason and no text."""
    with pair("S32", tmp_path) as bus:
        send(bus)
        with bus.broken.consumer(QUEUE) as consumer:
            receive(consumer, 1)[0].reject("because")
            consumer.commit(10)
        (letter,) = bus.clean.admin.dead_letters(QUEUE)
        assert letter.death is not None
        assert (letter.death.reason, letter.death.error or "") == ("rejected", "")


def test_s33_settles_after_it_has_shown(tmp_path: Path) -> None:
    """What was to be settled before is given to the next consumer."""
    with pair("S33", tmp_path) as bus:
        send(bus)
        with bus.broken.consumer(QUEUE, ack="before") as consumer:
            assert len(receive(consumer, 1)) == 1
        with bus.clean.consumer(QUEUE) as other:
            assert len(receive(other, 1)) == 1


class Interrupted:
    """An engine's subscription whose connection breaks once and comes back with a message and an assignment."""

    def __init__(self) -> None:
        self.told: list[spi.Event] = []

    def events(self) -> list[spi.Event]:
        told, self.told = self.told, []
        return told

    def take(self, max_records: int) -> spi.Block | None:
        return cast(spi.Block, types.SimpleNamespace(count=0, destination=QUEUE, partition=0))


@pytest.mark.parametrize("kind", ["topic", "queue"])
def test_s30_gets_nothing_after_a_disconnection(kind: str, tmp_path: Path) -> None:
    """Until it is disconnected it works; afterwards neither messages nor assignments come."""
    inner, pieces = Interrupted(), SABOTEURS["S30"].pieces
    strikes = Strikes(Draws(Plan("S30", told=tmp_path / "told")))
    spec: Any = types.SimpleNamespace(queue=QUEUE, group="g")
    made: Any = getattr(pieces, kind)(lambda _spec: inner, spec, strikes, None)
    assert made.take(1) is not None
    inner.told = [spi.Disconnected("gone"), spi.Reconnected(), spi.Assigned({("t", 0): (1, 0)})]
    told = made.events()
    assert told[:2] == [spi.Disconnected("gone"), spi.Reconnected()]
    assert len(strikes_told(tmp_path / "told")) == 1
    if kind == "topic":
        assert len(told) == 2
    else:
        assert made.take(1) is None
