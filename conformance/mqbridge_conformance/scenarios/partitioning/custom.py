"""The application's own function chooses, is told all that there is to choose by, and is not believed blindly."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import by_partition

PARTITIONS, RECORDS = 4, 40


@scenario(
    "partition-custom",
    "A record goes where the application's function says; a partition that is none is refused, and nothing is sent",
    needs=(Cap.PARTITION_CUSTOM,),
    exercises=("calls", "refusals"),
)
def partition_custom(env: Env) -> None:
    topic = env.topic(partitions=PARTITIONS)
    calls: list[tuple[str, bytes | None, bytes | None, int]] = []
    wrong: list[object] = []

    def choose(name: str, key: bytes | None, value: bytes | None, partitions: int) -> int:
        calls.append((name, key, value, partitions))
        return wrong[0] if wrong else int(key or b"0") * 3 % partitions  # type: ignore[return-value]

    values = {number: env.payload(topic, "p", number, key=str(number)) for number in range(RECORDS)}
    with env.bus.producer(partitioner=choose) as producer:
        for number, value in values.items():
            producer.send(topic, value, key=str(number))
        producer.flush(env.patience_s)
        _placed(env, topic, values)
        told = [(topic.name, b"%d" % number, value, PARTITIONS) for number, value in values.items()]
        env.equal(calls, told, "what the function was asked")
        env.count("calls", len(calls))
        for nowhere in (PARTITIONS, -1, "0"):
            wrong[:] = [nowhere]
            what = f"a partition {nowhere!r} of {PARTITIONS}"
            env.raises(mq.ConfigurationError, lambda: _sent(env, producer, topic), what, "wrong-partition")
            env.count("refusals")
    _placed(env, topic, values)


def _placed(env: Env, topic: mq.Topic[bytes], values: dict[int, bytes]) -> None:
    """Everything lies where the function said, and nothing else."""
    found = {at: [one.value for one in part] for at, part in by_partition(env.observer.records(topic.name)).items()}
    wanted: dict[int, list[bytes]] = {}
    for number, value in values.items():
        wanted.setdefault(number * 3 % PARTITIONS, []).append(value)
    env.equal(found, wanted, "the records by partition", "wrong-partition")


def _sent(env: Env, producer: mq.Producer, topic: mq.Topic[bytes]) -> object:
    return producer.send(topic, b"nowhere", key="0").result(env.patience_s)
