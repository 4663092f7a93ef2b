"""Exchanges: routing of every type into queues, alternates, exchanges bound to exchanges, refusals, durability."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge import errors
from tests.native.core.queues.house import House, records


@pytest.fixture
def house() -> House:
    made = House()
    for name in ("one", "two", "three"):
        made.queue(name)
    return made


def exchange(house: House, name: str, kind: str = "direct", alternate: str | None = None) -> None:
    house.call("create_exchange", name=name, spec={"type": kind, "alternate": alternate})


def bind(house: House, source: str, destination: str, key: str = "", kind: str = "queue", **terms: Any) -> Any:
    return house.call("bind", exchange=source, destination=[kind, destination], key=key, **terms)["bound"]


def contents(house: House) -> dict[str, list[bytes | None]]:
    return {name: [got.value for got in house.drain(name)] for name in ("one", "two", "three")}


def test_direct(house: House) -> None:
    """Equal keys, to all queues bound with them; another key is unroutable."""
    exchange(house, "x")
    bind(house, "x", "one", "a")
    bind(house, "x", "two", "a")
    bind(house, "x", "three", "b")
    assert house.publish("x", b"v", routing_key="a") == {}
    refused = house.publish("x", b"v", routing_key="A")
    assert refused["0"]["code"] == "unroutable"
    assert contents(house) == {"one": [b"v"], "two": [b"v"], "three": []}


def test_fanout_ignores_the_key_and_makes_one_copy_a_queue(house: House) -> None:
    """A queue bound twice gets one message."""
    exchange(house, "x", "fanout")
    for queue, key in (("one", ""), ("one", "again"), ("three", "")):
        bind(house, "x", queue, key)
    assert house.publish("x", b"v", b"w", routing_key="whatever") == {}
    assert house.publish("x", b"z") == {}
    assert contents(house) == {"one": [b"v", b"w", b"z"], "two": [], "three": [b"v", b"w", b"z"]}


def test_topic(house: House) -> None:
    """A star is a word, a hash any number of them."""
    exchange(house, "x", "topic")
    bind(house, "x", "one", "order.*")
    bind(house, "x", "two", "order.#")
    bind(house, "x", "three", "#.paid")
    for key in ("order", "order.new", "order.eu.paid"):
        assert house.publish("x", key.encode(), routing_key=key) == {}
    assert contents(house) == {
        "one": [b"order.new"],
        "two": [b"order", b"order.new", b"order.eu.paid"],
        "three": [b"order.eu.paid"],
    }


def test_headers(house: House) -> None:
    """All or any of the binding's headers; null asks only that the header is there."""
    exchange(house, "x", "headers")
    bind(house, "x", "one", headers={"kind": "order", "region": "eu"}, match="all")
    bind(house, "x", "two", headers={"kind": "order", "urgent": None}, match="any")
    house.publish("x", b"1", headers={"kind": b"order", "region": b"eu"})
    house.publish("x", b"2", headers={"urgent": b""})
    assert "0" in house.publish("x", b"3", headers={"region": b"eu"})
    assert contents(house) == {"one": [b"1"], "two": [b"1", b"2"], "three": []}


def test_alternate_takes_what_nothing_matches(house: House) -> None:
    """It fires per exchange, for what its own bindings do not match; that is a route, and no error."""
    exchange(house, "rest", "fanout")
    exchange(house, "x", "direct", alternate="rest")
    bind(house, "x", "one", "a")
    assert house.publish("x", b"lost", routing_key="b")["0"]["code"] == "unroutable"
    bind(house, "rest", "three")
    assert house.publish("x", b"a", routing_key="a") == {}
    assert house.publish("x", b"b", routing_key="b") == {}
    assert contents(house) == {"one": [b"a"], "two": [], "three": [b"b"]}


def test_exchanges_bound_in_a_circle(house: House) -> None:
    """Copies arrive once, and routing ends."""
    for name in ("x", "y"):
        exchange(house, name, "fanout")
    bind(house, "x", "y", kind="exchange")
    bind(house, "y", "x", kind="exchange")
    bind(house, "x", "one")
    bind(house, "y", "one")
    bind(house, "y", "two")
    assert house.publish("x", b"v") == {}
    assert contents(house) == {"one": [b"v"], "two": [b"v"], "three": []}


def test_each_record_of_a_batch_is_routed_for_itself(house: House) -> None:
    """Keys differ inside a batch; the unroutable ones are named by index, the others keep their order."""
    exchange(house, "x")
    bind(house, "x", "one", "a")
    bind(house, "x", "two", "b")
    parts = [records(key.encode(), routing_key=key) for key in ("a", "none", "b", "a")]
    rows = [part.headers[0] for part in parts if part.headers]
    batch = type(parts[0])([None] * 4, [b"0", b"1", b"2", b"3"], rows, [1, 2, 3, 4])
    refused = house.call("publish", [batch], exchange="x")["errors"]
    assert {index: refusal["code"] for index, refusal in refused.items()} == {"1": "unroutable"}
    assert contents(house) == {"one": [b"0", b"3"], "two": [b"2"], "three": []}


def test_one_full_queue_is_an_error_that_says_what_others_did(house: House) -> None:
    """As on RabbitMQ a refusal by one queue is the record's, though others keep it; and the text says that."""
    house.queue("small", max_length=1)
    exchange(house, "x", "fanout")
    bind(house, "x", "one")
    bind(house, "x", "small")
    assert list(house.publish("x", b"a", b"b")) == ["1"]
    refusal = house.publish("x", b"c")["0"]
    assert refusal["code"] == "rejected"
    assert "other queues" in refusal["message"]
    assert contents(house)["one"] == [b"a", b"b", b"c"]


def test_a_failing_disk_after_the_first_queue_is_an_unknown_outcome(house: House) -> None:
    """Before the first queue took its copy nothing is applied; after it that is not claimed."""
    exchange(house, "x", "fanout")
    bind(house, "x", "one")
    bind(house, "x", "two")
    for room, outcome in ((0, "not_applied"), (1, "unknown")):
        house.store.room_for = room
        with pytest.raises(errors.Rejected) as caught:
            house.publish("x", b"v")
        assert caught.value.outcome == outcome
    house.store.room_for = None
    assert contents(house) == {"one": [b"v"], "two": [], "three": []}


def test_publishing_to_a_missing_exchange_is_not_found(house: House) -> None:
    """Sending creates nothing."""
    with pytest.raises(errors.NotFound):
        house.publish("nowhere", b"v")
    with pytest.raises(errors.NotFound):
        house.send("nowhere", b"v")


def test_unbind_and_deletions_end_routes(house: House) -> None:
    """A binding goes alone, with its queue, or with an exchange at either end; a queue made anew is not bound."""
    for name in ("x", "y"):
        exchange(house, name, "fanout")
    bind(house, "x", "one")
    bind(house, "x", "two")
    bind(house, "x", "y", kind="exchange")
    bind(house, "y", "three")
    assert house.call("unbind", exchange="x", destination=["queue", "one"])["unbound"] is True
    assert house.call("unbind", exchange="x", destination=["queue", "one"])["unbound"] is False
    house.call("delete_queue", name="two")
    house.queue("two")
    house.publish("x", b"v")
    house.call("delete_exchange", name="y")
    assert "0" in house.publish("x", b"w")
    assert contents(house) == {"one": [], "two": [], "three": [b"v"]}
    with pytest.raises(errors.NotFound):
        house.call("delete_exchange", name="y")


def test_bindings_are_listed_and_equal_ones_are_one(house: House) -> None:
    """The same binding twice is one; header order does not matter; what was bound is what is listed."""
    exchange(house, "x", "headers")
    assert bind(house, "x", "one", headers={"b": "\u00f6", "a": None}, match="any") is True
    assert bind(house, "x", "one", headers={"a": None, "b": "\u00f6"}, match="any") is False
    assert house.call("list_bindings", exchange="x")["bindings"] == [
        {
            "exchange": "x",
            "destination": ["queue", "one"],
            "key": "",
            "headers": {"a": None, "b": "\u00f6"},
            "match": "any",
        }
    ]


def test_create_exchange_reports_what_exists(house: House) -> None:
    """The second creation changes nothing and shows the first one's specification."""
    exchange(house, "x", "topic", alternate="rest")
    again = house.call("create_exchange", name="x", spec={"type": "fanout"})
    assert again == {"created": False, "spec": {"type": "topic", "alternate": "rest"}}
    assert house.call("list_exchanges")["exchanges"] == [{"name": "x", "spec": again["spec"]}]


@pytest.mark.parametrize(
    ("op", "args", "error"),
    [
        ("create_exchange", {"name": "bad name"}, errors.InvalidSpec),
        ("create_exchange", {"name": "y", "spec": {"type": "ring"}}, errors.InvalidSpec),
        ("create_exchange", {"name": "y", "spec": {"kind": "direct"}}, errors.ConfigurationError),
        ("create_exchange", {"name": "y", "spec": {"alternate": 1}}, errors.ConfigurationError),
        ("bind", {"exchange": "y", "destination": ["queue", "one"]}, errors.NotFound),
        ("bind", {"exchange": "x", "destination": ["queue", "none"]}, errors.NotFound),
        ("bind", {"exchange": "x", "destination": ["exchange", "none"]}, errors.NotFound),
        ("bind", {"exchange": "x", "destination": "one"}, errors.ConfigurationError),
        ("bind", {"exchange": "x", "destination": ["queue", "one"], "key": "#.#.#"}, errors.InvalidSpec),
        ("bind", {"exchange": "x", "destination": ["queue", "one"], "match": "some"}, errors.InvalidSpec),
        ("bind", {"exchange": "x", "destination": ["queue", "one"], "headers": {"a": 1}}, errors.ConfigurationError),
        ("list_bindings", {"exchange": "y"}, errors.NotFound),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    house: House, op: str, args: dict[str, Any], error: type[errors.MqbridgeError]
) -> None:
    """Topology's journal holds only what replays."""
    exchange(house, "x", "topic")
    before = len(house.store.history)
    with pytest.raises(error):
        house.call(op, **args)
    assert len(house.store.history) == before


def test_a_failed_write_binds_nothing(house: House) -> None:
    """What topology could not note is not there."""
    exchange(house, "x", "fanout")
    house.store.room_for = 0
    for call in (lambda: bind(house, "x", "one"), lambda: exchange(house, "y"), lambda: house.queue("new")):
        with pytest.raises(errors.Rejected):
            call()
    house.store.room_for = None
    assert "0" in house.publish("x", b"v")
    assert [one["name"] for one in house.call("list_exchanges")["exchanges"]] == ["x"]
    assert len(house.call("list_queues")["queues"]) == 3


def test_topology_survives(house: House) -> None:
    """Replayed from its entries, or from a snapshot of them, the room routes as before."""
    exchange(house, "rest", "fanout")
    exchange(house, "x", "topic", alternate="rest")
    exchange(house, "h", "headers")
    bind(house, "x", "one", "a.*")
    bind(house, "x", "two", "b")
    bind(house, "x", "two", "went.with.its.queue")
    bind(house, "rest", "three")
    bind(house, "h", "one", headers={"k": None}, match="any-with-x")
    house.call("unbind", exchange="x", destination=["queue", "two"], key="b")
    house.call("delete_queue", name="two")
    again = house.crash()
    snapshot = list(house.room.snapshot_meta())
    assert list(again.room.snapshot_meta()) == snapshot
    fresh = House()
    for entry in snapshot:
        fresh.topology.append(entry)
    for life in (again, fresh.crash()):
        assert list(life.room.snapshot_meta()) == snapshot
        assert life.publish("x", b"v", routing_key="a.b") == {}
        assert life.publish("x", b"w", routing_key="b") == {}
        assert [got.value for got in life.drain("one")] == [b"v"]
        assert [got.value for got in life.drain("three")] == [b"w"]
