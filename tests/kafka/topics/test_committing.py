"""Commits of a member, with a scripted client."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

import mqbridge as mq
from mqbridge.spi import TopicPartition as Partition
from mqbridge.testing import wait_until
from mqbridge_kafka import committing
from mqbridge_kafka.committing import Commits


class Scripted:
    """A client that notes what it is asked to commit."""

    def __init__(self) -> None:
        self.asked: list[dict[int, int]] = []
        self.refusal: KafkaException | None = None
        self.taken = True

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous, "a commit that is waited for may be waited for without an end"
        self.asked.append({place.partition: place.offset for place in offsets})
        if self.refusal is not None:
            raise self.refusal

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        known = self.asked[-1] if self.taken else {}
        return [TopicPartition(place.topic, place.partition, known.get(place.partition, -1001)) for place in places]


class Member:
    """Commits over leases that a test sets."""

    def __init__(self) -> None:
        self.leases: dict[Partition, int] = {("t", 0): 1, ("t", 1): 2}
        self.client = Scripted()
        self.commits = Commits("committing", self.leases.get, lambda place: place[0])
        self.answers: list[Any] = []

    def add(self, offsets: dict[int, tuple[int, int]]) -> None:
        self.commits.add(
            {("t", number): position for number, position in offsets.items()},
            lambda refused, error: self.answers.append(refused if error is None else error),
        )

    def send(self) -> None:
        self.commits.send(self.client)  # type: ignore[arg-type]

    def end(self) -> None:
        """Abort, and note what is said to have become of each commit."""
        self.commits.abort(lambda outcome: mq.Closed("over", outcome=outcome))
        self.answers = [answer.outcome for answer in self.answers]

    def answer(self, code: int | None = None) -> None:
        """The client's callback for what was asked last."""
        error = None if code is None else KafkaError(code)
        places = [TopicPartition("t", number, offset) for number, offset in self.client.asked[-1].items()]
        self.commits.on_commit(error, places)


def test_what_comes_meanwhile_goes_together_and_the_last_word_counts() -> None:
    """One commit is under way; those that come meanwhile are one commit, the last offset of each partition."""
    member = Member()
    member.add({0: (1, 5)})
    member.send()
    member.add({0: (1, 7)})
    member.add({0: (1, 6), 1: (2, 3)})
    member.send()
    assert member.client.asked == [{0: 5}]
    member.answer()
    assert member.answers == [()]
    member.send()
    assert member.client.asked[1:] == [{0: 6, 1: 3}]
    member.answer()
    assert member.answers == [(), (), ()]


@pytest.mark.parametrize("code", [KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS])
def test_a_commit_that_a_rebalance_overtook_is_sent_again(code: int) -> None:
    """A partition that a member keeps is committed under the next generation, and nobody hears of the first try."""
    member = Member()
    member.add({0: (1, 5)})
    member.send()
    member.answer(code)
    assert member.answers == []

    def sent_again() -> bool:
        member.send()
        return len(member.client.asked) == 2

    wait_until(sent_again, 2.0)
    member.answer()
    assert member.answers == [()]


def test_a_lease_that_ended_meanwhile_is_refused() -> None:
    """Between the tries the partition went to another: the second try leaves it out, and it is refused."""
    member = Member()
    member.add({0: (1, 5), 1: (2, 5)})
    member.send()
    member.answer(KafkaError.ILLEGAL_GENERATION)
    del member.leases["t", 0]

    def sent_again() -> bool:
        member.send()
        return len(member.client.asked) == 2

    wait_until(sent_again, 2.0)
    assert member.client.asked[1] == {1: 5}
    member.answer()
    assert member.answers == [(("t", 0),)]


def test_an_unknown_member_is_refused_at_once() -> None:
    """The group removed this member: its commit is refused by name, not an error to try again."""
    member = Member()
    member.add({0: (1, 5)})
    member.send()
    member.answer(KafkaError.UNKNOWN_MEMBER_ID)
    assert member.answers == [(("t", 0),)]


def test_a_client_that_was_fenced_before_it_commits_is_refused() -> None:
    """The client that has heard of it answers every commit with _FATAL, and hides in the text that it was fenced."""
    member = Member()
    text = f"Fatal error: {KafkaError(KafkaError.FENCED_INSTANCE_ID).str()}"
    member.client.refusal = KafkaException(KafkaError(KafkaError._FATAL, text))
    member.add({0: (1, 5)})
    member.send()
    assert member.answers == [(("t", 0),)]


def test_a_broker_that_is_away_is_an_error_to_try_again() -> None:
    """A commit that nobody answered is neither done nor refused."""
    member = Member()
    member.add({0: (1, 5)})
    member.send()
    member.answer(KafkaError._TRANSPORT)
    [error] = member.answers
    assert isinstance(error, mq.ConnectionLost)
    assert error.retryable


def test_an_applied_commit_counts_though_the_lease_ended_after_it() -> None:
    """What the broker has taken is done, even if the partition was given up before the answer came."""
    member = Member()
    member.add({0: (1, 5)})
    member.send()
    del member.leases["t", 0]
    member.answer()
    assert member.answers == [()]


def test_giving_up_waits_and_takes_what_is_under_way_along() -> None:
    """Before a partition goes, what is under way and what waits is committed in one, and answered."""
    member = Member()
    member.add({0: (1, 5)})
    member.send()
    member.add({0: (1, 9)})
    member.commits.send_now(member.client)  # type: ignore[arg-type]
    assert member.client.asked == [{0: 5}, {0: 9}]
    assert member.answers == [(), ()]
    member.answer()  # the late answer to the first one is nobody's
    assert member.answers == [(), ()]


def test_the_end_answers_everything() -> None:
    """A member that ends leaves no commit without an answer."""
    member = Member()
    member.add({0: (1, 5)})
    member.send()
    member.add({1: (2, 5)})
    member.end()
    assert member.answers == ["unknown", "not_applied"]


def test_the_end_knows_of_a_refused_commit_that_it_was_not_applied() -> None:
    """A rebalance overtook the first try, and there was no second one."""
    member = Member()
    member.add({0: (1, 5)})
    member.send()
    member.answer(KafkaError.ILLEGAL_GENERATION)
    member.end()
    assert member.answers == ["not_applied"]


@pytest.mark.parametrize("code", [KafkaError.REBALANCE_IN_PROGRESS, KafkaError.STALE_MEMBER_EPOCH])
def test_what_a_rebalance_overtook_is_refused_for_a_partition_that_left(code: int) -> None:
    """A commit that is not there when its partition is given up is answered later: refused for what has gone, and
    tried again for what stayed."""
    member = Member()
    member.client.taken = False
    member.add({0: (1, 5)})
    member.add({1: (2, 5)})
    member.commits.send_now(member.client)  # type: ignore[arg-type]
    assert member.answers == []
    del member.leases["t", 0]
    member.answer(code)

    def sent_again() -> bool:
        member.send()
        return len(member.client.asked) == 2

    wait_until(sent_again, 2.0)
    assert member.client.asked[1] == {1: 5}
    member.answer()
    assert member.answers == [(("t", 0),), ()]


@pytest.mark.parametrize("code", [KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT])
def test_what_is_not_known_is_not_refused_because_the_lease_ended(code: int) -> None:
    """Nobody answered, and then the partition went: the commit may be there, and nobody is told that it is not."""
    member = Member()
    member.add({0: (1, 5)})
    member.send()
    del member.leases["t", 0]
    member.answer(code)
    [error] = member.answers
    assert error.outcome == "unknown"


@pytest.mark.parametrize("code", [KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS])
def test_what_a_rebalance_refused_is_refused_when_the_lease_ended(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no time for another try, the group's word counts."""
    monkeypatch.setattr(committing, "INSIST_S", 0.0)
    member = Member()
    member.add({0: (1, 5)})
    member.send()
    del member.leases["t", 0]
    member.answer(code)
    assert member.answers == [(("t", 0),)]


def test_what_was_sent_before_its_lease_ended_is_not_refused_by_a_later_commit() -> None:
    """A commit without an answer goes along when others are given up; its own partition has gone meanwhile."""
    member = Member()
    member.add({0: (1, 5)})
    member.send()
    del member.leases["t", 0]
    member.add({1: (2, 5)})
    member.commits.send_now(member.client)  # type: ignore[arg-type]
    unknown, done = member.answers
    assert (unknown.outcome, done) == ("unknown", ())
