"""A token's channel on the broker: how it is given up, and what others write into its queue."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.testing import wait_until
from mqbridge_rabbitmq.token_keeping import TokenKeeper
from mqbridge_rabbitmq.tokens import Collected, Owned, Token, encode
from tests.rabbitmq.topics import raw


def test_giving_up_sends_no_cancel(rabbit: mq.Bus, rabbitmq_url: str) -> None:
    """Channel.Close and nothing before it: after a cancel the next consumer is active while the token is still held."""
    connection: Any = rabbit._connection
    queue = f"{secrets.token_hex(4)}:t.mqg-0"
    sent: list[str] = []
    heard: list[object] = []

    def changed(effect: object) -> None:
        heard.append(effect)
        if isinstance(effect, Collected):
            keeper.claim(5, 1)

    def give_up() -> None:
        channel = keeper._channel
        send = channel._send_method

        def note(method: Any, *rest: Any) -> None:
            sent.append(type(method).__name__)
            send(method, *rest)

        channel._send_method = note
        keeper.close()

    keeper = TokenKeeper(connection.asking, queue, "m", 10.0, changed)
    try:
        connection.loop.call(keeper.open)
        wait_until(lambda: any(isinstance(effect, Owned) for effect in heard))
        connection.loop.call(give_up)
        wait_until(lambda: sent)
        assert sent == ["Close"]
        assert [token["offset"] for token in raw.tokens(rabbitmq_url, queue)] == [5]
    finally:
        with raw.channel(rabbitmq_url) as ch:
            ch.queue_delete(queue)


def test_what_a_stale_owner_writes_late_changes_nothing(
    rabbit: mq.Bus, rabbitmq_url: str, make_topic: Callable[..., mq.Topic[bytes]], group: str
) -> None:
    """A token that reaches the queue after another member took over is thrown away by that one, who goes on."""
    topic = make_topic()
    with rabbit.producer() as producer:
        producer.send_many(topic, [b"x"] * 10)
    queue = f"{group}:{topic.name}.mqg-0"
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as first:
        first.poll(1, timeout=10)[0].ack()
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as heir:
        heir.wait_assigned(10)
        with raw.channel(rabbitmq_url) as ch:
            for late in (Token(1, 99, 8, 1, "stale"), Token(2, 99, 9, 1, "stale")):
                ch.basic_publish("", queue, encode(late), mandatory=True)
        got = heir.poll(2, timeout=10)
        for delivery in got:
            delivery.ack()
        heir.commit(10)
        assert heir.committed() == {(topic.name, 0): 1 + len(got)}
    [token] = raw.tokens(rabbitmq_url, queue)
    assert (token["epoch"], token["offset"]) == (2, 1 + len(got))


def test_a_token_that_nobody_understands_stops_the_group(
    rabbit: mq.Bus, rabbitmq_url: str, make_topic: Callable[..., mq.Topic[bytes]], group: str
) -> None:
    """It may be of a newer version: refused, and still there, where beginning anew would skip or repeat."""
    topic = make_topic()
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        consumer.wait_assigned(10)
    queue = f"{group}:{topic.name}.mqg-0"
    with raw.channel(rabbitmq_url) as ch:
        ch.basic_publish("", queue, b'{"v": 99}', mandatory=True)
    with rabbit.consumer(topic, group=group, start=mq.EARLIEST) as consumer, pytest.raises(mq.Rejected, match="99"):
        consumer.wait_assigned(10)
    assert {"v": 99} in raw.tokens(rabbitmq_url, queue)
