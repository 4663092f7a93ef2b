"""Records stay on a partition for a while, so that batches are large, and then all go to the next one."""

from __future__ import annotations

from itertools import groupby

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario

PARTITIONS, RECORDS = 3, 700
SHORTEST_RUN = 20
"""The mean length that makes it worth its name; engines choose how long a run is."""


@scenario(
    "partition-sticky",
    "Records stay on a partition in long runs, whatever their key, and no partition is left out",
    needs=(Cap.PARTITION_STICKY,),
    exercises=("runs",),
)
def partition_sticky(env: Env) -> None:
    topic = env.topic(partitions=PARTITIONS)
    with env.bus.producer(partitioner="sticky") as producer:
        for number in range(RECORDS):
            key = f"k{number}"
            producer.send(topic, env.payload(topic, "p", number, key=key), key=key)
    stored = env.observer.records(topic.name)
    env.equal(len(stored), RECORDS, "records")
    where = {record.value: record.partition for record in stored}
    sent = [where[env.payload(topic, "p", number, key=f"k{number}")] for number in range(RECORDS)]
    runs = [(partition, len(list(run))) for partition, run in groupby(sent)]
    env.count("runs", len(runs))
    env.check(len(runs) * SHORTEST_RUN <= RECORDS, f"{RECORDS} records in {len(runs)} runs: {runs}", "wrong-partition")
    used = {partition for partition, _ in runs}
    env.equal(used, set(range(PARTITIONS)), "the partitions of all runs", "wrong-partition")
