"""What exists otherwise than it is specified is told field by field, and is left as it is."""

from __future__ import annotations

from functools import partial
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario


@scenario(
    "mismatch",
    "Ensuring what exists otherwise is Mismatch with each difference and changes nothing; ensuring the same is fine",
    needs=(Cap.WORK_SHARING, Cap.ROUTE_DIRECT, Cap.ROUTE_FANOUT, Cap.DEAD_LETTER, Cap.MAX_ATTEMPTS),
    proves=(),
    exercises=("told", "kept"),
)
def mismatch(env: Env) -> None:
    topic, queue, exchange = env.topic(partitions=2), env.queue(max_attempts=3), env.exchange(type="direct")
    env.send(topic, [0])
    before = env.observer.snapshot()
    wanted: list[tuple[Any, str, Any, Any]] = [
        (mq.Topic(topic.name, partitions=3), "partitions", 3, 2),
        (mq.Queue(queue.name, max_attempts=4), "max_attempts", 4, 3),
        (mq.Exchange(exchange.name, type="fanout"), "type", "fanout", "direct"),
    ]
    for spec, field, said, there in wanted:
        ensure = partial(env.bus.admin.ensure, spec)
        error = env.raises(mq.Mismatch, ensure, f"ensuring {spec!r}", anomaly="mismatch-hidden")
        env.equal(error.differences, ((field, said, there),), f"the differences of {spec}")
        env.equal(error.outcome, "not_applied", f"the outcome of ensuring {spec!r}")
        env.count("told")
    for same in (topic, mq.Topic(topic.name), queue, exchange):
        env.bus.admin.ensure(same)
        env.count("kept")
    env.equal(env.observer.snapshot(), before, "what there is after all that", anomaly="refusal-applied")
