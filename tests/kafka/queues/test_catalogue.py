"""The registry's records and the routes they make, without a broker."""

from __future__ import annotations

import pytest

import mqbridge as mq
from mqbridge.errors import ConnectionLost, Rejected
from mqbridge_kafka import catalogue as cat
from mqbridge_kafka.exchanges import FanOut


def _state(*records: tuple[str, cat.Record | None]) -> cat.Catalogue:
    state = cat.Catalogue()
    for key, record in records:
        state.apply(key, cat.encode(record))
    return state


def _queue(name: str, born: str = "1") -> tuple[str, cat.Record]:
    return cat.QUEUE + name, cat.queue_record(mq.Queue(name), born)


def _exchange(exchange: mq.Exchange, born: str = "1") -> tuple[str, cat.Record]:
    return cat.EXCHANGE + exchange.name, cat.exchange_record(exchange, born)


def _binding(binding: mq.Binding, source: str = "1", end: str = "1") -> tuple[str, cat.Record]:
    return cat.binding_key(binding), cat.binding_record(binding, source, end)


X = mq.Exchange("x", type="topic")
Q = mq.Queue("q")


def test_specifications_survive_the_registry() -> None:
    """What is read back differs in nothing from what was written."""
    queue = mq.Queue("q", max_attempts=3, message_ttl_s=2.5, dead_letter=mq.Queue("d", dead_letter=None))
    exchange = mq.Exchange("x", type="headers", alternate=mq.Exchange("y"))
    from mqbridge.topology import diff

    assert diff(queue, cat.read_queue("q", cat.queue_record(queue, "1"))) == ()
    assert diff(exchange, cat.read_exchange("x", cat.exchange_record(exchange, "1"))) == ()


def test_a_route_goes_to_the_queues_own_topic() -> None:
    """Also where the queue has a physical name."""
    queue = mq.Queue("q", physical_name="legacy")
    state = _state((cat.QUEUE + "q", cat.queue_record(queue, "1")), _exchange(X), _binding(mq.Binding(X, Q, key="a.#")))
    assert state.route("x", "a.b", None) == (cat.Route("q", "legacy"),)
    assert state.route("x", "b", None) == ()
    assert state.route("y", "b", None) is None


def test_the_first_creator_wins_until_it_is_deleted() -> None:
    """A later record with another birth mark is not taken; after a tombstone it is."""
    fanout = mq.Exchange("x", type="fanout")
    state = _state(_exchange(X, "1"), _exchange(fanout, "2"))
    assert state.exchanges["x"]["type"] == "topic"
    state = _state(_exchange(X, "1"), (cat.EXCHANGE + "x", None), _exchange(fanout, "2"))
    assert state.exchanges["x"]["type"] == "fanout"


@pytest.mark.parametrize(("source", "end"), [("0", "1"), ("1", "0")])
def test_a_binding_of_a_namesake_routes_nothing(source: str, end: str) -> None:
    """One that was made for an exchange or a queue that went says nothing about the one that came."""
    state = _state(_queue("q"), _exchange(X), _binding(mq.Binding(X, Q, key="k"), source, end))
    assert state.route("x", "k", None) == ()
    assert state.bindings_of(X) == ()


def test_a_binding_may_be_read_before_its_ends() -> None:
    """Compaction may leave records in any order; the state is the same."""
    records = [_queue("q"), _exchange(X), _binding(mq.Binding(X, Q, key="k"))]
    assert _state(*records).route("x", "k", None) == _state(*reversed(records)).route("x", "k", None) != ()


def test_each_binding_has_a_key_of_its_own() -> None:
    """Key, headers, match and destination make a binding: none overwrites another."""
    bindings = [
        mq.Binding(X, Q, key="a"),
        mq.Binding(X, Q, key="b"),
        mq.Binding(X, mq.Queue("r"), key="a"),
        mq.Binding(X, mq.Exchange("q"), key="a"),
        mq.Binding(X, Q, headers={"a": "1"}),
        mq.Binding(X, Q, headers={"a": None}),
        mq.Binding(X, Q, headers={"a": "1"}, match="any"),
    ]
    assert len({cat.binding_key(binding) for binding in bindings}) == len(bindings)
    assert cat.binding_key(mq.Binding(X, Q, headers={"a": "1", "b": "2"})) == cat.binding_key(
        mq.Binding(X, Q, headers={"b": "2", "a": "1"})
    )


def test_what_a_later_version_wrote_is_passed_over() -> None:
    """Nonsense, and kinds that are not known, change nothing."""
    state = _state(_queue("q"))
    state.apply(cat.QUEUE + "q", b"\xff nonsense")
    state.apply("policy:p", b"{}")
    state.apply(cat.QUEUE + "q", b"[]")
    assert set(state.queues) == {"q"}


def _end(fan_out: FanOut, *answers: tuple[str, mq.MqbridgeError | None]) -> mq.MqbridgeError | None:
    ended = [fan_out.end(queue, error) for queue, error in answers]
    assert ended == [False] * (len(answers) - 1) + [True]
    return fan_out.verdict()


def test_a_fan_out_is_not_applied_only_if_no_queue_has_it() -> None:
    """All confirmed is none's failure, all refused is not_applied, anything between is unknown and names both sides."""
    refused, lost = Rejected("too large"), ConnectionLost("gone")
    assert _end(FanOut(X, 0, 2), ("a", None), ("b", None)) is None
    assert _end(FanOut(X, 0, 2), ("a", refused), ("b", refused)) is refused
    partial = _end(FanOut(X, 0, 3), ("a", None), ("b", refused), ("c", lost))
    assert partial is not None
    assert (partial.outcome, vars(partial)["applied"], vars(partial)["failed"]) == ("unknown", ("a",), ("b", "c"))
    unsure = _end(FanOut(X, 0, 2), ("a", refused), ("b", lost))
    assert unsure is not None
    assert (unsure.outcome, unsure.retryable) == ("unknown", False)
