"""A consumer of a queue, against a broker that answers when the test says so."""

from __future__ import annotations

from typing import cast

import pytest

from mqbridge.errors import ConnectionLost, MqbridgeError, NotFound
from mqbridge.native.engine import NativeConnection
from mqbridge.native.queue_client import QueueClient
from mqbridge.native.runtime.links import NoRoom
from mqbridge.spi import Disconnected, Fatal, QueueSubscriptionSpec, SettleFailed, SettleVerb
from mqbridge.topology import Queue
from tests.native.runtime.fakes import batch
from tests.native.scripted import ScriptedConnection


class Party:
    def __init__(self, *, before: bool = False) -> None:
        self.connection = ScriptedConnection()
        self.link = self.connection.session.link
        self.ready = 0
        spec = QueueSubscriptionSpec(Queue("q"), 10, 0, before)
        self.client = QueueClient(cast(NativeConnection, self.connection), spec, self._set)

    def _set(self) -> None:
        self.ready += 1

    def handed(self) -> None:
        self.link.answer({"tags": [1], "attempts": [1], "redelivered": [False]}, batch(b"x"))


def test_a_loss_is_read_before_the_next_hosts_messages() -> None:
    """A block of the new host's consumer waits until the loss of the old one was read; so do the old one's tags."""
    party = Party()
    party.link.answer({"consumer": 1})
    party.client.take(5)
    party.handed()
    assert party.client.take(5) is not None
    party.client.lost()
    party.client.restored()
    party.link.answer({"consumer": 1})
    ready = party.ready
    assert party.client.take(5) is None
    assert party.link.asked == []
    assert party.ready > ready
    refused: list[object] = []
    party.client.settle([SettleVerb("ack", (1,))], lambda tokens, _error: refused.append(tokens))
    assert refused == [(1,)]
    assert any(isinstance(event, Disconnected) for event in party.client.events())
    party.client.take(5)
    party.handed()
    assert party.client.take(5) is not None


def test_a_loss_between_the_look_and_the_asking_keeps_the_block_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host changes while a poll asks: what the new one hands out waits until the loss of the old one was read."""
    party = Party()
    party.link.answer({"consumer": 1})
    ask = party.client._ask

    def change_and_ask(max_records: int) -> None:
        party.client.lost()
        party.client.restored()
        party.link.answer({"consumer": 1})
        ask(max_records)
        party.handed()

    with monkeypatch.context() as changing:
        changing.setattr(party.client, "_ask", change_and_ask)
        assert party.client.take(5) is None
    assert any(isinstance(event, Disconnected) for event in party.client.events())
    assert party.client.take(5) is not None


def test_a_refusal_that_passes_is_no_end() -> None:
    """consume and take for which there is no room at this moment are made again; one that is wrong is fatal."""
    party = Party()
    party.link.fail(NoRoom("full"))
    party.connection.repeats.pop()()
    party.link.answer({"consumer": 1})
    party.client.take(5)
    party.link.fail(NoRoom("full"))
    party.connection.repeats.pop()()
    party.client.take(5)
    assert party.link.ops == ["take"]
    assert party.client.events() == []
    party.link.fail(NotFound("no such queue"))
    assert [type(event) for event in party.client.events()] == [Fatal]


def test_a_consume_is_made_once() -> None:
    """A repetition and the news of a host at the same time make one consumer at the broker, not two."""
    party = Party()
    party.link.fail(ConnectionLost("gone", outcome="not_applied"))
    party.client.restored()
    party.connection.repeats.pop()()
    assert party.link.ops == ["consume"]
    party.link.answer({"consumer": 1})
    party.client._consume()
    assert party.link.ops == []


def test_the_end_of_the_session_ends_the_client() -> None:
    """When there will be no host, the consumer is told why."""
    party = Party()
    party.client.failed(NotFound("the folder is gone"))
    assert [type(event) for event in party.client.events()] == [Fatal]


def test_at_most_once_shows_nothing_whose_settlement_was_refused() -> None:
    """With `before`, a block whose tags the broker does not know any more is delivered again, so not shown here."""
    party = Party(before=True)
    party.link.answer({"consumer": 1})
    party.client.take(5)
    party.handed()
    party.link.answer({"settled_errors": [[1, "unknown"]]})
    assert not party.client._blocks


def test_what_cannot_be_dead_lettered_is_given_back_and_told() -> None:
    """The broker keeps it in this consumer's hands; it is released there, and the call says why, as unknown, for the
    other verbs of the call were applied. What was lost beside it is told as well."""
    party = Party()
    party.link.answer({"consumer": 1})
    ends: list[tuple[object, MqbridgeError | None]] = []
    party.client.settle([SettleVerb("reject", (1, 2), text="no")], lambda *end: ends.append(end))
    party.link.answer({"settled_errors": [[1, "not_found"], [2, "lease_lost"]]})
    ((refused, error),) = ends
    assert refused is None
    assert isinstance(error, NotFound)
    assert error.outcome == "unknown"
    assert [(op, args["settle"]) for op, args, *_ in party.link.asked] == [("take", [["release", 1, 0.0]])]
    (event,) = party.client.events()
    assert isinstance(event, SettleFailed)
    assert event.tokens == (2,)
