"""The types that a user of the API sees; mypy --strict must agree with every line, and the ignores must be needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_type

import mqbridge as mq


@dataclass
class Order:
    number: int


class OrderCodec:
    name = "order"

    def encode(self, value: Order, /) -> bytes:
        return str(value.number).encode()

    def decode(self, data: bytes, /) -> Order:
        return Order(int(data))


def destinations() -> None:
    """Without a codec a destination is of bytes, with one it is of what the codec takes and gives."""
    assert_type(mq.Topic("t"), mq.Topic[bytes])
    assert_type(mq.Queue("q", max_attempts=3), mq.Queue[bytes])
    assert_type(mq.Topic("t", codec=OrderCodec()), mq.Topic[Order])
    assert_type(mq.Queue("q", codec=mq.codecs.text), mq.Queue[str])
    assert_type(mq.Topic("t", codec=mq.codecs.json), mq.Topic[Any])
    assert_type(mq.parse("topic:t"), mq.Topic[bytes] | mq.Queue[bytes] | mq.Exchange)
    mq.Topic("t", 6)  # type: ignore[call-overload]  # options are named
    mq.Topic("t", codec=mq.codecs)  # type: ignore[arg-type]  # a module is no codec


def sending(bus: mq.Bus, orders: mq.Topic[Order], words: mq.Queue[str], events: mq.Exchange) -> None:
    """A value of another type than the destination's is refused; None is the null value."""
    with bus.producer() as producer:
        receipt = producer.send(orders, Order(1), key="k")
        assert_type(receipt, mq.Receipt)
        assert_type(receipt.result(), mq.Confirmation)
        assert_type(receipt.result().offset, int | None)
        assert_type(producer.try_send(words, "x"), mq.Receipt | None)
        producer.send(orders, None)
        producer.send(events, b"x", routing_key="a.b")
        assert_type(producer.send_many(orders, [Order(1), mq.Message(Order(2)), None]), mq.BatchReceipt)
        producer.send("orders", Order(1))  # type: ignore[arg-type]  # objects, never strings
        producer.send(orders, Order(1), key=7)  # type: ignore[arg-type]
        bus.producer(acks="some")  # type: ignore[arg-type]


def receiving(bus: mq.Bus, orders: mq.Topic[Order], words: mq.Queue[str]) -> None:
    """The type of the destination flows to the deliveries, by every way of getting them."""
    consumer = bus.consumer(orders, group="g", start=mq.EARLIEST)
    assert_type(consumer, mq.TopicConsumer[Order])
    assert_type(consumer.poll(), list[mq.Delivery[Order]])
    for delivery in consumer.stream(idle_timeout_s=1):
        assert_type(delivery, mq.Delivery[Order])
        assert_type(delivery.value, Order)
        assert_type(delivery.raw, bytes | None)
        assert_type(delivery.key, bytes | None)
    for delivery in consumer:
        assert_type(delivery.value.number, int)
    several: Sequence[mq.Topic[Order]] = [orders, orders]
    assert_type(bus.consumer(several, group="g", start=mq.EARLIEST), mq.TopicConsumer[Order])
    consumer.seek(orders, 0, 5)
    assert_type(bus.replay(orders, mq.EARLIEST), mq.Replay[Order])
    for replayed in bus.replay(orders, mq.EARLIEST, mq.NOW):
        assert_type(replayed.value, Order)

    workers = bus.consumer(words, prefetch=5)
    assert_type(workers, mq.QueueConsumer[str])
    assert_type(workers.poll()[0].value, str)
    workers.seek(orders, 0, 5)  # type: ignore[attr-defined]  # a queue has no places to seek
    workers.pause()  # type: ignore[attr-defined]
    workers.committed()  # type: ignore[attr-defined]


def wrong_options(bus: mq.Bus, orders: mq.Topic[Order], words: mq.Queue[str]) -> None:
    """Options of one kind of consumer are not options of the other, and start is mandatory."""
    bus.consumer(orders, group="g")  # type: ignore[call-overload]
    bus.consumer(orders, start=mq.EARLIEST)  # type: ignore[call-overload]
    bus.consumer(orders, group="g", start=mq.EARLIEST, prefetch=5)  # type: ignore[call-overload]
    bus.consumer(words, group="g")  # type: ignore[call-overload]
    bus.consumer(words, ack="auto")  # type: ignore[call-overload]


def handling(bus: mq.Bus, orders: mq.Topic[Order]) -> None:
    """A handler of another type is refused; contexts keep their type."""

    def handle(delivery: mq.Delivery[Order]) -> None:
        delivery.ack()

    def other(delivery: mq.Delivery[str]) -> None:
        delivery.ack()

    with bus.consumer(orders, group="g", start=mq.EARLIEST) as consumer:
        assert_type(consumer, mq.TopicConsumer[Order])
        assert_type(consumer.run(handle, workers=2, order="key"), mq.RunStats)
        consumer.run(other)  # type: ignore[arg-type]
        consumer.run(handle, order="random")  # type: ignore[arg-type]
