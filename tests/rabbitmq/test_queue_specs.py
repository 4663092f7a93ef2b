"""Queues, exchanges and bindings to AMQP's arguments and back."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge.errors import InvalidSpec, Mismatch, Unsupported
from mqbridge.topology import Binding, Exchange, Queue, diff
from mqbridge_rabbitmq import queue_specs

QUEUES = [
    Queue("q"),
    Queue("q", max_attempts=1),
    Queue("q", max_attempts=5, message_ttl_s=0, expires_s=0.0001, max_length=7, max_bytes=8, single_active=True),
    Queue("q", overflow="drop-head", message_ttl_s=1.5),
    Queue("q", dead_letter=None),
    Queue("q", dead_letter=Queue("elsewhere", dead_letter=None)),
    Queue("q", dead_letter=Queue("d", dead_letter=None, physical_name="some physical name")),
    Queue("q", max_priority=9),
    Queue("q", type="classic", max_priority=200),
]


@pytest.mark.parametrize("queue", QUEUES, ids=repr)
def test_what_is_declared_reads_back_the_same(queue: Queue[Any]) -> None:
    """`ensure` of the same specification finds no difference."""
    arguments = queue_specs.queue_arguments(queue)
    read = queue_specs.read_queue("q", arguments, None, queue)
    differences = [one for one in diff(queue, read) if one[0] != "expires_s"]  # below a millisecond it is rounded up
    assert differences == []


def test_attempts_are_the_limit_and_one() -> None:
    """RabbitMQ counts redeliveries; and no limit is asked for, since the default drops after 20."""
    assert queue_specs.queue_arguments(Queue("q", max_attempts=3))["x-delivery-limit"] == 2
    assert queue_specs.queue_arguments(Queue("q"))["x-delivery-limit"] == -1
    foreign = queue_specs.read_queue("q", {"x-queue-type": "quorum"}, None, None)
    assert foreign.max_attempts is None  # 21 without a dead-letter queue: it would drop, which no Queue can say
    with_target = {"x-queue-type": "quorum", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "d"}
    assert queue_specs.read_queue("q", with_target, None, None).max_attempts == 21


def test_dead_letters_travel_at_least_once_where_they_can() -> None:
    """The strategy needs a quorum queue that rejects; with drop-head the broker would fall back silently."""
    assert queue_specs.queue_arguments(Queue("q"))["x-dead-letter-strategy"] == "at-least-once"
    assert "x-dead-letter-strategy" not in queue_specs.queue_arguments(Queue("q", overflow="drop-head"))
    assert "x-dead-letter-strategy" not in queue_specs.queue_arguments(Queue("q", type="classic"))


def test_a_policy_counts_too() -> None:
    """What an operator set by policy is part of what stands there; of two limits the smaller counts."""
    policy = {"message-ttl": 5000, "max-length": 3}
    read = queue_specs.read_queue("q", {"x-queue-type": "quorum", "x-max-length": 9}, policy, None)
    assert (read.message_ttl_s, read.max_length) == (5.0, 3)


def test_what_a_type_cannot_do_is_refused_before_anything_is_made() -> None:
    """Classic queues count no attempts, quorum queues have 32 priorities."""
    with pytest.raises(Unsupported, match="quorum"):
        queue_specs.queue_arguments(Queue("q", type="classic", max_attempts=3))
    with pytest.raises(InvalidSpec, match="31"):
        queue_specs.queue_arguments(Queue("q", max_priority=32))


def test_a_queue_that_no_specification_describes_is_a_mismatch_and_not_listed() -> None:
    """Made by others with an argument that a Queue refuses: it must not take the listing of all others with it."""
    arguments = {"x-max-length": 0}
    assert queue_specs.portable_queue("q", arguments, None) is None
    with pytest.raises(Mismatch) as caught:
        queue_specs.read_queue("q", arguments, None, Queue("q", max_length=5))
    assert caught.value.differences == (("max_length", 5, 0),)


@pytest.mark.parametrize("name", ["x.mqt-0", "g.x.mqg-12", "amq.gen-1", "", "sp ace"])
def test_queues_that_are_none_of_the_applications_are_not_listed(name: str) -> None:
    """Streams of topics, tokens of groups, the broker's own, and names that no Queue can have."""
    assert queue_specs.portable_queue(name, {}, None) is None


@pytest.mark.parametrize(
    "binding",
    [
        Binding(Exchange("e", type="topic"), Queue("q"), key="a.*"),
        Binding(Exchange("e", type="headers"), Queue("q"), headers={"a": "1", "b": None}, match="any"),
        Binding(Exchange("e", type="fanout"), Exchange("f")),
    ],
    ids=str,
)
def test_a_binding_reads_back_equal(binding: Binding) -> None:
    """`plan` compares bindings by value."""
    found = {
        "destination": binding.destination.name,
        "destination_type": binding.destination.kind,
        "routing_key": binding.key,
        "arguments": {
            name: "undefined" if value is None else value  # as the management API shows a void
            for name, value in queue_specs.binding_arguments(binding).items()
        },
    }
    assert queue_specs.read_binding(binding.exchange, found) == binding


def test_a_refused_declare_names_the_field() -> None:
    """The broker tells the first difference, in AMQP's words."""
    text = "inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received '5' but current is '7'"
    assert queue_specs.mismatch("queue:q", text).differences == (("max_length", "'5'", "'7'"),)
