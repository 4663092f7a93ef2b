"""Of each key the last record stays, and its offset with it, whatever becomes of those before."""

from __future__ import annotations

from functools import partial

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario

KEYS = ("a", "b", "c")
ROUNDS = 12
LARGE = 300_000
"""So that a few rounds fill the segment that is written to, which nothing is removed from."""


@scenario(
    "compaction",
    "In a compacted topic older records of a key go, and the last one of each stays where it was",
    needs=(Cap.COMPACTION,),
    exercises=("removed", "kept"),
    level="full",
)
def compaction(env: Env) -> None:
    topic = env.topic(partitions=1, cleanup="compact")
    with env.bus.producer() as producer:
        places: dict[bytes, tuple[int | None, bytes]] = {}
        for number in range(ROUNDS * len(KEYS)):
            key = KEYS[number % len(KEYS)]
            value = env.payload(topic, "p", number, key=key, pad=LARGE)
            receipt = producer.send(topic, value, key=key)
            places[key.encode()] = receipt.result(env.patience_s).offset, value
        keyless = partial(_sent, env, producer, topic)
        env.raises(mq.MqbridgeError, keyless, "sending a record without a key to a compacted topic")
    everything = ROUNDS * len(KEYS)
    env.eventually(
        lambda: len(env.observer.records(topic.name)) < everything, True, "older records of a key go", "not-compacted"
    )
    stored = env.observer.records(topic.name)
    env.count("removed", everything - len(stored))
    env.count("kept", len(stored))
    last = {record.key: (record.offset, record.value) for record in stored}
    env.equal(last, places, "the last record of each key, and its offset", "lost-write")


def _sent(env: Env, producer: mq.Producer, topic: mq.Topic[bytes]) -> mq.Confirmation:
    return producer.send(topic, b"keyless").result(env.patience_s)
