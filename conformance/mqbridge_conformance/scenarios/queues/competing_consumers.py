"""Three consumers, each a party of its own, share a queue."""

from __future__ import annotations

from collections import Counter

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.results import CannotTell
from mqbridge_conformance.scenario import scenario

PARTIES, PREFETCH, MESSAGES = 3, 5, 150


@scenario(
    "competing-consumers",
    "Competing consumers, each a party of its own, share a queue: each message is handed out and settled once",
    needs=(Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.WORK_SHARING, Cap.ACK, Cap.DEPTH, Cap.SEVERAL_PROCESSES),
    exercises=("messages", "parties_with_messages"),
)
def competing_consumers(env: Env) -> None:
    queue = env.queue()
    with env.bus.producer() as producer:
        for receipt in producer.send_many(queue, [b"%d" % n for n in range(MESSAGES)]):
            receipt.result(env.patience_s)
    env.counts(queue.name, Counts(MESSAGES, 0, 0), "the queue before anybody takes")
    if env.can(Cap.DEPTH):
        env.equal(env.bus.admin.depth(queue), MESSAGES, "its depth, asked under test")
    parties = [env.spawn("share", queue=queue.name, prefetch=PREFETCH) for _ in range(PARTIES)]
    for party in parties:
        party.expect("holding", env.patience_s)
    held = PARTIES * PREFETCH
    env.counts(queue.name, Counts(MESSAGES - held, held, 0), "the queue while each of three consumers holds five")
    for party in parties:
        party.command("go")

    def settled() -> int:
        for party in parties:
            party.command("progress")
        return sum(party.expect("progress", env.patience_s)["settled"] for party in parties)

    env.eventually(settled, MESSAGES, "messages that the three have settled")
    env.counts(queue.name, Counts(0, 0, 0), "the queue when all is settled")
    for party in parties:
        party.command("finish")
    done = [party.expect("done", env.patience_s) for party in parties]
    shares = [len(event["values"]) for event in done]
    handed_out = Counter(value for event in done for value in event["values"])
    env.equal(
        {value: times for value, times in handed_out.items() if times != 1}, {}, "messages handed out more than once"
    )
    env.equal(sorted(handed_out), sorted(b"%d" % n for n in range(MESSAGES)), "the messages handed out")
    env.equal({n for event in done for n in event["attempts"]}, {1}, "the attempt numbers")
    if sum(map(bool, shares)) < PARTIES:
        raise CannotTell(f"the consumers did not compete: their shares were {shares}")
    env.count("messages", MESSAGES)
    env.count("parties_with_messages", sum(map(bool, shares)))
