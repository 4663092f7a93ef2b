"""A group member against a session that answers when the test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import mqbridge as mq
from mqbridge.native.group_member import GroupMember
from mqbridge.native.queue_client import QueueClient
from mqbridge.spi import Assigned, QueueSubscriptionSpec, Start, TopicSubscriptionSpec
from tests.fakes import FakeClock

ONE = mq.Topic("one")
SPEC = TopicSubscriptionSpec(
    (ONE,), "g", Start("earliest"), "read_committed", "cooperative", None, 10.0, 300.0, "fail"
)


class Session:
    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any], Callable[..., None]]] = []

    def call(self, op: str, args: dict[str, Any], batches: Any, done: Callable[..., None]) -> None:
        self.calls.append((op, args, done))

    def ops(self) -> list[str]:
        return [op for op, _, _ in self.calls]


def connected() -> tuple[Any, Session]:
    session = Session()
    connection = SimpleNamespace(
        session=session,
        clock=FakeClock(),
        members=[],
        queue_clients=[],
        consumers={},
        claim_notes=lambda member, listener: [],
        disclaim_notes=lambda member: None,
    )
    return connection, session


def test_a_block_never_comes_before_its_assignment() -> None:
    """While an assignment is being taken in on one thread, another one that takes gets a block only when events() has
    the Assigned as well: else the portable layer would not know whose it is."""
    connection, _ = connected()
    member: Any = GroupMember(connection, SPEC, lambda: None)
    begin, said = member._begin, threading.Event()

    def begun(place: Any, lease: int, position: int) -> None:
        begin(place, lease, position)
        member._fetches[place] = SimpleNamespace(take=lambda: "block")
        taker.start()
        said.wait(0.2)  # long enough for a taker that is not kept waiting

    found: list[bool] = []

    def take() -> None:
        if member.take(1) is not None:
            found.append(any(isinstance(event, Assigned) for event in member.events()))
        said.set()

    member._begin = begun
    taker = threading.Thread(target=take)
    member.note({"note": "assign", "partitions": [["one", 0, 7, 0]]})
    taker.join(10)
    assert found == [True]


def test_a_member_that_was_closed_while_it_joined_leaves() -> None:
    """The answer to the join comes after close(): the broker is told, so that the partitions do not wait for a member
    that nobody keeps alive."""
    connection, session = connected()
    member = GroupMember(connection, SPEC, lambda: None)
    ended: list[Any] = []
    member.close(lambda result, error: ended.append(error))
    assert ended == [None]
    _, _, answer = session.calls[0]
    answer({"member": "m-1"}, [], None)
    assert session.ops() == ["join", "leave"]
    assert session.calls[1][1]["member"] == "m-1"


def test_news_of_data_reach_all_though_one_closes_meanwhile() -> None:
    """A member that is closed while the news go round does not make its neighbour miss them."""
    with mq.connect("native:") as bus:
        connection: Any = bus._connection
        heard: list[str] = []

        def closing(_place: Any) -> None:
            heard.append("first")
            del connection.members[0]

        connection.members[:] = [
            SimpleNamespace(data=closing),
            SimpleNamespace(data=lambda _place: heard.append("second")),
        ]
        connection._note({"note": "data", "topic": "one", "partition": 0})
        connection.members.clear()
    assert heard == ["first", "second"]


def test_a_sign_of_life_takes_nothing_from_a_queue() -> None:
    """take(0) leaves what has been fetched where it is."""
    connection, session = connected()
    client: Any = QueueClient(connection, QueueSubscriptionSpec(mq.Queue("q"), 10, 0, before=False), lambda: None)
    client._blocks.append("block")
    assert client.take(0) is None
    assert client.take(1) == "block"
    assert session.ops() == ["consume"]
