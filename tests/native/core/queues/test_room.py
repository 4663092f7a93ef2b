"""The room: making, describing and deleting queues, and arguments that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge import errors
from tests.native.core.queues.house import House, records


@pytest.fixture
def house() -> House:
    return House()


def test_create_reports_the_whole_specification_and_what_exists(house: House) -> None:
    """Defaults are filled in; a second creation changes nothing and reports the first one's."""
    spec = {
        "max_attempts": 4,
        "dead_letter": "q.dlq",
        "message_ttl_s": 1.5,
        "expires_s": 60,
        "max_length": 10,
        "max_bytes": 1000,
        "overflow": "drop-head",
        "max_priority": 5,
        "single_active": True,
        "retry_backoff": {"first_delay_s": 1.0, "multiplier": 2.0, "max_delay_s": 8.0},
        "type": "classic",
    }
    assert house.queue("q", **spec) == {"created": True, "spec": spec}
    assert house.queue("q") == {"created": False, "spec": spec}
    assert house.call("list_queues")["queues"] == [{"name": "q", "spec": spec}]
    assert house.crash().call("list_queues")["queues"] == [{"name": "q", "spec": spec}]
    plain = house.queue("plain", message_ttl_s=None)["spec"]
    assert plain == dict.fromkeys(spec) | {
        "overflow": "reject",
        "single_active": False,
        "type": "quorum",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_attempts", 0),
        ("max_attempts", 1.5),
        ("max_length", True),
        ("max_bytes", -1),
        ("max_priority", 256),
        ("message_ttl_s", -1),
        ("message_ttl_s", float("inf")),
        ("message_ttl_s", "1"),
        ("expires_s", 0),
        ("overflow", "drop"),
        ("type", "stream"),
        ("single_active", 1),
        ("dead_letter", "q"),
        ("dead_letter", 7),
        ("retry_backoff", 5),
        ("retry_backoff", {"first_delay_s": -1}),
        ("retry_backoff", {"jitter": 0.5}),
        ("colour", "red"),
    ],
)
def test_an_impossible_specification_names_its_field(house: House, field: str, value: Any) -> None:
    """InvalidSpec before anything is written; infinity is no duration."""
    with pytest.raises(errors.InvalidSpec) as caught:
        house.room.ops["create_queue"](1, {"name": "q", "spec": {field: value}}, [], house.now)
    assert caught.value.field == field
    assert house.store.history == []


def test_a_limit_of_attempts_needs_a_dead_letter_queue(house: House) -> None:
    """Otherwise it would drop."""
    with pytest.raises(errors.InvalidSpec, match="dropped"):
        house.queue("q", max_attempts=3)


@pytest.mark.parametrize("name", ["", "a b", "-a", "x.mqq", "a/b", 7, None])
def test_names_are_portable(house: House, name: Any) -> None:
    """What could not be a queue on another engine, or a file, is refused."""
    with pytest.raises(errors.ConfigurationError):
        house.call("create_queue", name=name)


def test_describe_counts_each_state(house: House) -> None:
    """Ready, unsettled, delayed, blocked, consumers, and bytes of all values."""
    house.queue("q", dead_letter="later", message_ttl_s=10)
    house.send("q", b"dies")
    house.advance(5)
    house.send("q", b"held", b"ready")
    house.send("q", b"delayed", delay_ms=60_000)
    consumer = house.consume("q", prefetch=2)
    tags = house.take(consumer).tags
    house.take(consumer, 0, [("return", tags[0])])
    house.advance(5)
    found = house.call("describe_queue", name="q")
    del found["spec"]
    assert found == {
        "name": "q",
        "ready": 1,
        "unsettled": 1,
        "delayed": 1,
        "blocked": 1,
        "consumers": 1,
        "size_bytes": len(b"dies" + b"held" + b"ready" + b"delayed"),
    }


def test_a_deleted_queue_is_gone_with_its_messages_and_tells_its_consumers(house: House) -> None:
    """Its consumers hear of it and are unknown; a queue of the same name is empty, after a restart too."""
    house.queue("q")
    house.send("q", b"a", b"b")
    consumer = house.consume("q", prefetch=1)
    house.take(consumer)
    house.call("delete_queue", name="q")
    assert house.told() == [(1, "cancelled", consumer)]
    with pytest.raises(errors.NotFound):
        house.take(consumer)
    with pytest.raises(errors.NotFound):
        house.call("describe_queue", name="q")
    house.room.close_session(1, False, house.now)
    house.queue("q")
    assert house.counts("q") == (0, 0, 0)
    assert house.crash().counts("q") == (0, 0, 0)


def test_messages_of_a_half_deleted_queue_do_not_come_back(house: House) -> None:
    """The host died after topology said that the queue is gone and before its journal was removed."""
    house.queue("q")
    house.send("q", b"old")
    house.call("delete_queue", name="q")
    assert house.store.history[-1].entries is None
    life = house.crash(len(house.store.history) - 1)
    assert life.call("list_queues")["queues"] == []
    life.queue("q")
    assert life.counts("q") == (0, 0, 0)
    assert life.crash().counts("q") == (0, 0, 0)


def test_an_unused_queue_that_cannot_be_noted_as_deleted_stays_for_now(house: House) -> None:
    """A full disk at the end of a queue's time is reported, holds up no other queue, and is tried again."""
    house.queue("idle", expires_s=5)
    house.queue("other")
    house.send("other", b"a", delay_ms=5000)
    house.store.room_for = 0
    with pytest.raises(errors.Rejected):
        house.advance(5)
    assert house.counts("other") == (1, 0, 0)
    deadline = house.room.next_deadline(house.now)
    assert deadline is not None
    assert deadline > house.now.mono_s
    house.store.room_for = None
    house.advance(0.01)
    assert [queue["name"] for queue in house.call("list_queues")["queues"]] == ["other"]


@pytest.mark.parametrize(
    "op", ["delete_queue", "describe_queue", "purge_queue", "enqueue", "consume", "browse", "move"]
)
def test_a_missing_queue_is_not_found(house: House, op: str) -> None:
    """Nothing is made by naming it."""
    field: Any = "name" if op.endswith("_queue") else "queue"
    with pytest.raises(errors.NotFound):
        house.call(op, [records(b"a")], 1, **{field: "nowhere"})
    assert house.store.history == []


@pytest.mark.parametrize("batches", [0, 2])
def test_enqueue_takes_one_batch(house: House, batches: int) -> None:
    """None or several are a wrong call."""
    house.queue("q")
    with pytest.raises(errors.ConfigurationError):
        house.call("enqueue", [records(b"a")] * batches, queue="q")


def test_an_empty_batch_is_no_entry(house: House) -> None:
    """Sending nothing writes nothing."""
    house.queue("q")
    before = len(house.store.history)
    assert house.send("q") == {}
    assert len(house.store.history) == before


def test_a_room_at_rest_waits_for_nothing(house: House) -> None:
    """No deadline with no delays, lifetimes, blocked letters or notes under way; ticking changes nothing."""
    house.queue("q")
    house.send("q", b"a")
    house.take(house.consume("q"), watch=True)
    house.advance(100)
    assert house.room.next_deadline(house.now) is None
    assert house.counts("q") == (0, 1, 0)


def test_tags_and_consumers_of_an_earlier_life_fit_nothing(house: House) -> None:
    """Numbers of a later epoch are above all of an earlier one."""
    house.queue("q")
    house.send("q", b"a")
    consumer = house.consume("q")
    (tag,) = house.take(consumer).tags
    life = house.crash()
    assert life.consume("q") > consumer
    with pytest.raises(errors.NotFound):
        life.take(consumer)
    assert life.take(life.consume("q")).tags[0] > tag
