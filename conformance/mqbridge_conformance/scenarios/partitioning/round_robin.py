"""Each record to the next partition, whatever its key, in each topic by itself."""

from __future__ import annotations

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario

PARTITIONS, ROUNDS = 4, 15


@scenario(
    "partition-round-robin",
    "Records take the partitions in turn, whatever their key, and each of two topics has turns of its own",
    needs=(Cap.PARTITION_ROUND_ROBIN,),
    exercises=("turns",),
)
def partition_round_robin(env: Env) -> None:
    # Written in turns: one counter for both would give each topic half of its partitions.
    topics = [env.topic("one", partitions=PARTITIONS), env.topic("two", partitions=PARTITIONS)]
    with env.bus.producer(partitioner="round_robin") as producer:
        for number in range(PARTITIONS * ROUNDS):
            for topic in topics:
                key = "same" if number % 2 else None
                producer.send(topic, env.payload(topic, "p", number, key=key or "-"), key=key)
    for topic in topics:
        stored = env.observer.records(topic.name)
        counts = {at: sum(record.partition == at for record in stored) for at in range(PARTITIONS)}
        even = dict.fromkeys(range(PARTITIONS), ROUNDS)
        env.equal(counts, even, f"records by partition of {topic}", "wrong-partition")
        where = {record.value: record.partition or 0 for record in stored}
        sent = [env.payload(topic, "p", n, key="same" if n % 2 else "-") for n in range(PARTITIONS * ROUNDS)]
        steps = {(where[then] - where[now]) % PARTITIONS for now, then in zip(sent, sent[1:], strict=False)}
        env.equal(steps, {1}, f"steps from a record of {topic} to the next, in partitions", "wrong-partition")
        env.count("turns", len(sent))
