"""What is specified in a way that cannot be is refused before anything happens, by the name of what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario


@scenario(
    "bad-specifications",
    "A wrong specification, message, position or option is refused before any I/O, and nothing has changed",
    needs=(Cap.WORK_SHARING, Cap.GROUPS),
    proves=(),
    exercises=("refused",),
)
def bad_specifications(env: Env) -> None:
    topic, queue = env.topic(), env.queue(dead_letter=None)
    other: Any = mq
    before = env.observer.snapshot()
    attempts: dict[str, tuple[type[mq.ConfigurationError], Callable[[], Any]]] = {
        "a topic of no partitions": (mq.InvalidSpec, lambda: mq.Topic(env.name("none"), partitions=0)),
        "a name with a blank": (mq.InvalidSpec, lambda: mq.Queue("a b")),
        "a limit of attempts without dead letters": (
            mq.InvalidSpec,
            lambda: mq.Queue(env.name("none"), max_attempts=3, dead_letter=None),
        ),
        "an exchange of an unknown type": (mq.InvalidSpec, lambda: other.Exchange(env.name("none"), type="best")),
        "ensuring a text": (mq.InvalidSpec, lambda: env.bus.admin.ensure(str(topic))),  # type: ignore[arg-type]
        "purging a topic": (mq.InvalidSpec, lambda: env.bus.admin.purge(topic)),  # type: ignore[arg-type]
        "a key that is a number": (mq.InvalidSpec, lambda: _sent(env, topic, key=7)),
        "a reserved header": (mq.InvalidSpec, lambda: _sent(env, queue, headers={"mqbridge-x": b""})),
        "a routing key for a queue": (mq.InvalidSpec, lambda: _sent(env, queue, routing_key="a")),
        "a timestamp without a zone": (mq.InvalidSpec, lambda: _sent(env, topic, timestamp=0)),
        "a consumer without a group": (mq.ConfigurationError, lambda: env.bus.consumer(topic)),  # type: ignore[call-overload]
        "a consumer without a start": (
            mq.ConfigurationError,
            lambda: env.bus.consumer(topic, group=env.name("none")),  # type: ignore[call-overload]
        ),
        "an option of topics for a queue": (
            mq.ConfigurationError,
            lambda: env.bus.consumer(queue, group=env.name("none")),  # type: ignore[call-overload]
        ),
        "an option that no engine has": (
            mq.UnsupportedOption,
            lambda: env.connect(options={"no_such_option": "1"}),
        ),
    }
    for what, (kind, attempt) in attempts.items():
        error = env.raises(kind, attempt, what, anomaly="bad-input-accepted")
        env.equal(error.outcome, "not_applied", f"the outcome of {what}")
        env.equal(error.retryable, False, f"whether {what} may be tried again")
        env.count("refused")
    env.equal(env.observer.snapshot(), before, "what there is after all that", anomaly="refusal-applied")


def _sent(env: Env, destination: Any, **options: Any) -> object:
    with env.bus.producer() as producer:
        return producer.send(destination, b"never", **options)
