"""The broker's disk has no room: sends say so and are not applied, and with room again all goes on."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

EACH = 10
SOON_S = 3.0
"""How long a send waits for room before it is given up."""


@scenario(
    "disk-full",
    "On a full disk a send fails with a clear error, nothing confirmed is lost, and with room again all goes on",
    needs=(Cap.CONFIRMED_SEND, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.CONFIRMED_SEND,),
    exercises=("no_room", "confirmed"),
    fault=True,
    level="full",
    own_broker=True,
    disk=True,
)
def disk_full(env: Env) -> None:
    places = env.topic(), env.queue()
    number = 0
    values: dict[object, list[bytes]] = {place: [] for place in places}

    def ends() -> list[mq.MqbridgeError | None]:
        """Of some sends to each; what is confirmed is kept."""
        nonlocal number
        sent = [(place, env.payload(place, "one", number + at)) for place in places for at in range(EACH)]
        number += EACH
        found = []
        for place, value, receipt in [(place, value, producer.send(place, value)) for place, value in sent]:
            found.append(receipt.exception(env.patience_s))
            if found[-1] is None:
                values[place].append(value)
        return found

    with env.bus.producer(delivery_timeout_s=SOON_S) as producer:
        env.equal(set(ends()), {None}, "how sends end before")
        with env.faults.disk_full():
            failed = [end for end in ends() if end is not None]
            env.equal(len(failed), 2 * EACH, "sends that fail without room", "phantom")
            kinds = {type(end) for end in failed}
            env.check(kinds <= {mq.Rejected, mq.OperationTimeout}, f"errors that do not say it: {kinds}")
            env.equal({end.outcome for end in failed}, {"not_applied"}, "what became of sends without room", "phantom")
            env.count("no_room", len(failed))
        env.equal(set(ends()), {None}, "how sends end when there is room again", "confirm-never")
    topic, queue = places
    env.equal([one.value for one in env.observer.records(topic.name)], values[topic], "the topic", "lost-write")
    with env.bus.consumer(queue) as consumer:
        got = env.receive(consumer, len(values[queue]), "what the queue confirmed")
        env.equal([d.raw for d in got], values[queue], "the queue", "phantom")
        env.ack(consumer, got)
        env.drained(queue)
    env.count("confirmed", sum(map(len, values.values())))
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")
