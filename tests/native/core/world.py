"""A broker on a store, with scripted time and clients that remember what they were told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mqbridge.native.core.broker import Broker
from mqbridge.native.core.ports import Batch, Now, Store
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.native.storage.store import MemoryStore

WALL_MS = 1_700_000_000_000
EARLIEST = {"kind": "earliest"}
LATEST = {"kind": "latest"}


def batch(*values: bytes | None, timestamp_ms: int = WALL_MS) -> RecordBatch:
    return RecordBatch([None] * len(values), values, None, [timestamp_ms] * len(values))


def committed(client: Client, group: str = "g") -> dict[tuple[str, int], int]:
    rows = client.call("committed", group=group, topics=None)["offsets"]
    return {(topic, partition): offset for topic, partition, offset in rows}


class Client:
    """One session and, after `join`, one member."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.session = world.broker.open_session(world.now)
        self.group = ""
        self.member = ""
        self.leases: dict[tuple[str, int], int] = {}
        self.notes: list[dict[str, Any]] = []

    def call(self, op: str, *batches: Batch, **args: Any) -> dict[str, Any]:
        return self.call_all(op, *batches, **args)[0]

    def call_all(self, op: str, *batches: Batch, **args: Any) -> tuple[dict[str, Any], list[Batch]]:
        try:
            return self.world.broker.call(self.session, op, args, batches, self.world.now)
        finally:
            self.world.pump()

    def join(self, topics: Sequence[str] = ("t",), group: str = "g", **args: Any) -> Client:
        defaults: dict[str, Any] = {
            "protocol": "cooperative",
            "instance_id": None,
            "session_timeout_s": 10.0,
            "rebalance_timeout_s": 30.0,
            "start": EARLIEST,
        }
        self.group = group
        reply, _ = self.world.broker.call(
            self.session, "join", {"group": group, "topics": topics, **defaults, **args}, [], self.world.now
        )
        self.member = reply["member"]
        self.world.pump()
        return self

    def as_member(self, op: str, **args: Any) -> dict[str, Any]:
        return self.call(op, group=self.group, member=self.member, **args)

    def release(self, *partitions: int, topic: str = "t") -> None:
        for number in partitions:
            self.leases.pop((topic, number), None)
        self.as_member("released", partitions=[[topic, number] for number in partitions])

    def commit(self, partition: int, offset: int, *, lease: int | None = None, topic: str = "t") -> list[Any]:
        """What was refused."""
        lease = self.leases[topic, partition] if lease is None else lease
        refused: list[Any] = self.as_member("commit", offsets=[[topic, partition, lease, offset]])["refused"]
        return refused

    def told(self, note: dict[str, Any]) -> None:
        self.notes.append(note)
        if note.get("member") != self.member and note["note"] == "assign":
            self.member = note["member"]  # told before the reply of join was seen
        if note["note"] == "assign":
            self.leases.update({(t, p): lease for t, p, lease, _ in note["partitions"]})
        elif note["note"] == "lost":
            for t, p in note["partitions"]:
                self.leases.pop((t, p), None)

    @property
    def held(self) -> list[tuple[str, int]]:
        return sorted(self.leases)

    def trace(self) -> list[tuple[Any, ...]]:
        """What was told since the last time: (note, partitions or reason)."""
        notes, self.notes = self.notes, []
        return [
            (n["note"], [p for _, p, *_ in n["partitions"]])
            if "partitions" in n
            else (n["note"], n.get("reason"))
            for n in notes
        ]


class World:
    """Time stands still until `advance`. `restart` makes a new broker of the same store, as after a crash."""

    def __init__(self, store: Store | None = None) -> None:
        self.store: Store = MemoryStore() if store is None else store
        self.now = Now(1000.0, WALL_MS)
        self._ids = 0
        self.broker = self._start()

    def _start(self) -> Broker:
        self.clients: dict[int, Client] = {}
        broker = Broker(self.store, RecordBatch, RecordBatch.encode, RecordBatch.decode, self._new_id)
        broker.recover(self.now)
        return broker

    def restart(self, store: Store | None = None) -> None:
        if store is not None:
            self.store = store
        elif isinstance(self.store, MemoryStore):
            self.store.epoch += 1  # what opening a folder does
        self.broker = self._start()

    def client(self) -> Client:
        client = Client(self)
        self.clients[client.session] = client
        return client

    def with_topic(self, partitions: int = 4, name: str = "t", **spec: Any) -> World:
        self.client().call("create_topic", name=name, spec={"partitions": partitions, **spec})
        return self

    def advance(self, seconds: float) -> None:
        self.now = Now(self.now.mono_s + seconds, self.now.wall_ms + round(seconds * 1000))
        self.broker.tick(self.now)
        self.pump()

    def pump(self) -> None:
        for session, note in self.broker.take_notes():
            self.clients[session].told(note)

    def _new_id(self) -> str:
        self._ids += 1
        return f"member-{self._ids:03}"
