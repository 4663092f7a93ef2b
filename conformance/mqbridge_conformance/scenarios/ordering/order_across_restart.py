"""A consumer that comes again goes on where it was: what it settles in all its lives is each partition, in order."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.history import Payload, identify
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, by_partition

PARTITIONS, LIVES, EACH_LIFE, LEFT = 3, 3, 40, 7
KEYS = tuple(f"key-{number}" for number in range(9))


@scenario(
    "order-across-restart",
    "A consumer that restarts under load settles each partition and each key in order, without gap or repetition",
    needs=(Cap.ORDER_PER_PARTITION, Cap.ORDER_PER_KEY, Cap.PARTITION_BY_KEY, Cap.GROUPS),
    proves=(Cap.ORDER_PER_PARTITION, Cap.ORDER_PER_KEY, Cap.GROUPS),
    exercises=("restarts", "sent_meanwhile", "came_again"),
)
def order_across_restart(env: Env) -> None:
    topic, group = env.topic(partitions=PARTITIONS), env.group()
    senders = [env.spawn("send", destination=str(topic), producer=name, keys=list(KEYS)) for name in ("one", "two")]
    for sender in senders:
        sender.expect("ready", env.patience_s)
        sender.command("flow", burst=len(KEYS), every_s=0.1)
    settled: list[mq.Delivery[bytes]] = []
    left: set[tuple[int | None, int | None]] = set()
    for life in range(LIVES):
        with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
            got = env.receive(consumer, EACH_LIFE, f"messages of life {life}")
            env.count("came_again", sum((one.partition, one.offset) in left for one in got))
            # What it leaves behind unsettled is the next life's first, so a life does not end where its polls did.
            acked(env, consumer, got[:-LEFT])
            settled += got[:-LEFT]
            left = {(one.partition, one.offset) for one in got[-LEFT:]}
        env.count("restarts")
    for sender in senders:
        sender.command("halt")
        env.count("sent_meanwhile", sender.expect("sent", env.patience_s)["confirmed"])
    stored = env.observer.records(topic.name)
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        rest = env.receive(consumer, len(stored) - len(settled), "what is left")
        env.count("came_again", sum((one.partition, one.offset) in left for one in rest))
        acked(env, consumer, rest)
        settled += rest
    env.drained(topic, group)
    kept = by_partition(stored)
    for partition, deliveries in by_partition(settled).items():
        wanted = [record.offset for record in kept.get(partition, [])]
        found = [delivery.offset for delivery in deliveries]
        env.equal(found, wanted, f"what was settled of partition {partition}, in all lives", "nonmonotonic-poll")
    _per_key(env, settled)
    env.observer.records(topic.name)


def _per_key(env: Env, settled: list[mq.Delivery[bytes]]) -> None:
    """The numbers of each producer go up within a key."""
    streams: dict[tuple[bytes | None, str], list[int]] = {}
    for delivery in settled:
        payload = Payload.decode(identify(delivery.raw))
        assert payload is not None
        streams.setdefault((delivery.key, payload.producer), []).append(payload.number)
    for (key, producer), found in streams.items():
        wanted = list(range(found[0], found[0] + len(found) * len(KEYS), len(KEYS)))
        env.equal(found, wanted, f"what {producer} sent for {key!r}, as settled", "key-order")
    env.equal(len(streams), 2 * len(KEYS), "pairs of key and producer")
