"""Topics as clients see them: created, grown, appended to, read, cut and gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mqbridge import errors
from mqbridge.native.core.ports import Store
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.native.storage.store import FolderStore, MemoryStore
from tests.native.core.world import WALL_MS, Client, World, batch


@pytest.fixture
def world() -> World:
    return World().with_topic(2)


@pytest.fixture
def client(world: World) -> Client:
    return world.client()


def fetch(
    client: Client, offset: int, partition: int = 0, *, watch: bool = False, max_bytes: int = 1 << 20
) -> Any:
    reply, batches = client.call_all(
        "fetch", topic="t", partition=partition, offset=offset, max_bytes=max_bytes, watch=watch
    )
    return [(base, list(b.values)) for base, b in zip(reply["base_offsets"], batches, strict=True)]


def ends(client: Client) -> dict[str, list[int]]:
    partitions = client.call("offsets", topic="t")["partitions"]
    return {number: [p["start"], p["end"]] for number, p in partitions.items()}


def test_creating_twice_tells_what_stands_there(client: Client) -> None:
    """An existing topic is left as it is, and its own specification comes back, defaults filled in."""
    full = {
        "partitions": 3,
        "retention": {"max_age_s": 60, "max_bytes": None},
        "cleanup": "delete",
        "segment_bytes": None,
    }
    spec = {"partitions": 3, "retention": {"max_age_s": 60}}
    assert client.call("create_topic", name="new", spec=spec) == {"created": True, "spec": full}
    assert client.call("create_topic", name="new", spec={"partitions": 9}) == {"created": False, "spec": full}
    assert [t["name"] for t in client.call("list_topics")["topics"]] == ["new", "t"]
    described = client.call("describe_topic", name="new")
    assert described["spec"] == full
    assert [(p["partition"], p["start"], p["end"]) for p in described["partitions"]] == [
        (0, 0, 0),
        (1, 0, 0),
        (2, 0, 0),
    ]


def test_append_and_fetch_whole_batches(client: Client) -> None:
    """Offsets count up by record; a fetch begins with the batch that contains the offset and keeps to
    max_bytes."""
    assert client.call("append", batch(b"a", b"b"), topic="t", partition=0) == {"base_offset": 0}
    assert client.call("append", batch(None, b"c" * 100), topic="t", partition=0) == {"base_offset": 2}
    assert fetch(client, 1) == [(0, [b"a", b"b"]), (2, [None, b"c" * 100])]
    assert fetch(client, 1, max_bytes=1) == [(0, [b"a", b"b"])]
    assert fetch(client, 4) == []
    assert ends(client) == {"0": [0, 4], "1": [0, 0]}
    assert client.call("describe_topic", name="t")["partitions"][0]["size_bytes"] > 100


@pytest.mark.parametrize(
    ("op", "args", "error"),
    [
        ("append", {"topic": "no", "partition": 0}, errors.NotFound),
        ("append", {"topic": "t", "partition": 2}, errors.NotFound),
        ("append", {"topic": "t", "partition": "0"}, errors.ConfigurationError),
        ("append_many", {"topic": "no", "partitions": [0]}, errors.NotFound),
        ("append_many", {"topic": "t", "partitions": [0, 1]}, errors.ConfigurationError),
        ("append_many", {"topic": "t", "partitions": 0}, errors.ConfigurationError),
        ("fetch", {"topic": "t", "partition": 0, "offset": 1, "max_bytes": 1}, errors.ConfigurationError),
        ("fetch", {"topic": "t", "partition": 0, "offset": -1, "max_bytes": 1}, errors.ConfigurationError),
        ("fetch", {"topic": "t", "partition": 0, "offset": True, "max_bytes": 1}, errors.ConfigurationError),
        ("fetch", {"topic": "t", "partition": 0, "offset": 0, "max_bytes": 0}, errors.ConfigurationError),
        (
            "fetch",
            {"topic": "t", "partition": 0, "offset": 0, "max_bytes": 1, "watch": 1},
            errors.ConfigurationError,
        ),
        ("offsets", {"topic": "no"}, errors.NotFound),
        ("offset_at", {"topic": "no", "timestamp_ms": 0}, errors.NotFound),
        ("offset_at", {"topic": "t"}, errors.ConfigurationError),
        ("describe_topic", {"name": "no"}, errors.NotFound),
        ("delete_topic", {"name": "no"}, errors.NotFound),
        ("delete_topic", {}, errors.ConfigurationError),
        ("add_partitions", {"name": "t", "partitions": 2}, errors.ConfigurationError),
        ("add_partitions", {"name": "t", "partitions": 1}, errors.ConfigurationError),
        ("add_partitions", {"name": "t", "partitions": 10_001}, errors.ConfigurationError),
        ("delete_records", {"topic": "t", "before": {"0": 0, "1": 1}}, errors.ConfigurationError),
        ("delete_records", {"topic": "t", "before": {"2": 0}}, errors.NotFound),
    ],
)
def test_wrong_calls_are_refused_by_kind(
    client: Client, op: str, args: dict[str, Any], error: type[errors.MqbridgeError]
) -> None:
    """A missing thing is NotFound, a wrong argument ConfigurationError, and nothing is appended or
    created."""
    with pytest.raises(error):
        client.call(op, batch(b"x"), **args)
    assert ends(client) == {"0": [0, 0], "1": [0, 0]}


@pytest.mark.parametrize("batches", [[], [batch(b"x"), batch(b"y")], [RecordBatch([], [], None, [])]])
def test_append_takes_one_batch_with_records(client: Client, batches: list[RecordBatch]) -> None:
    """An empty batch has no offset, and two have two."""
    with pytest.raises(errors.ConfigurationError):
        client.call("append", *batches, topic="t", partition=0)


def test_append_many_reports_each_batch(client: Client) -> None:
    """A batch that is refused does not hinder the others, and its error says what became of it."""
    reply = client.call("append_many", batch(b"a"), batch(b"b"), batch(b"c"), topic="t", partitions=[1, 7, 1])
    assert reply["base_offsets"] == [0, None, 1]
    assert reply["errors"][0] is reply["errors"][2] is None
    assert reply["errors"][1]["code"] == "not_found"
    assert reply["errors"][1]["outcome"] == "not_applied"
    assert ends(client) == {"0": [0, 0], "1": [0, 2]}


def test_a_watch_is_told_once_of_its_own_partition(world: World, client: Client) -> None:
    """Only an empty fetch that asks for it watches; one append, one note; other partitions say nothing."""
    other = world.client()
    fetch(client, 0)
    fetch(other, 0, watch=True)
    client.call("append", batch(b"x"), topic="t", partition=1)
    assert other.notes == []
    client.call("append", batch(b"x"), topic="t", partition=0)
    client.call("append_many", batch(b"x"), topic="t", partitions=[0])
    assert other.notes == [{"note": "data", "topic": "t", "partition": 0}]
    assert client.notes == []
    fetch(client, 0, watch=True)  # there is something: no watch
    client.call("append", batch(b"x"), topic="t", partition=0)
    assert client.notes == []
    fetch(other, 3, watch=True)
    client.call("append_many", batch(b"x"), topic="t", partitions=[0])
    assert len(other.notes) == 2


def test_a_closed_session_is_not_told(world: World, client: Client) -> None:
    """A watch ends with its session."""
    fetch(client, 0, watch=True)
    world.broker.close_session(client.session, False, world.now)
    world.client().call("append", batch(b"x"), topic="t", partition=0)
    assert client.notes == []


def test_offset_at_looks_at_every_partition(client: Client) -> None:
    """The first record that is not older, or null."""
    for partition, late in ((0, 5), (0, 10), (1, 7)):
        client.call("append", batch(b"x", timestamp_ms=WALL_MS + late), topic="t", partition=partition)
    assert client.call("offset_at", topic="t", timestamp_ms=WALL_MS + 6) == {"partitions": {"0": 1, "1": 0}}
    assert client.call("offset_at", topic="t", timestamp_ms=WALL_MS + 8) == {
        "partitions": {"0": 1, "1": None}
    }


def test_delete_records_moves_the_start(world: World, client: Client) -> None:
    """What is below cannot be read, durably; going back or all the way is fine; one wrong offset applies
    none."""
    client.call("append", batch(*[b"x"] * 6), topic="t", partition=0)
    client.call("delete_records", topic="t", before={"0": 4})
    client.call("delete_records", topic="t", before={"0": 2})
    with pytest.raises(errors.ConfigurationError):
        client.call("delete_records", topic="t", before={"0": 5, "1": 1})
    assert ends(client)["0"] == [4, 6]
    with pytest.raises(errors.OffsetLost):
        fetch(client, 3)
    world.restart()
    assert ends(world.client())["0"] == [4, 6]
    world.client().call("delete_records", topic="t", before={"0": 6})
    assert ends(world.client())["0"] == [6, 6]


def test_added_partitions_are_there_after_a_restart(world: World, client: Client) -> None:
    """Growing keeps what is there, and lasts."""
    client.call("append", batch(b"x"), topic="t", partition=1)
    client.call("add_partitions", name="t", partitions=3)
    client.call("append", batch(b"y"), topic="t", partition=2)
    world.restart()
    assert ends(world.client()) == {"0": [0, 0], "1": [0, 1], "2": [0, 1]}


def test_a_deleted_topic_leaves_nothing_to_one_of_its_name(world: World, client: Client) -> None:
    """Watchers are woken to find out; records do not come back with the name, nor by a restart."""
    client.call("append", batch(b"x"), topic="t", partition=0)
    fetch(client, 1, watch=True)
    client.call("delete_topic", name="t")
    assert client.notes == [{"note": "data", "topic": "t", "partition": 0}]
    with pytest.raises(errors.NotFound):
        fetch(client, 1)
    world.restart()
    world.with_topic(1)
    assert ends(world.client()) == {"0": [0, 0]}


def test_a_deletion_cut_short_is_finished_by_recovery(tmp_path: Path) -> None:
    """A crash between the journal entry and the removal of the logs leaves no records behind."""

    class Crash(BaseException):
        pass

    store = FolderStore(tmp_path)
    world = World(store).with_topic(1)
    world.client().call("append", batch(b"x"), topic="t", partition=0)
    with pytest.MonkeyPatch.context() as patched:

        def crash(topic: str) -> None:
            raise Crash

        patched.setattr(store, "remove_topic", crash)
        with pytest.raises(Crash):
            world.client().call("delete_topic", name="t")
    assert any((tmp_path / "topics").iterdir())
    world.restart(FolderStore(tmp_path))
    assert world.client().call("list_topics") == {"topics": []}
    assert not any((tmp_path / "topics").iterdir())


def test_a_disk_that_refuses_to_delete_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The topic is gone at once; its bytes follow by a later tick, and never those of a topic made anew."""
    store = MemoryStore()
    world = World(store).with_topic(1)
    client = world.client()
    client.call("append", batch(b"x"), topic="t", partition=0)

    def refuse(topic: str) -> None:
        raise errors.Denied("not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(store, "remove_topic", refuse)
        client.call("delete_topic", name="t")
        assert client.call("list_topics") == {"topics": []}
        with pytest.raises(errors.Denied):
            world.advance(1.0)
        with pytest.raises(errors.Denied):
            client.call("create_topic", name="t", spec={})
        assert world.broker.next_deadline(world.now) == pytest.approx(1002.0)
    world.with_topic(1)
    client.call("append", batch(b"y"), topic="t", partition=0)
    world.advance(1.0)
    assert ends(client) == {"0": [0, 1]}
    client.call("delete_topic", name="t")
    assert world.broker.next_deadline(world.now) is None


def test_retention_goes_on_behind_a_damaged_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """One log that fails is reported, and the others are cut all the same."""
    world = World().with_topic(2, retention={"max_age_s": 1.0})
    client = world.client()
    for partition in (0, 1):
        client.call("append", batch(b"x"), topic="t", partition=partition)

    def fail() -> None:
        raise errors.CorruptLog("damaged", file="x", offset_bytes=0)

    monkeypatch.setattr(world.store.partition_log("t", 0), "roll", fail)
    with pytest.raises(errors.CorruptLog):
        world.advance(5.0)
    assert ends(client) == {"0": [0, 1], "1": [1, 1]}


class FullDisk(MemoryStore):
    """Refuses to write to the journal when told to."""

    def fill(self, patched: pytest.MonkeyPatch) -> None:
        def refuse(payload: bytes) -> None:
            raise errors.Rejected("no room on the disk", retryable=True)

        patched.setattr(self.journal("meta"), "append", refuse)


def test_a_full_disk_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the journal cannot be written, create, grow, delete, join and commit have not happened."""
    store = FullDisk()
    world = World(store).with_topic(2)
    a = world.client().join()
    a.call("append", batch(b"x"), topic="t", partition=0)
    with monkeypatch.context() as patched:
        store.fill(patched)
        for op, args in (
            ("create_topic", {"name": "new", "spec": {}}),
            ("add_partitions", {"name": "t", "partitions": 3}),
            ("delete_topic", {"name": "t"}),
            ("commit", {"group": "g", "member": a.member, "offsets": [["t", 0, a.leases["t", 0], 1]]}),
        ):
            with pytest.raises(errors.Rejected):
                a.call(op, **args)
        with pytest.raises(errors.Rejected):
            world.client().join(group="other")
    assert [(t["name"], t["spec"]["partitions"]) for t in a.call("list_topics")["topics"]] == [("t", 2)]
    assert a.call("committed", group="g", topics=None) == {"offsets": [["t", 0, 0], ["t", 1, 0]]}
    assert [g["group"] for g in a.call("list_groups")["groups"]] == ["g"]
    assert len(a.notes) == 1
    a.call("add_partitions", name="t", partitions=3)
    assert a.held == [("t", 0), ("t", 1), ("t", 2)]
    a.call("create_topic", name="new", spec={})


# --- retention ---


def filled(store: Store, **retention: Any) -> tuple[World, Client]:
    """A topic with three segments of one batch each, one second apart."""
    world = World(store).with_topic(1, retention=retention)
    client = world.client()
    for second in range(3):
        client.call("append", batch(b"x" * 900, timestamp_ms=WALL_MS + 1000 * second), topic="t", partition=0)
    return world, client


@pytest.mark.parametrize("durable", [False, True])
def test_retention_by_age_takes_whole_segments_then_the_active_one(tmp_path: Path, durable: bool) -> None:
    """A segment goes when its latest record is older than the limit; the active one is rolled and goes
    too."""
    store: Store = FolderStore(tmp_path, segment_bytes=1000) if durable else MemoryStore(segment_bytes=1000)
    world, client = filled(store, max_age_s=10.0)
    assert world.broker.next_deadline(world.now) == pytest.approx(1001.0)
    world.advance(10.0)
    assert ends(client)["0"] == [0, 3]
    world.advance(1.0)
    assert ends(client)["0"] == [1, 3]
    world.advance(0.5)
    assert ends(client)["0"] == [1, 3]
    world.advance(100.0)
    assert ends(client)["0"] == [3, 3]
    assert client.call("append", batch(b"y"), topic="t", partition=0) == {"base_offset": 3}


def test_retention_by_size_keeps_at_least_the_limit() -> None:
    """Segments go while what is left is at least max_bytes; the active one stays however large."""
    world, client = filled(MemoryStore(segment_bytes=1000), max_bytes=1000)
    world.advance(1.0)
    assert ends(client)["0"] == [1, 3]
    client.call("append", batch(b"x" * 5000), topic="t", partition=0)
    world.advance(1.0)
    assert ends(client)["0"] == [3, 4]


def test_without_retention_nothing_goes_and_nothing_is_due() -> None:
    """A topic without limits gives the broker no deadline."""
    world, client = filled(MemoryStore(segment_bytes=1000))
    world.advance(1e9)
    assert ends(client)["0"] == [0, 3]
    assert world.broker.next_deadline(world.now) is None


def test_a_topic_with_larger_segments_than_the_store_rolls_with_the_store() -> None:
    """The store rolls first; the topic does not roll once more for bytes that lie in older segments."""
    world = World(MemoryStore(segment_bytes=2000)).with_topic(1, segment_bytes=5000)
    for _ in range(6):
        world.client().call("append", batch(b"x" * 850), topic="t", partition=0)
    assert [s.next_offset for s in world.store.partition_log("t", 0).segments()] == [2, 4, 6]


def test_a_topic_has_segments_of_its_own_size() -> None:
    """`segment_bytes` of the topic rolls earlier than the store would; one large batch stands alone."""
    world = World().with_topic(1, segment_bytes=1024, retention={"max_bytes": 1})
    client = world.client()
    for _ in range(4):
        client.call("append", batch(b"x" * 400), topic="t", partition=0)
    world.advance(1.0)
    assert ends(client)["0"] == [2, 4]
    client.call("append", batch(b"x" * 4000), topic="t", partition=0)
    client.call("append", batch(b"x"), topic="t", partition=0)
    world.advance(1.0)
    assert ends(client)["0"] == [5, 6]
