"""A look at once after another: the broker has on its way what the first one gave back, and counts it later.

Seen on a broker with a third of a processor: half of 2,000 looks saw less, or another order, when they counted first.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pika.spec
import pytest

import mqbridge as mq
from mqbridge.spi import StoredMessage
from mqbridge_rabbitmq import dead_letters
from mqbridge_rabbitmq.dead_letters import AT_A_TIME, browse


class Behind:
    """A channel to a quorum queue: a get comes behind whatever was given back before; a count may come in between."""

    def __init__(self, bodies: list[bytes]) -> None:
        self.ready: list[bytes] = []
        self.coming = bodies
        self.held: dict[int, bytes] = {}
        self.most_coming = 0
        self.others = 2
        self.is_open = True
        self.connection = SimpleNamespace(is_open=True)
        self.counts = 0
        self.answers: deque[Callable[[], None]] = deque()
        self.empty: Callable[[Any], None]

    def _arrive(self) -> None:
        self.ready, self.coming = self.ready + self.coming, []

    def add_callback(self, callback: Callable[[Any], None], _replies: Any, *, one_shot: bool) -> None:
        assert not one_shot
        self.empty = callback

    def queue_declare(self, _name: str, *, passive: bool, callback: Callable[[Any], None]) -> None:
        assert passive
        self.counts += 1
        facts = {"message_count": len(self.ready), "consumer_count": self.others + len(self.held) + len(self.coming)}
        self._arrive()
        self.answers.append(partial(callback, SimpleNamespace(method=SimpleNamespace(**facts))))

    def basic_get(self, _name: str, callback: Callable[..., None]) -> None:
        self._arrive()
        if not self.ready:
            self.answers.append(partial(self.empty, None))
            return
        tag = max(self.held, default=0) + 1
        self.held[tag] = self.ready.pop(0)
        method = pika.spec.Basic.GetOk(delivery_tag=tag, exchange="", routing_key="q")
        self.answers.append(partial(callback, self, method, pika.spec.BasicProperties(), self.held[tag]))

    def basic_nack(self, tag: int, *, multiple: bool, requeue: bool) -> None:
        assert (multiple, requeue) == (True, True)
        self.coming += [self.held.pop(one) for one in sorted(self.held) if one <= tag]
        self.most_coming = max(self.most_coming, len(self.coming))


def looked(
    channel: Behind, most: int, closed_after: int | None = None, whole: bool = False
) -> list[bytes | None] | None:
    """What a look gives; None if it never ends. The channel, or the whole connection, closes after so many answers, and
    one more comes then."""
    found: list[list[StoredMessage]] = []

    def rpc(_what: str, steps: Callable[..., None], _done: Any, *, outcome: str) -> None:
        assert outcome == "not_applied"
        steps(channel, found.append)

    connection: Any = SimpleNamespace(asking=SimpleNamespace(rpc=rpc))
    browse(connection, mq.Queue("q"), most, lambda _result, _error: None)
    for number in itertools.count():
        if not channel.answers:
            break
        if number == closed_after:
            (channel.connection if whole else channel).is_open = False
        channel.answers.popleft()()
    assert len(found) < 2
    return [message.value for message in found[0]] if found else None


def test_what_was_given_back_is_seen_before_it_is_counted() -> None:
    """Each look sees all of it, and takes nothing."""
    channel = Behind([b"1", b"2", b"3"])
    assert [looked(channel, 100) for _ in range(3)] == [[b"1", b"2", b"3"]] * 3
    assert channel.ready + channel.coming == [b"1", b"2", b"3"]


def test_few_are_on_their_way_back_at_a_time() -> None:
    """The next ones follow when those are back, in the order in which they were taken."""
    bodies = [b"%d" % number for number in range(3 * AT_A_TIME + 1)]
    channel = Behind(bodies)
    assert [looked(channel, 100) for _ in range(3)] == [bodies] * 3
    assert (channel.ready + channel.coming, channel.held) == (bodies, {})
    assert channel.most_coming == AT_A_TIME


def test_a_consumer_that_begins_meanwhile_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted as one of ours, for a while; all are given back all the same."""
    monkeypatch.setattr(dead_letters, "SETTLED_S", 0.01)
    bodies = [b"%d" % number for number in range(2 * AT_A_TIME)]

    class Joined(Behind):
        def basic_nack(self, tag: int, *, multiple: bool, requeue: bool) -> None:
            super().basic_nack(tag, multiple=multiple, requeue=requeue)
            self.others += 2

    channel = Joined(bodies)
    assert looked(channel, 100) == bodies
    assert (channel.held, channel.ready + channel.coming) == ({}, bodies)


def test_a_queue_that_cannot_count_is_asked_again() -> None:
    """It says 0 of both now and then, whatever it has: the look is not cut short, and no more go back at once."""

    class Leaderless(Behind):
        def queue_declare(self, _name: str, *, passive: bool, callback: Callable[[Any], None]) -> None:
            super().queue_declare(_name, passive=passive, callback=callback)
            if self.counts % 2:
                nothing = SimpleNamespace(method=SimpleNamespace(message_count=0, consumer_count=0))
                self.answers[-1] = partial(callback, nothing)

    bodies = [b"%d" % number for number in range(3 * AT_A_TIME)]
    channel = Leaderless(bodies)
    assert looked(channel, 100) == bodies
    assert (channel.ready + channel.coming, channel.most_coming) == (bodies, AT_A_TIME)


def test_a_classic_queue_does_not_count_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look ends, whether it has consumers or none."""
    monkeypatch.setattr(dead_letters, "COUNT_S", 0.01)

    class Classic(Behind):
        def queue_declare(self, _name: str, *, passive: bool, callback: Callable[[Any], None]) -> None:
            super().queue_declare(_name, passive=passive, callback=callback)
            facts = SimpleNamespace(message_count=len(self.ready), consumer_count=self.others)
            self.answers[-1] = partial(callback, SimpleNamespace(method=facts))

    bodies = [b"%d" % number for number in range(2 * AT_A_TIME)]
    for others in (0, 1):
        channel = Classic(bodies)
        channel.others = others
        assert looked(channel, 100) == bodies


@pytest.mark.parametrize("whole", [False, True], ids=["channel", "connection"])
def test_a_channel_that_closes_in_between_is_left_alone(whole: bool) -> None:
    """Whatever comes last: nothing is asked of it any more, for that would raise on the thread of the connection."""
    bodies = [b"%d" % number for number in range(AT_A_TIME + 1)]
    undisturbed = Behind(bodies)
    looked(undisturbed, 100)

    class Closing(Behind):
        def _check(self) -> None:
            assert self.is_open, "asked of a closed channel"
            assert self.connection.is_open, "asked of a closed connection"

        def queue_declare(self, *arguments: Any, **named: Any) -> None:
            self._check()
            super().queue_declare(*arguments, **named)

        def basic_get(self, *arguments: Any, **named: Any) -> None:
            self._check()
            super().basic_get(*arguments, **named)

        def basic_nack(self, *arguments: Any, **named: Any) -> None:
            self._check()
            super().basic_nack(*arguments, **named)

    answers = len(bodies) + undisturbed.counts
    ends = [looked(Closing(bodies), 100, closed_after, whole) for closed_after in range(answers)]
    assert ends == [None] * (answers - 1) + [bodies]  # behind the last answer nothing is asked


def test_no_more_are_taken_than_are_asked_for() -> None:
    assert looked(Behind([b"1", b"2", b"3"]), 2) == [b"1", b"2"]
    assert looked(Behind([b"1"]), 0) == []


def test_nothing_is_nothing() -> None:
    channel = Behind([])
    assert (looked(channel, 100), channel.ready) == ([], [])
