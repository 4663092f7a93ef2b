"""Who may do one thing may not do another; what is denied has not happened."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario


@scenario(
    "permissions",
    "Without the permission sending, consuming, making and deleting are Denied, not applied, and change nothing",
    needs=(Cap.PERMISSIONS, Cap.WORK_SHARING),
    proves=(Cap.PERMISSIONS,),
    exercises=("denied", "allowed"),
    level="full",
    users=True,
)
def permissions(env: Env) -> None:
    with contextlib.closing(env.target.secured()) as site, env.connect_to(site.url) as owner:
        queue: mq.Queue[bytes] = mq.Queue(env.name("guarded"), dead_letter=None)
        owner.admin.ensure(queue)
        try:
            before = _names(owner)
            with env.connect_to(site.user()) as bus:
                for what, attempt in {
                    "sending": lambda: _sent(env, bus, queue, "nobody", 0),
                    "consuming": lambda: _consumed(env, bus, queue),
                    "making": lambda: bus.admin.ensure(mq.Queue(env.name("made"), dead_letter=None)),
                    "deleting": lambda: bus.admin.delete(queue),
                }.items():
                    _denied(env, f"{what} without any right", attempt)
            with env.connect_to(site.user("write")) as bus:
                value = _sent(env, bus, queue, "writer", 0)
                env.count("allowed")
                _denied(env, "consuming with the right to write", lambda: _consumed(env, bus, queue))
            with env.connect_to(site.user("read")) as bus:
                _denied(env, "sending with the right to read", lambda: _sent(env, bus, queue, "reader", 0))
            env.equal(_names(owner), before, "what exists after all that", anomaly="refusal-applied")
            found = _consumed(env, owner, queue)
            env.equal(found, [value], "what the queue has after all that", anomaly="refusal-applied")
        finally:
            owner.admin.delete(queue)


def _names(owner: mq.Bus) -> list[str]:
    return sorted(str(one) for one in (*owner.admin.list_topics(), *owner.admin.list_queues()))


def _denied(env: Env, what: str, attempt: Callable[[], Any]) -> None:
    error = env.raises(mq.Denied, attempt, what, anomaly="let-in")
    env.equal(error.outcome, "not_applied", f"the outcome of {what}")
    env.count("denied")


def _sent(env: Env, bus: mq.Bus, queue: mq.Queue[bytes], producer: str, number: int) -> bytes:
    value = env.payload(queue, producer, number)
    with bus.producer() as sender:
        sender.send(queue, value).result(env.patience_s)
    return value


def _consumed(env: Env, bus: mq.Bus, queue: mq.Queue[bytes]) -> list[bytes | None]:
    """Until something comes, or what stands in the way; settled."""
    with bus.consumer(queue) as consumer:
        got = consumer.poll(timeout=env.patience_s)
        env.ack(consumer, got)
    return [delivery.raw for delivery in got]
