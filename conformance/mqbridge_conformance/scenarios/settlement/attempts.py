"""Whatever a message went through, it says the how-manieth attempt this is."""

from __future__ import annotations

from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario


@scenario(
    "attempts-counted",
    "Failures and crashes count as attempts, being given back does not, and the number survives whoever holds it",
    needs=(
        Cap.ATTEMPT_NUMBER,
        Cap.REDELIVERED,
        Cap.RELEASE_UNCOUNTED,
        Cap.RETRY_COUNTED,
        Cap.WORK_SHARING,
        Cap.ACK,
    ),
    proves=(Cap.ATTEMPT_NUMBER, Cap.REDELIVERED, Cap.RETRY_COUNTED, Cap.RELEASE_UNCOUNTED),
    exercises=("kills", "attempts"),
    fault=True,
)
def attempts_counted(env: Env) -> None:
    queue = env.queue(max_attempts=7)
    (value,) = env.send(queue, [0])
    with env.bus.consumer(queue, prefetch=1) as consumer:
        _comes(env, consumer, value, 1).retry(error="failed")
        _comes(env, consumer, value, 2).release()
        _comes(env, consumer, value, 2).retry(error="failed again")
        _comes(env, consumer, value, 3).release()
        consumer.commit(env.patience_s)
    victim = env.spawn("hold", queue=queue.name, take=1, ack=0)
    env.equal(victim.expect("held", env.patience_s)["kept"], [value], "what the one holds that will be killed")
    env.kill(victim)
    env.count("attempts")
    with env.connect().consumer(queue, prefetch=1) as heir:
        _comes(env, heir, value, 4).retry(error="and again")
        env.ack(heir, [_comes(env, heir, value, 5)])
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")
    env.equal(env.observer.letters(queue.name), [], "dead letters of what was acked", anomaly="delivery-limit")


def _comes(env: Env, consumer: Any, value: bytes, attempt: int) -> mq.Delivery[Any]:
    (delivery,) = env.receive(consumer, 1, f"attempt {attempt}", anomaly="missing-redelivery")
    env.equal(delivery.raw, value, f"what comes as attempt {attempt}")
    env.equal(delivery.attempt, attempt, "the attempt number", anomaly="attempt-wrong")
    env.equal(delivery.redelivered, attempt > 1, "whether it was delivered before", anomaly="dup-unflagged")
    env.count("attempts")
    return delivery
