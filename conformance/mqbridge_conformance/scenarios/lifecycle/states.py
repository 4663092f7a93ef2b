"""How a connection stands is told: that its broker is away, that it is back, and that it was closed."""

from __future__ import annotations

import contextlib
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario

PATIENCES = 4
"""A restart takes longer than anything else that a scenario waits for."""


@scenario(
    "states-told",
    "A bus whose broker goes away tells so, tells when it is back, and in the end that it is closed; work waits for it",
    needs=(Cap.RESUMES_AFTER_RESTART, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.RESUMES_AFTER_RESTART,),
    exercises=("restarts", "told"),
    level="full",
    own_broker=True,
)
def states_told(env: Env) -> None:
    queue = env.queue(dead_letter=None)
    bus = env.connect()
    told: list[str] = []
    bus.on_state(lambda state, _reason: told.append(state))
    with contextlib.ExitStack() as clients:
        producer = clients.enter_context(bus.producer())
        consumer = clients.enter_context(bus.consumer(queue))
        producer.send(queue, env.payload(queue, "one", 0)).result(env.patience_s)
        env.ack(consumer, env.receive(consumer, 1, "a message before the restart"))
        env.equal(bus.state, "connected", "the state of a bus that has just sent and received")
        away = env.faults.broker.halt()
        waiting = producer.send(queue, env.payload(queue, "one", 1))
        # What was told is the effect of the fault: without it there is no pass.
        env.eventually(lambda: "reconnecting" in told, True, "whether the broker is told to be away", "state-untold")
        away.heal()
        env.count("restarts")
        env.eventually(lambda: (bus.state, told[-1]), ("connected",) * 2, "the state of a broker back", "state-untold")
        error = waiting.exception(PATIENCES * env.patience_s)
        env.check(error is None or error.retryable or error.outcome == "unknown", f"a send that waited: {error!r}")
        producer.send(queue, env.payload(queue, "two", 0)).result(PATIENCES * env.patience_s)
        env.eventually(lambda: _last(env, consumer), True, "whether what was sent afterwards comes", "starvation")
        env.drained(queue)
    bus.close()
    env.equal((bus.state, told[-1]), ("closed", "closed"), "the state of a bus that was closed", "state-untold")
    env.count("told", len(told))


def _last(env: Env, consumer: mq.QueueConsumer[Any]) -> bool:
    """Ack what there is; was the last one among it?"""
    got = consumer.poll(timeout=0.1)
    env.ack(consumer, got)
    return any(b" two 0 " in (delivery.raw or b"") for delivery in got)
