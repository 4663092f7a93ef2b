"""Clients that are cut off, and no new one can be made: the thread that looks after them goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from mqbridge.errors import ConfigurationError
from mqbridge_kafka import cut_off, registry, watching
from mqbridge_kafka.cut_off import Lifeline
from mqbridge_kafka.group_member import GroupMember
from mqbridge_kafka.registry import Registry
from mqbridge_kafka.replaying import KafkaReplay
from mqbridge_kafka.settings import Settings
from mqbridge_kafka.watching import Watch


def ignore(*_: object, **__: object) -> None:
    """A call of a client, which succeeds."""


class Line:
    """It finds its client cut off in each look, and notes when a broker was heard of."""

    due = True
    heards = 0

    def cut_off(self, *_: object) -> bool:
        return True

    def heard(self) -> None:
        self.heards += 1


class Maker:
    """Makes clients; at first none can be made, as while a file of certificates is being replaced."""

    def __init__(self) -> None:
        self.fails = True

    def __call__(self, *_: object) -> Any:
        if self.fails:
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG))
        return SimpleNamespace(poll=ignore, assign=ignore, list_topics=ignore)


def test_another_one_that_cannot_be_made_finds_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look says nothing, and does not end the thread; once another one is made, it counts from there."""
    monkeypatch.setattr(cut_off, "CHECK_S", 0.0)
    monkeypatch.setattr(cut_off, "AdminClient", maker := Maker())
    lifeline = Lifeline(dict)
    assert [lifeline.lost(lambda: False, "t") for _ in range(3)] == [False] * 3
    maker.fails = False
    assert [lifeline.lost(lambda: False, "t") for _ in range(2)] == [False, True]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """A connection's watch over scripted clients, that are all cut off."""
    monkeypatch.setattr(watching, "AdminClient", maker := Maker())
    maker.fails = False
    settings = Settings("kafka://h", {"client.id": "x"}, {}, 5.0, 1 << 20, "h:1")
    return Watch(settings, lambda _state, _reason: None)


def test_the_watch_goes_on_with_the_old_client(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next look tries again, and the new one begins without what was found of the old one."""
    monkeypatch.setattr(watching, "AdminClient", maker := Maker())
    old, line = watch.client, Line()
    watch._lifeline = line  # type: ignore[assignment]
    watch._mind_the_clients()
    assert (watch.client, line.heards) == (old, 0)
    maker.fails = False
    watch._mind_the_clients()
    assert watch.client is not old
    assert line.heards == 1


def test_the_watch_goes_on_with_the_old_reader(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for offsets meanwhile is given the one that is there, and no error of its making."""
    monkeypatch.setattr(watching, "Consumer", maker := Maker())
    maker.fails = False
    old, line = watch.reader("read_committed"), Line()
    watch._lifeline = SimpleNamespace(due=False)  # type: ignore[assignment]
    watch._lifelines["read_committed"] = line  # type: ignore[assignment]
    maker.fails = True
    watch._mind_the_clients()
    assert watch.reader("read_committed") is old
    maker.fails = False
    watch._mind_the_clients()
    assert watch.reader("read_committed") is not old
    assert line.heards == 1


def test_the_registry_goes_on_with_the_old_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read on by the old one until there is a new one, which begins where that was."""
    monkeypatch.setattr(registry, "Consumer", maker := Maker())
    made = Registry(SimpleNamespace(config=lambda _role: {}))  # type: ignore[arg-type]
    old: Any = SimpleNamespace()
    made._consumer, held = old, [old]
    assert not made._replace(held)
    assert (held, made._consumer) == ([old], old)
    maker.fails = False
    assert made._replace(held)
    assert held == [made._consumer] != [old]


def test_a_replay_goes_on_with_the_old_client() -> None:
    """What was reached stays, and the next look tries again."""
    made, maker = object.__new__(KafkaReplay), Maker()
    old: Any = SimpleNamespace()
    made._consumer, made._lifeline, made._name, made._topic = old, Line(), "t", "t"  # type: ignore[assignment]
    made._reader = maker  # type: ignore[method-assign]
    made._mind_the_client()
    assert made._consumer is old
    maker.fails = False
    made._mind_the_client()
    assert made._consumer is not old


def test_a_member_goes_on_with_the_old_client() -> None:
    """Its partitions are its own until there is another one."""
    made = object.__new__(GroupMember)
    old: Any = SimpleNamespace(consumer=None)
    made._client, made._lifeline = old, Line()  # type: ignore[assignment]
    made._topics = {"t": None}  # type: ignore[dict-item]
    made._spec = SimpleNamespace(group="g")  # type: ignore[assignment]

    def fail() -> Any:
        raise ConfigurationError("no such file")

    made._new_client = fail  # type: ignore[method-assign]
    made._mind_the_client()
    assert made._client is old
