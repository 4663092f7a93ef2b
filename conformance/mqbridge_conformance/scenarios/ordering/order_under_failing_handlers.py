"""Workers take keys in parallel; a message that fails is tried again before the next one of its key is begun."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.history import Payload, identify
from mqbridge_conformance.scenario import scenario

KEYS = tuple(f"key-{number}" for number in range(6))
PER_KEY, FAILURES = 5, 2
FAILING = (1, 3)


@scenario(
    "order-under-failing-handlers",
    "With several workers a message that fails holds up its key, and no other, until it has succeeded",
    needs=(Cap.TOPIC_RETRY, Cap.ORDER_PER_KEY, Cap.PARTITION_BY_KEY, Cap.GROUPS),
    proves=(Cap.ORDER_PER_KEY, Cap.TOPIC_RETRY),
    exercises=("failures", "keys"),
)
def order_under_failing_handlers(env: Env) -> None:
    topic, group = env.topic(partitions=2), env.group()
    with env.bus.producer() as producer:
        for number in range(PER_KEY * len(KEYS)):
            key = KEYS[number % len(KEYS)]
            producer.send(topic, env.payload(topic, "p", number, key=key), key=key)
    begun: dict[str, list[int]] = defaultdict(list)
    stop = threading.Event()
    late = threading.Timer(env.patience_s, stop.set)
    lock, done = threading.Lock(), Counter[str]()

    def handle(delivery: mq.Delivery[bytes]) -> None:
        payload = Payload.decode(identify(delivery.raw))
        assert payload is not None
        turn = payload.number // len(KEYS)
        with lock:
            begun[payload.key].append(turn)
            if turn in FAILING and begun[payload.key].count(turn) <= FAILURES:
                env.count("failures")
                raise ValueError(f"attempt {delivery.attempt}")
            done[payload.key] += 1
            if done.total() == PER_KEY * len(KEYS):
                stop.set()

    retry = mq.RetryPolicy(max_attempts=None, first_delay_s=0.01)
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        late.start()
        consumer.run(handle, workers=4, order="key", retry=retry, stop=stop)
        late.cancel()
        consumer.commit(env.patience_s)
    wanted = [turn for turn in range(PER_KEY) for _ in range(1 + FAILURES * (turn in FAILING))]
    for key in KEYS:
        env.equal(begun[key], wanted, f"what was begun for {key}, in order", "key-order")
        env.count("keys")
    env.drained(topic, group)
    env.observer.records(topic.name)
