"""Where assigned partitions begin, step by step: what is asked again, and what is committed, with a scripted client."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

import mqbridge as mq
from mqbridge import spi
from mqbridge.spi import TopicPartition as Partition
from mqbridge.testing import wait_until
from mqbridge_kafka.placing import Placing
from mqbridge_kafka.starting import Starting

OWN = [("t", 0), ("t", 1)]


class Scripted:
    """A client whose brokers know topic `t`; `meanwhile` is what others commit before each look after the first."""

    def __init__(self, partitions: int = 2, meanwhile: dict[int, int] | None = None) -> None:
        self.sent: list[dict[int, int]] = []
        self.away = False
        self.unknown = False
        self.end = 5
        self._partitions = partitions
        self._meanwhile = meanwhile or {}
        self._looks = 0

    def list_topics(self, name: str, timeout: float) -> Any:
        if self.away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        partitions = dict.fromkeys(range(self._partitions))
        return SimpleNamespace(topics={name: SimpleNamespace(error=None, partitions=partitions)})

    def offsets_for_times(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        if self.unknown:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
        return [TopicPartition(place.topic, place.partition, self.end) for place in places]

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self._looks += 1
        known = self._meanwhile if self._looks > 1 else {}
        return [TopicPartition(place.topic, place.partition, known.get(place.partition, -1001)) for place in places]

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous, "a commit that is waited for may be waited for without an end"
        self.sent.append({place.partition: place.offset for place in offsets})

    def poll(self, timeout: float) -> None:
        """Nothing is said."""


class Member:
    """The member's side."""

    def __init__(self, client: Scripted) -> None:
        self.client: Any = client
        self.closing = False
        starting = Starting("g", ("t",), spi.Start("latest"), lambda: self.closing, lambda: self.client)
        self.placing = Placing("g", starting)

    def positions(self) -> dict[Partition, int]:
        return self.placing.positions(self.client)

    def answer(self, code: int | None = None) -> None:
        """The client's callback for what was committed last."""
        error = None if code is None else KafkaError(code)
        places = [TopicPartition("t", number, offset) for number, offset in self.client.sent[-1].items()]
        self.placing.on_commit(error, places)


@pytest.mark.parametrize(
    ("meanwhile", "sent", "positions"),
    [
        ({}, [{0: 5, 1: 5, 2: 5}], {("t", 0): 5, ("t", 1): 5}),
        ({0: 3, 2: 1}, [{1: 5}], {("t", 0): 3, ("t", 1): 5}),
        ({2: 1}, [{0: 5, 1: 5}], {("t", 0): 5, ("t", 1): 5}),
        ({1: 4}, [{0: 5}], {("t", 0): 5, ("t", 1): 4}),
        ({0: 3, 1: 4, 2: 1}, [], {("t", 0): 3, ("t", 1): 4}),
    ],
)
def test_a_start_of_what_is_assigned_leaves_what_was_committed_meanwhile(
    meanwhile: dict[int, int], sent: list[dict[int, int]], positions: dict[Partition, int]
) -> None:
    """Nobody began the topic: all of it is committed. Another did meanwhile: its commits are read from and stand, and
    only own partitions that it left out are committed."""
    member = Member(Scripted(3, meanwhile))
    member.placing.add(OWN)
    found = member.positions()
    if sent:
        assert found == {}
        member.answer()
        found = member.positions()
    assert found == positions
    assert member.client.sent == sent
    assert member.positions() == {}


@pytest.mark.parametrize("refusals", [0, 1])
def test_a_start_from_outside_leaves_what_was_committed_meanwhile(refusals: int) -> None:
    """Each try to commit the start looks once more: where another committed since, that stands."""
    member = Member(Scripted(2))
    assert not member.placing.before_joining(member.client)
    if refusals:
        member.answer(KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
        member.client._meanwhile = {0: 3}
        wait_until(lambda: not member.placing.before_joining(member.client) and len(member.client.sent) == 2, 2.0)
    member.answer()
    assert member.placing.before_joining(member.client)
    assert member.client.sent == [{0: 5, 1: 5}, {1: 5}][: 1 + refusals]


def test_a_group_with_members_is_not_committed_for_from_outside() -> None:
    """The broker's refusal is an answer: members commit the start when they are assigned something."""
    member = Member(Scripted())
    assert not member.placing.before_joining(member.client)
    member.answer(KafkaError.UNKNOWN_MEMBER_ID)
    assert member.placing.before_joining(member.client)


def test_nothing_begins_before_its_commit_is_answered() -> None:
    """A commit without an answer may still come; no second one goes after it, and nothing is read meanwhile."""
    member = Member(Scripted())
    member.placing.add(OWN)
    for _ in range(3):
        assert member.positions() == {}
    assert len(member.client.sent) == 1


@pytest.mark.parametrize("code", [KafkaError.REBALANCE_IN_PROGRESS, KafkaError._TRANSPORT])
def test_a_commit_that_failed_is_tried_again_with_the_same_start(code: int) -> None:
    """Neither a rebalance nor a lost connection moves the start that was resolved, or leaves a partition behind."""
    member = Member(Scripted())
    member.placing.add(OWN)
    member.positions()
    member.answer(code)
    member.client.end = 9
    wait_until(lambda: not member.positions() and len(member.client.sent) == 2, 2.0)
    member.answer()
    assert member.positions() == {("t", 0): 5, ("t", 1): 5}
    assert member.client.sent == [{0: 5, 1: 5}] * 2


def test_a_refusal_for_good_is_told() -> None:
    """What will be the same the next time is an error of the consumer, not a partition that never begins."""
    member = Member(Scripted())
    member.placing.add(OWN)
    member.positions()
    member.answer(KafkaError.GROUP_AUTHORIZATION_FAILED)
    with pytest.raises(mq.Denied):
        member.positions()


def test_brokers_that_are_away_are_asked_again() -> None:
    """Not yet is no error, and no end: when the brokers answer, all that wait begin."""
    member = Member(Scripted(2, {0: 1, 1: 2}))
    member.client.away = True
    member.placing.add(OWN)
    assert member.positions() == {}
    member.client.away = False
    found: dict[Partition, int] = {}
    wait_until(lambda: found.update(member.positions()) or found, 2.0)
    assert set(found) == set(OWN)


def test_a_partition_that_the_client_forgot_is_asked_for_again() -> None:
    """The broker has just named it; that the client does not find its leader is no reason to say it is not there."""
    member = Member(Scripted())
    member.client.unknown = True
    member.placing.add(OWN)
    assert member.positions() == {}
    member.client.unknown = False
    wait_until(lambda: not member.positions() and member.client.sent, 2.0)
    member.answer()
    assert member.positions() == {("t", 0): 5, ("t", 1): 5}


def test_what_is_lost_while_it_waits_does_not_begin() -> None:
    """Partitions that went to another meanwhile are forgotten."""
    member = Member(Scripted(2, {0: 1, 1: 2}))
    member.client.away = True
    member.placing.add(OWN)
    member.positions()
    member.placing.drop(OWN[:1])
    member.client.away = False
    found: dict[Partition, int] = {}
    wait_until(lambda: found.update(member.positions()) or found, 2.0)
    assert set(found) == {("t", 1)}


def test_nothing_is_asked_for_a_consumer_that_is_being_closed() -> None:
    """The next question is not asked any more."""
    member = Member(Scripted())
    member.placing.add(OWN)
    member.closing = True
    assert member.positions() == {}
    assert member.client.sent == []
