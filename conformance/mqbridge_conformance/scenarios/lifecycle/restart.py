"""The broker is stopped and started again under traffic: producers and consumers go on by themselves."""

from __future__ import annotations

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.parties import Party
from mqbridge_conformance.scenario import scenario

BEFORE, AFTER = 200, 200
BURST = 10
PATIENCES = 4
"""A restart takes longer than anything else that a scenario waits for."""


@scenario(
    "resumes-after-restart",
    "A restart of the broker under traffic: what is confirmed is handled, by consumers that resume without help",
    needs=(Cap.RESUMES_AFTER_RESTART, Cap.WORK_SHARING, Cap.GROUPS, Cap.ACK),
    proves=(Cap.RESUMES_AFTER_RESTART,),
    exercises=("restarts", "handled_after", "confirmed"),
    fault=True,
    level="full",
    own_broker=True,
)
def resumes_after_restart(env: Env) -> None:
    topic, queue, group = env.topic(partitions=2), env.queue(dead_letter=None), env.group()
    long_s = PATIENCES * env.patience_s
    told = {"producer": "one", "keys": ["a", "b", "c"], "options": {"delivery_timeout_s": 60}}
    senders = [env.spawn("send", destination=str(place), **told) for place in (topic, queue)]
    consumers = [
        env.spawn("consume", sources=[str(topic)], options={"group": group, "start": "earliest"}),
        env.spawn("consume", sources=[str(queue)]),
    ]
    for party in (*senders, *consumers):
        party.expect("ready", long_s)
    for sender in senders:
        sender.command("flow", burst=BURST, every_s=0.05)
    for consumer in consumers:
        env.wait_for(lambda consumer=consumer: _handled(consumer, long_s) >= BEFORE, True, "traffic")  # type: ignore[misc]
    env.faults.broker.restart()
    env.count("restarts")
    before = [_handled(consumer, long_s) for consumer in consumers]
    for consumer, then in zip(consumers, before, strict=True):
        wanted = then + AFTER

        def resumed(consumer: Party = consumer, wanted: int = wanted) -> bool:
            return _handled(consumer, long_s) >= wanted

        env.eventually(resumed, True, "whether a consumer goes on after the restart", anomaly="starvation")
        env.count("handled_after", AFTER)
    for sender in senders:
        sender.command("halt")
    confirmed = [sender.expect("sent", long_s).get("confirmed", 0) for sender in senders]
    env.count("confirmed", sum(confirmed))
    for consumer, number in zip(consumers, confirmed, strict=True):

        def all_of_it(consumer: Party = consumer, number: int = number) -> bool:
            return _handled(consumer, long_s) >= number

        env.eventually(all_of_it, True, "whether all that was confirmed is handled", anomaly="lost")
        consumer.command("leave")
        consumer.expect("left", long_s)
    env.drained(topic, group)
    env.drained(queue)
    env.observer.records(topic.name)


def _handled(consumer: Party, timeout_s: float) -> int:
    consumer.command("progress")
    return int(consumer.expect("progress", timeout_s)["handled"])
