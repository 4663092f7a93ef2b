"""A member that is alive and cut off: it must not commit, neither while it is cut off nor with what arrives late."""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import mqbridge as mq
from tests.rabbitmq.topics import raw
from tests.rabbitmq.topics.proxy import Proxy


def test_one_that_is_cut_off_cannot_commit(
    rabbit: mq.Bus, rabbitmq_url: str, make_topic: Callable[..., mq.Topic[bytes]], group: str
) -> None:
    """Its token waits in the network while another takes over; then it arrives, and changes nothing."""
    topic = make_topic()
    with rabbit.producer() as producer:
        producer.send_many(topic, [b"%d" % number for number in range(20)])
    parts = urlsplit(rabbitmq_url)
    assert parts.hostname is not None
    with Proxy(parts.hostname, parts.port or 5672) as proxy:
        url = rabbitmq_url.replace(f":{parts.port}/", f":{proxy.port}/", 1)
        with mq.connect(url) as cut_off:
            stale = cut_off.consumer(
                topic, group=group, start=mq.EARLIEST, session_timeout_s=3.0, settle_interval_s=60.0
            )
            mine = stale.poll(10, timeout=10)
            proxy.stall()
            for delivery in mine:
                delivery.ack()
            failures: list[BaseException] = []

            def commit() -> None:
                try:
                    stale.commit(20)
                except mq.MqbridgeError as error:
                    failures.append(error)

            committing = threading.Thread(target=commit)
            committing.start()
            with rabbit.consumer(topic, group=group, start=mq.LATEST, session_timeout_s=10) as heir:
                heir.wait_assigned(15)
                [delivery] = heir.poll(1, timeout=10)
                assert delivery.offset == 0
                delivery.ack()
                heir.commit(10)
                proxy.release()
                committing.join(30)
                assert [type(failure) for failure in failures] == [mq.LeaseLost]
                [second] = heir.poll(1, timeout=10)
                second.ack()
                heir.commit(10)
                assert heir.committed() == {(topic.name, 0): 2}
            stale.close()
    # A probe of the stale member's next attempt may be left: it closed while it waited.
    left = raw.tokens(rabbitmq_url, f"{group}:{topic.name}.mqg-0")
    [token] = [one for one in left if "probe" not in one]
    assert token["offset"] == 2
