"""A broker that is killed under traffic, on a Kafka of the run's own."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

import mqbridge as mq
from mqbridge_conformance.brokers.servers import Broker
from tests.kafka.queues.raw import fresh_name, until


@pytest.mark.timeout(240)
def test_a_killed_broker_loses_nothing_that_was_confirmed(kafka_broker: Broker) -> None:
    """Senders and consumers go on by themselves; what was confirmed, before, during or after, is consumed."""
    confirmed: set[int] = set()
    seen: Counter[int] = Counter()
    stop = threading.Event()
    queue = mq.Queue(fresh_name(), max_attempts=5)
    with mq.connect(kafka_broker.url) as bus:
        bus.admin.ensure(queue)
        receipts: dict[int, mq.Receipt] = {}

        def send() -> None:
            with bus.producer() as producer:
                number = 0
                while not stop.wait(0.005):
                    receipts[number] = producer.send(queue, b"%d" % number)
                    number += 1
                for number, receipt in receipts.items():
                    if receipt.exception(30) is None:
                        confirmed.add(number)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            with bus.consumer(queue, prefetch=20) as consumer:

                def eat(more: int) -> None:
                    wanted = len(seen) + more

                    def eaten() -> bool:
                        for delivery in consumer.poll(timeout=0.2):
                            seen[int(delivery.value)] += 1
                            delivery.ack()
                        return len(seen) >= wanted

                    until(eaten, f"{more} more messages", 120.0)

                eat(100)
                kafka_broker.kill()
                kafka_broker.start()
                eat(200)
                stop.set()
                sender.join(60)

                def all_there() -> bool:
                    for delivery in consumer.poll(timeout=0.2):
                        seen[int(delivery.value)] += 1
                        delivery.ack()
                    return confirmed <= set(seen)

                until(all_there, "everything that was confirmed", 60.0)
        finally:
            stop.set()
            sender.join(60)
    assert len(confirmed) > 200
