"""A topic grows under those who use it: they find its new partitions, and keys move where they must."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.ordering.order_per_key import murmur2

BEFORE, AFTER = 2, 4
KEYS = tuple(f"key-{number}" for number in range(16))


@scenario(
    "partitions-added",
    "When a topic grows, an open producer and a member find its partitions, and exactly those keys move that must",
    needs=(Cap.ADD_PARTITIONS, Cap.GROUPS, Cap.PARTITION_BY_KEY),
    proves=(Cap.ADD_PARTITIONS,),
    exercises=("moved_keys", "kept_keys", "new_partitions"),
    level="full",
)
def partitions_added(env: Env) -> None:
    topic, group = env.topic(partitions=BEFORE), env.group()
    got: list[mq.Delivery[bytes]] = []
    with (
        env.bus.producer() as producer,
        env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer,
    ):
        rounds = 0

        def sent() -> dict[str, int | None]:
            """A message for each key, and where it went."""
            nonlocal rounds
            values = {key: env.payload(topic, "p", rounds * len(KEYS) + at, key=key) for at, key in enumerate(KEYS)}
            receipts = {key: producer.send(topic, value, key=key) for key, value in values.items()}
            rounds += 1
            got.extend(consumer.poll(timeout=0.05))
            return {key: receipt.result(env.patience_s).partition for key, receipt in receipts.items()}

        places: list[dict[str, int | None]] = [
            {key: (murmur2(key.encode()) & 0x7FFFFFFF) % count for key in KEYS} for count in (BEFORE, AFTER)
        ]
        env.equal(sent(), places[0], "the partitions of keys before", "wrong-partition")
        env.bus.admin.add_partitions(topic, AFTER)
        env.eventually(lambda: env.observer.names().topics.get(topic.name, 0), AFTER, "partitions", "untrue-answer")
        env.eventually(sent, places[1], "the partitions of keys, by an open producer", "wrong-partition")
        moved = [key for key in KEYS if places[0][key] != places[1][key]]
        env.count("moved_keys", len(moved))
        env.count("kept_keys", len(KEYS) - len(moved))
        got += env.receive(consumer, rounds * len(KEYS) - len(got), "all of it, by a member that was there")
        found = {one.partition for one in got}
        env.equal(found, {*range(AFTER)}, "the partitions that the member was given", "unseen")
        env.count("new_partitions", AFTER - BEFORE)
        for delivery in got:
            delivery.ack()
        consumer.commit(env.patience_s)
    env.drained(topic, group)
    env.observer.records(topic.name)
