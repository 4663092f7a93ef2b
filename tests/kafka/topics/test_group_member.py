"""A member of a group, step by step, with a scripted client."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, TopicPartition

import mqbridge as mq
from mqbridge import spi
from mqbridge.testing import wait_until
from mqbridge_kafka import cut_off, group_member
from mqbridge_kafka.committing import Commits
from mqbridge_kafka.cut_off import Lifeline
from mqbridge_kafka.group_member import GroupMember
from mqbridge_kafka.holding import Holding, Holdings
from mqbridge_kafka.lost_offsets import LostOffsets
from mqbridge_kafka.member_client import MemberClient

TOPIC = mq.Topic("t")
PLACE = ("t", 0)


class Native:
    """A consumer that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[Any]]] = []
        self.open = True

    def __getattr__(self, name: str) -> Any:
        def note(*arguments: Any, **_named: Any) -> Any:
            if not self.open:
                raise RuntimeError("Consumer closed")
            places = arguments[0] if arguments and isinstance(arguments[0], list) else list(arguments)
            self.told.append((name, [(p.topic, p.partition) if isinstance(p, TopicPartition) else p for p in places]))

        return note

    def close(self) -> None:
        self.open = False


def record(offset: int, code: int | None = None) -> Message:
    """What the client gives: a record, or an error in place of one."""
    return Message("t", 0, offset, value=b"x", error=None if code is None else KafkaError(code))


def client_of(holdings: Holdings) -> MemberClient:
    client = object.__new__(MemberClient)
    client.topics = {"t": TOPIC}
    client.held_back = False
    client._physical = {"t": "t"}
    client._incremental = True
    client._holdings = holdings
    client._given = {PLACE}
    client.consumer = Native()  # type: ignore[assignment]
    return client


@pytest.fixture
def member() -> GroupMember:
    """A member without a thread, that holds one partition."""
    made = object.__new__(GroupMember)
    made._spec = SimpleNamespace(group="g", max_poll_interval_s=0.2, on_gap="earliest")  # type: ignore[assignment]
    made._ready = lambda: None
    made._topics = {"t": TOPIC}
    made._events = deque()
    made._commands = SimpleQueue()
    made._holdings = Holdings(1 << 20)
    made._absent = made._ended = made._closing = False
    made._on_closed = None
    made._telling = threading.Lock()
    made._placing = SimpleNamespace(drop=list)  # type: ignore[assignment]
    made._active_s = 0.0
    made._lifeline = Lifeline(dict)
    made._client = client_of(made._holdings)
    made._commits = Commits("committing", made._holdings.lease, lambda place: place[0])
    made._lost_offsets = LostOffsets("g", "earliest", made._holdings, SimpleNamespace(), made._say)  # type: ignore[arg-type]
    made._holdings.begin(PLACE, Holding(TOPIC, 1, 0))
    return made


def told(member: GroupMember) -> list[tuple[str, list[Any]]]:
    native: Any = member._client.consumer
    return list(native.told)


def test_a_revoke_that_is_not_drained_in_time_is_lost(member: GroupMember) -> None:
    """When the time for draining is over, the application is told that the partitions are gone with what was out."""
    member._on_revoke(member._client.consumer, [TopicPartition("t", 0)])
    assert [type(event) for event in member._events] == [spi.Revoking, spi.Lost]
    assert member._events[1] == spi.Lost((PLACE,), "not drained in time")


def test_a_revoke_that_is_drained_is_not_lost(member: GroupMember) -> None:
    """Finished in time, the partitions are given up without a word more."""

    def finish() -> None:
        for event in member.events():
            assert isinstance(event, spi.Revoking)
            event.done()

    member._ready = finish
    member._on_revoke(member._client.consumer, [TopicPartition("t", 0)])
    assert not member._events
    assert PLACE not in member._holdings


def test_closing_with_a_come_back_in_the_queue_ends(member: GroupMember) -> None:
    """A member that is closed just after its application came back does not join again, and says that it ended."""
    ended = threading.Event()
    member._absent = True
    member._commands.put(member._come_back)
    member._closing, member._on_closed = True, lambda _result, _error: ended.set()
    member._end()
    assert ended.is_set()


def test_who_closes_is_told_whatever_a_command_does(member: GroupMember) -> None:
    """A command that fails at the end keeps nobody waiting."""
    ended = threading.Event()

    def fail() -> None:
        member._client.consumer.poll(0)

    member._commands.put(fail)
    member._closing, member._on_closed = True, lambda _result, _error: ended.set()
    with pytest.raises(RuntimeError, match="closed"):
        member._end()
    assert ended.is_set()


def test_what_was_fetched_before_a_gap_is_shown(member: GroupMember) -> None:
    """on_gap='earliest' moves where the client reads on, after the records of the same batch; those are shown."""
    member._lost_offsets._starting = SimpleNamespace(edges=lambda _places: {PLACE: (20, 30)})  # type: ignore[assignment]
    member._sort([record(0), record(2, KafkaError._AUTO_OFFSET_RESET), record(1)])
    member._lost_offsets.look(member._client)
    block = member._holdings.take()
    assert block is not None
    assert [block.offset(i) for i in range(block.count)] == [0, 1]
    assert member._holdings.positions() == {PLACE: 20}
    assert [what for what, _ in told(member)] == ["seek"]


def test_a_seek_of_the_application_goes_before_a_gap(member: GroupMember) -> None:
    """A place that the application has just chosen is not replaced by an edge."""

    def edges(*_: Any) -> dict[Any, tuple[int, int]]:
        member.seek(PLACE, 7)
        return {PLACE: (20, 30)}

    member._lost_offsets._starting = SimpleNamespace(edges=edges)  # type: ignore[assignment]
    member._sort([record(0, KafkaError._AUTO_OFFSET_RESET)])
    member._lost_offsets.look(member._client)
    assert member._holdings.positions() == {PLACE: 7}
    assert told(member) == []


def test_a_partition_that_comes_back_is_resumed() -> None:
    """The client keeps its pause of a partition that went away; assigned again it is resumed, unless it is shut."""
    holdings = Holdings(1 << 20)
    client = client_of(holdings)
    holdings.pause([("t", 1)])
    client.assign([TopicPartition("t", 0, 0), TopicPartition("t", 1, 0)])
    native: Any = client.consumer
    assert native.told[1:] == [("resume", [("t", 0)]), ("pause", [("t", 1)])]
    native.told.clear()
    client.held_back = True
    client.assign([TopicPartition("t", 0, 0)])
    assert native.told[1:] == [("pause", [("t", 0)])]


def test_going_silent_does_not_forget_what_is_held_back(member: GroupMember) -> None:
    """A member that leaves while all is paused knows it still, so that what it is given next is opened again."""
    member._client.held_back = True
    member._last_take_s = 0.0
    member._mind_the_application()
    assert (member._absent, member._client.held_back) == (True, True)


@pytest.mark.parametrize("leave", ["_on_revoke", "_on_lost"])
def test_a_lost_offset_goes_with_its_partition(member: GroupMember, leave: str) -> None:
    """Given up or lost, a partition takes along that its offset was lost; the next lease begins without."""
    member._closing = True
    member._lost_offsets.found(PLACE)
    getattr(member, leave)(member._client.consumer, [TopicPartition("t", 0)])
    assert not member._lost_offsets._places


def test_a_lost_offset_goes_with_a_seek(member: GroupMember) -> None:
    """Sought, even to the same offset, it is for the client to find out whether that is there."""
    member._lost_offsets.found(PLACE)
    member.seek(PLACE, 0)
    member._obey(0.0)
    member._lost_offsets.look(member._client)
    assert [what for what, _ in told(member)] == ["seek"]


def test_a_record_is_an_answer_between_two_looks(member: GroupMember, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks in a row find a client cut off; one that has given a record between two of them is not. An error is no
    answer: the client says it by itself."""
    monkeypatch.setattr(cut_off, "CHECK_S", 0.0)
    monkeypatch.setattr(Lifeline, "_another_finds_one", lambda *_: True)

    def look() -> bool:
        return member._lifeline.lost(lambda: False, "t")

    assert not look()
    member._sort([record(0)])
    assert not look()
    member._sort([record(1, KafkaError._TRANSPORT)])
    assert look()


class Closing(Native):
    """A consumer whose close() does not end before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = threading.Event()
        self.answered = threading.Event()

    def close(self) -> None:
        self.closing.set()
        assert self.answered.wait(10)


@pytest.fixture
def committing(member: GroupMember) -> Iterator[tuple[Closing, list[Any]]]:
    """It is closed with a commit under way, and one that was not sent; what their ends are told."""
    native, outcomes = Closing(), []
    member._client.consumer = native  # type: ignore[assignment]

    def note(_refused: object, error: Any) -> None:
        outcomes.append(error.outcome)

    member._commits.add({PLACE: (1, 5)}, note)
    member._commits.send(member._client.consumer)
    member._commits.add({PLACE: (1, 6)}, note)
    member._closing, member._on_closed = True, lambda _result, _error: outcomes.append("closed")
    yield native, outcomes
    native.answered.set()


def test_a_client_that_was_found_cut_off_is_let_go(
    member: GroupMember, committing: tuple[Closing, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its close() would wait for the commit without an end: one look is enough not to begin with that."""
    native, outcomes = committing
    monkeypatch.setattr(cut_off, "CHECK_S", 0.0)
    monkeypatch.setattr(Lifeline, "_another_finds_one", lambda *_: True)
    member._lifeline = Lifeline(dict)
    assert not member._lifeline.lost(lambda: False, "t")
    member._end()
    assert not native.closing.is_set()
    assert outcomes == ["unknown", "not_applied", "closed"]
    assert not hasattr(member._client, "consumer")


def test_a_close_that_does_not_end_answers_what_was_under_way(
    member: GroupMember, committing: tuple[Closing, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who closes is told after a while, who committed as well, each once, though the client goes on waiting."""
    native, outcomes = committing
    monkeypatch.setattr(group_member, "CLOSE_S", 0.05)
    ending = threading.Thread(target=member._end)
    ending.start()
    wait_until(lambda: len(outcomes) == 3, 5.0)
    assert ending.is_alive()
    native.answered.set()
    ending.join(10)
    assert outcomes == ["unknown", "not_applied", "closed"]
