"""The broker stands still while a producer goes on: what waits is bounded, and all of it has an end afterwards."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.results import CheckFailed
from mqbridge_conformance.scenario import scenario

BEFORE, AFTER = 20, 5
LIMIT_BYTES, PAD = 50_000, 900
SHORT_S = 0.3
"""How long a send waits for room, of which there is none until the broker goes on."""


@scenario(
    "broker-paused",
    "A broker that stands still: what waits to be sent is bounded, send says that there is no room, and all has an end",
    needs=(Cap.CONFIRMED_SEND, Cap.ORDER_PER_PARTITION),
    exercises=("waited", "refused", "confirmed"),
    fault=True,
    level="full",
    own_broker=True,
)
def broker_paused(env: Env) -> None:
    topic = env.topic()
    most = LIMIT_BYTES // PAD
    number = 0

    def payload() -> bytes:
        nonlocal number
        number += 1
        return env.payload(topic, "one", number - 1, pad=PAD)

    with env.bus.producer(max_in_flight_bytes=LIMIT_BYTES, max_block_s=SHORT_S, delivery_timeout_s=60) as producer:
        for _ in range(BEFORE):
            producer.send(topic, payload()).result(env.patience_s)
        waiting: list[mq.Receipt] = []
        with env.faults.broker.pause():
            refused: mq.OperationTimeout | None = None
            while refused is None and len(waiting) <= most:
                try:
                    waiting.append(producer.send(topic, payload()))
                except mq.OperationTimeout as error:
                    refused = error
            env.raises(mq.OperationTimeout, lambda: waiting[0].result(SHORT_S), "a send that nobody answers")
            if refused is None:
                raise CheckFailed(f"more than {most} messages wait in {LIMIT_BYTES} bytes", "unbounded")
            env.equal(refused.outcome, "not_applied", "the outcome of a send without room", "phantom")
            env.count("refused")
            env.equal([one.done for one in waiting], [False] * len(waiting), "whether sends end that nobody answers")
            env.count("waited", len(waiting))
        ends = [receipt.exception(env.patience_s) for receipt in waiting]
        untold = [repr(end) for end in ends if end is not None and end.outcome != "unknown"]
        env.equal(untold, [], "ends of sends that waited, beside confirmed and unknown", "confirm-never")
        env.count("confirmed", sum(end is None for end in ends))
        env.count("unknown", sum(end is not None for end in ends))
        for _ in range(AFTER):
            producer.send(topic, payload()).result(env.patience_s)
    env.observer.records(topic.name)
