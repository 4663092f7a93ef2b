"""The broker restarts under producers and consumers: all of them go on by themselves, and nothing confirmed is lost."""

from __future__ import annotations

import secrets
import threading
import time

import pytest

import mqbridge as mq
from mqbridge_conformance.brokers.servers import Broker


def test_nothing_confirmed_is_lost_by_a_restart(rabbitmq_broker: Broker) -> None:
    """Sends under way end confirmed or failed; the consumer takes over again and sees every confirmed record."""
    topic, group = mq.Topic(f"t-{secrets.token_hex(4)}", partitions=3), f"g-{secrets.token_hex(4)}"
    with mq.connect(rabbitmq_broker.url) as bus:
        bus.admin.ensure(topic)
        receipts: list[mq.Receipt] = []
        stop = threading.Event()

        def produce() -> None:
            with bus.producer(delivery_timeout_s=60) as producer:
                number = 0
                while not stop.wait(0.002):
                    receipts.append(producer.send(topic, b"%d" % number, key=b"%d" % (number % 7)))
                    number += 1
                for receipt in receipts:
                    receipt.exception(60)

        sending = threading.Thread(target=produce)
        sending.start()
        seen: set[int] = set()
        lost: list[object] = []
        with bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
            consumer.on_lost(lost.append)

            def read_until(count: int, within_s: float) -> None:
                until_s = time.monotonic() + within_s
                while len(seen) < count and time.monotonic() < until_s:
                    for delivery in consumer.poll(timeout=0.5):
                        seen.add(int(delivery.raw or b"-1"))
                        delivery.ack()

            read_until(200, 20)
            rabbitmq_broker.restart()
            before = len(seen)
            read_until(before + 200, 40)
            assert len(seen) >= before + 200
            stop.set()
            sending.join(60)
            confirmed = {number for number, receipt in enumerate(receipts) if receipt.exception(0) is None}
            read_until(len(receipts), 5)
            assert lost
            missing = confirmed - seen
        assert not missing, f"{len(missing)} confirmed records were not seen, the first {sorted(missing)[:5]}"
        outcomes = {error.outcome for receipt in receipts if (error := receipt.exception(0)) is not None}
        assert outcomes <= {"not_applied", "unknown"}
        bus.admin.delete(topic)


def test_an_alarm_ends_no_lease(rabbitmq_broker: Broker) -> None:
    """While the broker takes nothing, records are read on and commits wait; then they are written, in one lease."""
    topic, group = mq.Topic(f"t-{secrets.token_hex(4)}"), f"g-{secrets.token_hex(4)}"
    lost: list[object] = []
    with mq.connect(rabbitmq_broker.url) as bus:
        bus.admin.ensure(topic)
        with bus.producer() as producer:
            producer.send_many(topic, [b"%d" % number for number in range(3000)])
        with bus.consumer(topic, group=group, start=mq.EARLIEST, session_timeout_s=2.0) as consumer:
            consumer.on_lost(lost.append)
            got = consumer.poll(100, timeout=10)
            rabbitmq_broker.exec("rabbitmqctl", "set_vm_memory_high_watermark", "absolute", "1MB")
            try:
                for delivery in got:
                    delivery.ack()
                with pytest.raises(mq.OperationTimeout):
                    consumer.commit(4.0)  # twice the session timeout
                while len(got) < 3000:
                    more = consumer.poll(timeout=5)
                    assert more, "nothing comes under an alarm"
                    got += more
            finally:
                rabbitmq_broker.exec("rabbitmqctl", "set_vm_memory_high_watermark", "0.6")
            for delivery in got[len(got) // 2 :]:
                assert not delivery.settled
                delivery.ack()
            consumer.commit(15)
            assert not lost
        bus.admin.delete(topic)
