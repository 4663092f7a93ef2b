"""After a crash at any write: nothing confirmed is lost, nothing settled returns, attempts count; and compaction."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from mqbridge import errors
from mqbridge.native.core.ports import Now
from mqbridge.native.core.queues import queue as queue_module
from mqbridge.native.core.queues.records import LONGEST_MS
from mqbridge.native.core.queues.room import QueueRoom
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.native.storage.store import FolderStore
from mqbridge.semantics import reserved
from tests.native.core.queues.house import House, Topology, WatchedStore, Write


@pytest.fixture
def house() -> House:
    made = House()
    made.queue("q", dead_letter="q.dlq", max_attempts=3, max_priority=2)
    made.queue("q.dlq")
    return made


def test_what_a_dead_host_held_has_failed_once_more(house: House) -> None:
    """Unsettled at the crash: ready again in its place, redelivered, attempt counted; the rest untouched."""
    house.send("q", b"a", b"b", b"c")
    consumer = house.consume("q", prefetch=2)
    one, two = house.take(consumer).tags
    house.take(consumer, 0, [("ack", one)])
    assert [(got.value, got.attempt, got.redelivered) for got in house.crash().browse("q")] == [
        (b"b", 2, True),
        (b"c", 1, False),
    ]
    house.take(consumer, 0, [("release", two, 0)])
    assert [(got.attempt, got.redelivered) for got in house.crash().browse("q")] == [(1, True), (1, False)]


def test_crashes_alone_count_nothing_more(house: House) -> None:
    """Attempts grow by deliveries that failed, not by recoveries."""
    house.send("q", b"a")
    house.take(house.consume("q"))
    life = house.crash().crash().crash()
    assert [got.attempt for got in life.browse("q")] == [2]


def test_a_message_that_kills_its_host_is_dead_lettered_after_the_last_attempt(house: House) -> None:
    """Three lives each take it and die; the fourth finds a letter."""
    house.send("q", b"poison")
    life = house
    for attempt in (1, 2, 3):
        assert [got.attempt for got in life.take(life.consume("q")).got] == [attempt]
        life = life.crash()
    assert life.counts("q") == (0, 0, 0)
    (letter,) = life.drain("q.dlq")
    assert letter.headers[reserved.DEATH_ATTEMPTS] == b"3"
    assert life.crash().counts("q") == (0, 0, 0)


@pytest.mark.parametrize("names", [("a", "z"), ("z", "a")])
def test_letters_of_recovery_stand_behind_older_ones(names: tuple[str, str]) -> None:
    """Whichever queue is read first, a letter written while recovering comes after those that were there."""
    house = House()
    for name in names:
        house.queue(name, **({"dead_letter": "z", "max_attempts": 1} if name == "a" else {}))
    house.send("z", b"old", b"older", b"oldest")
    house.send("a", b"poison")
    house.take(house.consume("a"))
    life = house.crash()
    assert [got.value for got in life.browse("z")] == [b"old", b"older", b"oldest", b"poison"]
    assert [got.value for got in life.crash().browse("z")] == [b"old", b"older", b"oldest", b"poison"]


def test_delay_and_time_to_live_go_on_while_the_host_is_down(house: House) -> None:
    """Both are wall time: what fell due meanwhile is due, what did not waits for its moment."""
    house.send("q", b"soon", delay_ms=1000)
    house.send("q", b"late", delay_ms=9000)
    house.send("q", b"short", expires_ms=1000)
    house.send("q", b"retried")
    consumer = house.consume("q")
    tags = house.take(consumer).tags
    house.take(consumer, 0, [("return", tags[0]), ("retry", tags[1], 9, None)])
    house.now = house.now._replace(wall_ms=house.now.wall_ms + 2000)
    life = house.crash()
    assert [got.value for got in life.browse("q")] == [b"soon"]
    assert [letter.value for letter in life.browse("q.dlq")] == [b"short"]
    life.advance(7)
    assert [(got.value, got.attempt) for got in life.browse("q")] == [(b"soon", 1), (b"late", 1), (b"retried", 2)]


def test_absurdly_long_delays_and_lives_are_kept(house: House) -> None:
    """Numbers beyond any journal's are taken as very long ones and survive."""
    house.queue("old", message_ttl_s=1e300)
    house.send("old", b"a", expires_ms=10**40)
    house.send("old", b"b", delay_ms=10**40)
    consumer = house.consume("old")
    (tag,) = house.take(consumer).tags
    house.take(consumer, settle=[("retry", tag, 1e300, None)])
    life = house.crash()
    assert life.counts("old") == (0, 0, 2)
    assert house.room.next_deadline(house.now) == pytest.approx(house.now.mono_s + LONGEST_MS / 1000)


class Script:
    """A random life of a queue that notes, for each value, between which writes it was confirmed and settled."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.house = House()
        self.house.queue("q", dead_letter="q.dlq", max_attempts=2, max_priority=1)
        self.house.queue("q.dlq")
        self.house.call("create_exchange", name="x", spec={"type": "fanout"})
        self.house.call("bind", exchange="x", destination=["queue", "q"])
        self.sent: dict[bytes, tuple[int, int]] = {}
        self.settled: dict[bytes, tuple[int, int]] = {}
        self.consumers: dict[int, dict[int, bytes]] = {}
        self.count = 0

    @property
    def writes(self) -> int:
        return len(self.house.store.history)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            name = self.random.choices(
                ["send", "consume", "take", "end", "advance", "purge", "move"], [6, 1, 10, 1, 2, 0.3, 0.5]
            )[0]
            getattr(self, name)()

    def send(self) -> None:
        values = [b"%d" % (self.count + number) for number in range(self.random.randint(1, 4))]
        self.count += len(values)
        options: dict[str, Any] = {}
        for option, choices in (("priority", [0, 1]), ("delay_ms", [0, 3000]), ("expires_ms", [4000])):
            if self.random.random() < 0.3:
                options[option] = self.random.choice(choices)
        before = self.writes
        if self.random.random() < 0.5:
            assert self.house.send("q", *values, **options) == {}
        else:
            assert self.house.publish("x", *values, **options) == {}
        self.sent.update(dict.fromkeys(values, (before, self.writes)))

    def consume(self) -> None:
        if len(self.consumers) < 3:
            prefetch = self.random.randint(1, 5)
            self.consumers[self.house.consume("q", prefetch=prefetch, session=self.count % 2)] = {}

    def take(self) -> None:
        if not self.consumers:
            return
        consumer = self.random.choice(list(self.consumers))
        held = self.consumers[consumer]
        settle: list[list[Any]] = []
        acked: list[bytes] = []
        for tag in self.random.sample(list(held), self.random.randint(0, len(held))):
            verb = self.random.choice(["ack", "ack", "release", "retry", "reject", "return"])
            extra: dict[str, list[Any]] = {"release": [0], "retry": [self.random.choice([0, 2]), "x"]}
            settle.append([verb, tag, *extra.get(verb, ())])
            value = held.pop(tag)
            if verb == "ack":
                acked.append(value)
        before = self.writes
        session = self.house.room._consumers[consumer].session
        taken = self.house.take(consumer, self.random.randint(0, 5), settle, session=session)
        assert taken.errors == []
        self.settled.update(dict.fromkeys(acked, (before, self.writes)))
        held.update((got.tag, got.value or b"") for got in taken.got)

    def end(self) -> None:
        session = self.random.randint(0, 1)
        self.house.room.close_session(session, self.random.random() < 0.5, self.house.now)
        self.consumers = {
            number: held for number, held in self.consumers.items() if number in self.house.room._consumers
        }

    def advance(self) -> None:
        self.house.advance(self.random.choice([0.5, 2.0]))

    def purge(self) -> None:
        held = {value for values in self.consumers.values() for value in values.values()}
        before = self.writes
        letters = {letter.value for letter in self.house.browse("q.dlq", 10_000)}
        gone = set(self.sent) - set(self.settled) - held - letters
        self.house.call("purge_queue", name="q")
        self.settled.update(dict.fromkeys(gone, (before, self.writes)))

    def move(self) -> None:
        assert self.house.call("move", queue="q.dlq", max=2)["errors"] == {}


def everywhere(life: House) -> tuple[list[bytes | None], list[bytes | None]]:
    """(in the queue, among the letters), after all that waits for time had its time."""
    queued = life.drain("q")
    life.advance(3600)
    queued += life.drain("q")
    assert life.call("describe_queue", name="q")["blocked"] == 0
    assert life.counts("q") == (0, 0, 0)
    return [got.value for got in queued], [got.value for got in life.drain("q.dlq")]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rewrite_above", [queue_module.REWRITE_LEAST_BYTES, 300], ids=["", "rewriting"])
def test_every_prefix_of_the_writes(seed: int, rewrite_above: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut after each write: confirmed and unsettled messages are there, settled ones nowhere, unsent ones neither."""
    monkeypatch.setattr(queue_module, "REWRITE_LEAST_BYTES", rewrite_above)
    script = Script(seed)
    first = script.writes
    script.run(90)
    rewrites = sum(not write.appended for write in script.house.store.history[first:])
    assert rewrites == 0 if rewrite_above > 1000 else rewrites > 0
    for writes in range(first, script.writes + 1):
        queued, letters = everywhere(script.house.crash(writes))
        assert len(queued) == len(set(queued)), "no message is in its queue twice"
        both = set(queued) | set(letters)
        for value, (begun, confirmed) in script.sent.items():
            settling, settled = script.settled.get(value, (10**9, 10**9))
            if settled <= writes or begun >= writes:
                assert value not in both, (value, writes)
            elif confirmed <= writes <= settling:
                assert value in both, (value, writes)


@pytest.mark.parametrize("seed", range(3))
def test_a_life_without_crash_has_each_message_in_one_place(seed: int) -> None:
    """At the end nothing is in two places, as no write was cut off between a letter and its settlement."""
    script = Script(seed + 100)
    script.run(300)
    script.house.room.close_session(0, True, script.house.now)
    script.house.room.close_session(1, True, script.house.now)
    queued, letters = everywhere(script.house)
    assert sorted(map(str, queued + letters)) == sorted(map(str, set(script.sent) - set(script.settled)))


def test_compaction_keeps_all_that_is_known(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Order, priority, attempts, marks, delays, lives, blocked letters and the next number outlive a rewrite."""
    monkeypatch.setattr(queue_module, "REWRITE_LEAST_BYTES", 2000)
    house = House()
    house.queue("q", dead_letter="nowhere", max_attempts=3, max_priority=2)
    history = house.consume("q", prefetch=1000)
    for _ in range(20):
        house.send("q", *[b"x" * 20] * 20)
        house.take(history, 0, [("ack", tag) for tag in house.take(history).tags])
    house.call("cancel", consumer=history)
    consumer = house.consume("q", prefetch=3)
    house.send("q", b"released", b"retried", b"held", keys=[b"k", None, b""], id="m")
    tags = house.take(consumer).tags
    house.take(consumer, 0, [("release", tags[0], 0), ("retry", tags[1], 0, None)])
    house.send("q", b"high", priority=2)
    house.send("q", b"delayed", delay_ms=5000)
    house.send("q", b"dies", expires_ms=6000)
    house.send("q", b"dead", expires_ms=0)
    house.advance(0)
    size = house.store.journal("queue-q").size_bytes
    assert not house.store.history[-1].appended
    assert size < 1000

    def shown(life: House) -> list[tuple[bytes | None, int, bool, bytes | None]]:
        return [(got.value, got.attempt, got.redelivered, got.key) for got in life.browse("q")]

    expected = [(b"high", 1, False, None), (b"released", 1, True, b"k"), (b"retried", 2, True, None)]
    assert shown(house) == [*expected, (b"dies", 1, False, None)]
    life = house.crash()
    assert shown(life) == [*expected, (b"held", 2, True, b""), (b"dies", 1, False, None)]
    assert life.call("describe_queue", name="q")["blocked"] == 1
    life.advance(5)
    assert (b"delayed", 1, False, None) in shown(life)
    life.queue("nowhere")
    life.advance(1)
    assert [letter.value for letter in life.drain("nowhere")] == [b"dead", b"dies"]
    seqs = [got.tag for got in house.browse("q")]
    life.send("q", b"new")
    assert life.browse("q")[-1].tag > max(seqs)


def test_the_numbers_of_an_empty_queue_go_on_after_a_rewrite(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal rewritten to nothing still knows which numbers were given."""
    monkeypatch.setattr(queue_module, "REWRITE_LEAST_BYTES", 100)
    house = House()
    house.queue("q")
    house.send("q", *[b"x" * 50] * 10)
    house.drain("q")
    house.advance(0)
    assert len(house.journal("q")) == 1
    life = house.crash()
    life.send("q", b"a")
    assert [got.tag for got in life.browse("q")] == [10]


def test_a_rewrite_is_due_by_a_deadline_and_not_tried_at_every_tick_when_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The room asks for a tick; a full disk there raises nothing, and the next attempt waits for growth."""
    monkeypatch.setattr(queue_module, "REWRITE_LEAST_BYTES", 200)
    house = House()
    house.queue("q")
    house.send("q", *[b"x" * 50] * 10)
    house.drain("q")
    assert house.room.next_deadline(house.now) == house.now.mono_s
    house.store.room_for = 0
    entries = house.journal("q")
    house.advance(0)
    assert house.journal("q") == entries
    assert house.room.next_deadline(house.now) is None
    house.store.room_for = None
    house.send("q", *[b"x" * 50] * 20)
    house.drain("q")
    house.advance(0)
    assert len(house.journal("q")) == 1


def test_a_large_live_queue_is_not_rewritten_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that is mostly alive stays as it is."""
    monkeypatch.setattr(queue_module, "REWRITE_LEAST_BYTES", 200)
    house = House()
    house.queue("q")
    for _ in range(10):
        house.send("q", *[b"x" * 50] * 10, headers={"name": b"value"})
        house.advance(0)
    assert all(write.appended for write in house.store.history[2:])


@pytest.mark.parametrize(
    "entry", [b"", b"Z", b"E123", b"U" + b"\xff" * 12, b"S\x01\x00\x00\x00", b"H\x09\x00" + b"\0" * 8]
)
def test_an_entry_that_cannot_be_read_stops_recovery(house: House, entry: bytes) -> None:
    """Checksums passed, so it is not ours: CorruptLog names the journal, and nothing is guessed."""
    house.store.apply(Write("queue-q", (entry,), appended=True))
    with pytest.raises(errors.CorruptLog) as caught:
        house.crash()
    assert caught.value.file == "queue-q"


def test_in_a_folder(tmp_path: Path) -> None:
    """The same over files: a second process's life finds what the first one left."""

    def open_room(now: Now) -> tuple[FolderStore, QueueRoom, Topology]:
        store = FolderStore(tmp_path / "folder")
        topology = Topology(store)  # type: ignore[arg-type]
        room = QueueRoom(
            store, RecordBatch, RecordBatch.encode, RecordBatch.decode, lambda session, note: None, topology
        )
        for entry in topology.replay():
            room.restore_meta(entry)
        room.recover(now)
        return store, room, topology

    now = Now(1.0, 1_700_000_000_000)
    store, room, _ = open_room(now)
    room.ops["create_queue"](1, {"name": "q"}, [], now)
    batch = RecordBatch([None] * 3, [b"a", None, b"c"], None, [1, 2, 3])
    room.ops["enqueue"](1, {"queue": "q"}, [batch], now)
    consumer = room.ops["consume"](1, {"queue": "q", "prefetch": 2}, [], now)[0]["consumer"]
    taken, _ = room.ops["take"](1, {"consumer": consumer, "max": 2}, [], now)
    room.ops["take"](1, {"consumer": consumer, "max": 0, "settle": [["ack", taken["tags"][0]]]}, [], now)
    store.close()

    store, room, _ = open_room(now)
    reply, (found,) = room.ops["browse"](1, {"queue": "q"}, [], now)
    assert (list(found.values), reply["attempts"], reply["redelivered"]) == ([None, b"c"], [2, 1], [True, False])
    store.close()


def test_recovery_needs_no_room_when_nothing_was_held() -> None:
    """A full disk does not keep a broker from starting where there is nothing to write."""
    house = House()
    house.queue("q")
    house.send("q", b"a")
    store = WatchedStore(house.store.history, epoch=2)
    store.room_for = 0
    assert House(store).counts("q") == (1, 0, 0)
