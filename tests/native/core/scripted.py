"""A long script of operations on topics, groups and queues, and everything that came of it, as one JSON text.

Run as a program, it prints the text: two processes with different hash seeds have to print the same.
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

from mqbridge import errors
from tests.native.core.world import EARLIEST, Client, World, batch

QUEUE_SPEC = {"max_attempts": 3, "dead_letter": "dead", "max_length": 20, "overflow": "drop-head"}


class Script:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World()
        self.clients = [self.world.client() for _ in range(5)]
        self.consumers: list[tuple[Client, int]] = []
        self.tags: dict[int, list[int]] = {}
        self.log: list[Any] = []

    def run(self, steps: int) -> str:
        for topic in ("t", "u"):
            self.call(self.clients[0], "create_topic", name=topic, spec={"partitions": 5})
        for queue, spec in (("dead", {}), ("q", QUEUE_SPEC)):
            self.call(self.clients[0], "create_queue", name=queue, spec=spec)
        actions = [
            self.join,
            self.answer,
            self.commit,
            self.append,
            self.leave,
            self.enqueue,
            self.pass_time,
            *[self.take] * 4,
        ]
        for _ in range(steps):
            self.random.choice(actions)()
        self.world.restart()
        last = self.world.client()
        for op, args in (
            ("list_topics", {}),
            ("committed", {"group": "g", "topics": None}),
            ("list_queues", {}),
            ("describe_queue", {"name": "q"}),
        ):
            self.call(last, op, **args)
        return json.dumps(self.log)

    def call(self, client: Client, op: str, *batches: Any, **args: Any) -> dict[str, Any]:
        try:
            reply, found = client.call_all(op, *batches, **args)
        except errors.MqbridgeError as error:
            reply, found = {"error": str(error)}, []
        self.log.append([op, reply, [[str(value) for value in b.values] for b in found]])
        self.log += [[client.session, client.notes[:]] for client in self.clients if client.notes]
        return reply

    def join(self) -> None:
        client = self.random.choice(self.clients)
        if client.member:
            return
        topics = self.random.choice([["t"], ["u", "t"], ["t", "u"]])
        reply = self.call(
            client,
            "join",
            group="g",
            topics=topics,
            protocol="cooperative",
            instance_id=None,
            session_timeout_s=30.0,
            rebalance_timeout_s=20.0,
            start=EARLIEST,
        )
        client.group, client.member = "g", reply.get("member", "")

    def answer(self) -> None:
        for client in self.clients:
            asked = [tp for note in client.notes if note["note"] == "revoke" for tp in note["partitions"]]
            client.notes.clear()
            if asked:
                self.call(client, "released", group="g", member=client.member, partitions=asked)
            elif client.member:
                self.call(client, "heartbeat", group="g", member=client.member)

    def commit(self) -> None:
        client = self.random.choice(self.clients)
        rows = [[t, p, lease, self.random.randrange(3)] for (t, p), lease in client.leases.items()]
        self.call(client, "commit", group="g", member=client.member or None, offsets=rows)

    def append(self) -> None:
        topic, partition = self.random.choice("tu"), self.random.randrange(5)
        self.call(self.clients[0], "append", batch(b"x", b"y"), topic=topic, partition=partition)

    def leave(self) -> None:
        client = self.random.choice(self.clients)
        if client.member and self.random.random() < 0.2:
            self.call(client, "leave", group="g", member=client.member)
            client.member = ""
            client.leases.clear()

    def enqueue(self) -> None:
        values = [str(self.random.random()).encode() for _ in range(self.random.randrange(1, 4))]
        self.call(self.clients[0], "enqueue", batch(*values, timestamp_ms=self.world.now.wall_ms), queue="q")

    def take(self) -> None:
        if len(self.consumers) < 3:
            client = self.random.choice(self.clients)
            reply = self.call(client, "consume", queue="q", prefetch=5, priority=self.random.randrange(2))
            if "consumer" in reply:
                self.consumers.append((client, reply["consumer"]))
            return
        client, consumer = self.random.choice(self.consumers)
        verbs = [["ack", 0], ["release", 0, 0], ["retry", 0, 1.5, "no"], ["reject", 0, "bad"], ["return", 0]]
        settle = []
        for tag in self.tags.pop(consumer, []):
            verb = self.random.choice(verbs)
            settle.append([verb[0], tag, *verb[2:]])
        reply = self.call(client, "take", consumer=consumer, max=4, settle=settle, watch=True)
        self.tags[consumer] = reply.get("tags", [])

    def pass_time(self) -> None:
        self.world.advance(self.random.choice([0.1, 1.0, 8.0]))


if __name__ == "__main__":
    sys.stdout.write(Script(int(sys.argv[1])).run(int(sys.argv[2])))
