"""A message that is too large is refused where it is sent, and the next one goes its way."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario


@scenario(
    "too-large",
    "A message above max_message_bytes, by its value, key or headers, is Rejected and not applied; one below is taken",
    needs=(Cap.GROUPS,),
    proves=(),
    exercises=("refused", "taken"),
)
def too_large(env: Env) -> None:
    topic = env.topic()
    limit = env.bus.limits.max_message_bytes
    large = b"x" * (limit - 4)
    with env.bus.producer() as producer:
        before = producer.send(topic, env.payload(topic, "one", 0))
        for what, send in (
            ("value", lambda: producer.send(topic, large + b"12345")),
            ("value and key", lambda: producer.send(topic, large, key=b"12345")),
            ("value and headers", lambda: producer.send(topic, large, headers={"h": b"1234"})),
        ):
            error = env.raises(mq.Rejected, send, f"a message whose {what} is too large", anomaly="limit-ignored")
            env.equal(error.outcome, "not_applied", f"the outcome where {what} is too large")
            env.count("refused")
        after = producer.send(topic, env.payload(topic, "one", 1))
        for receipt in (before, after):
            receipt.result(env.patience_s)
            env.count("taken")
    wanted = [env.payload(topic, "one", number) for number in range(2)]
    env.equal([record.value for record in env.observer.records(topic.name)], wanted, "the topic, seen from outside")
