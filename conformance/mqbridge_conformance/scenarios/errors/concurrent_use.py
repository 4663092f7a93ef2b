"""A consumer is one thread's: a second one is refused, and the first notices nothing."""

from __future__ import annotations

import contextlib
import threading

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario


@scenario(
    "concurrent-use",
    "A second thread that polls a consumer is refused with ConcurrentUse, and takes nothing from the first",
    needs=(Cap.GROUPS,),
    proves=(),
    exercises=("refused", "delivered"),
)
def concurrent_use(env: Env) -> None:
    topic, group = env.topic(), env.group()
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
        consumer.wait_assigned(env.patience_s)
        got: list[mq.Delivery[bytes]] = []

        def polling() -> None:
            while not got:
                with contextlib.suppress(mq.ConcurrentUse):  # the other thread was there first
                    got.extend(consumer.poll(timeout=env.patience_s))

        first = threading.Thread(target=polling, daemon=True)
        first.start()

        def refused() -> str:
            """Until the other thread is within its poll, this one may find room for its own."""
            try:
                consumer.poll(timeout=0.0)
            except mq.ConcurrentUse as error:
                return error.outcome
            return "not refused"

        env.eventually(refused, "not_applied", "what a second thread is told", anomaly="concurrent-use")
        env.count("refused")
        (value,) = env.send(topic, [0])
        first.join(env.patience_s)
        env.equal([d.raw for d in got], [value], "what the first thread got", anomaly="lost")
        env.count("delivered", len(got))
        env.ack(consumer, got)
        env.drained(topic, group)
    env.observer.records(topic.name)
