"""Behind every consumer is a native client, which can be had on its own thread; what is not there is said."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.results import CheckFailed
from mqbridge_conformance.scenario import scenario


class _Nowhere:
    """No client has this inside."""


@scenario(
    "escape-hatch",
    "run_on_client gives the native object, and back what the function returns or raises; the consumer goes on",
    needs=(Cap.UNWRAP, Cap.WORK_SHARING, Cap.ACK, Cap.GROUPS),
    proves=(Cap.UNWRAP,),
    exercises=("reached", "raised"),
)
def escape_hatch(env: Env) -> None:
    topic, queue, group = env.topic(), env.queue(dead_letter=None), env.group()
    env.send(topic, [0])
    env.send(queue, [0])
    with (
        env.bus.consumer(topic, group=group, start=mq.EARLIEST) as of_topic,
        env.bus.consumer(queue) as of_queue,
    ):
        of_topic.wait_assigned(env.patience_s)
        for consumer in (of_topic, of_queue):
            _reach(env, consumer)
            env.ack(consumer, env.receive(consumer, 1, "a message after somebody reached inside", anomaly="lost"))
        env.drained(topic, group)
        env.drained(queue)
    with env.bus.producer() as producer:
        for what, unwrap in (("bus", env.bus.unwrap), ("producer", producer.unwrap)):
            _unwrap(env, what, unwrap)
            env.raises(mq.InvalidSpec, partial(unwrap, _Nowhere), f"what no {what} has inside")


def _unwrap(env: Env, what: str, unwrap: Callable[[type[object]], object]) -> None:
    """Some engines give out nothing that may be used on one thread only: a consumer has it, on that thread."""
    try:
        native = unwrap(object)
    except mq.InvalidSpec as error:
        env.evidence.note(f"a {what} of this engine gives nothing out: {error}")
        return
    env.check(not isinstance(native, mq.Bus | mq.Producer), f"a {what} gives no native object", "no-native")
    env.check(unwrap(type(native)) is native, f"a {what} gives another object by the type of what it gave", "no-native")
    env.count("given_out")


def _reach(env: Env, consumer: Any) -> None:
    found: list[object] = []

    def within(native: object) -> str:
        found.append(native)
        return threading.current_thread().name

    try:
        told = consumer.run_on_client(object, within, env.patience_s)
    except mq.InvalidSpec as error:
        raise CheckFailed(f"run_on_client has no native object to give: {error}", "no-native") from error
    env.check(found and not isinstance(found[0], mq.Bus), "run_on_client gives no native object", anomaly="no-native")
    env.check(isinstance(told, str), f"run_on_client gives back {told!r}, and not what the function returned")
    env.count("reached")

    def failing(native: object) -> None:
        raise LookupError("as the application's function did")

    try:
        consumer.run_on_client(object, failing, env.patience_s)
    except LookupError as error:
        env.equal(str(error), "as the application's function did", "what the function raised")
        env.count("raised")
    env.raises(mq.InvalidSpec, lambda: consumer.run_on_client(_Nowhere, within), "what no consumer has inside")
