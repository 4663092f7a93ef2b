"""The broker is far away: sends do not wait for each other's confirmation, and keep their order."""

from __future__ import annotations

import time

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario

MESSAGES, PAD = 60, 900
WAY_S = 0.1
"""How much later each byte comes, each way."""


@scenario(
    "added-latency",
    "With a broker that is far away many sends are under way at once, each is confirmed, and they keep their order",
    needs=(Cap.CONFIRMED_SEND, Cap.ORDER_PER_PARTITION),
    exercises=("confirmed", "under_way"),
    fault=True,
    level="full",
    own_broker=True,
)
def added_latency(env: Env) -> None:
    topic = env.topic()
    values = [env.payload(topic, "one", number, pad=PAD) for number in range(MESSAGES)]
    # One message a batch: what is pipelined is then not hidden by what is sent together.
    with env.bus.producer(linger_s=0.0, batch_bytes=PAD) as producer:
        producer.send(topic, values[0]).result(env.patience_s)
        with env.faults.link.delay(WAY_S):
            began_s = time.monotonic()
            receipts = [producer.send(topic, value) for value in values[1:]]
            under_way = sum(not receipt.done for receipt in receipts)
            for receipt in receipts:
                receipt.result(env.patience_s)
            took_s = time.monotonic() - began_s
    env.check(under_way > 1, "each send waits for the one before", "not-pipelined")
    most_s = len(receipts) * 2 * WAY_S / 2
    told = f"{len(receipts)} sends took {took_s:.1f} s, more than half of what they take one after the other"
    env.check(took_s < most_s, told, "not-pipelined")
    env.count("under_way", under_way)
    env.count("confirmed", len(receipts))
    stored = [record.value for record in env.observer.records(topic.name)]
    env.equal(stored, values, "the topic, in the order of sending", "nonmonotonic-send")
