"""The broker's door: sessions, dispatch, recovery, time, and that nothing in it is left to chance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mqbridge import errors
from mqbridge.native.core import meta
from mqbridge.native.core.broker import Broker
from mqbridge.native.core.ports import Now
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.native.storage.store import FolderStore, MemoryStore
from tests.native.core.scripted import Script
from tests.native.core.world import World, batch

ROOT = Path(__file__).resolve().parents[3]
OPERATIONS = """
    create_topic delete_topic list_topics describe_topic add_partitions append append_many fetch offsets offset_at
    delete_records join heartbeat leave released commit committed list_groups describe_group reset_offsets delete_group
    create_queue delete_queue list_queues describe_queue purge_queue create_exchange delete_exchange list_exchanges bind
    unbind list_bindings enqueue publish consume take cancel browse move
""".split()


def unstarted(store: MemoryStore) -> Broker:
    return Broker(store, RecordBatch, RecordBatch.encode, RecordBatch.decode, lambda: "id")


def test_every_operation_is_known_and_checks_its_arguments() -> None:
    """No operation of the protocol is missing, and none does anything when its arguments are."""
    client = World().client()
    without_arguments = {"list_topics", "list_groups", "list_queues", "list_exchanges"}
    for op in OPERATIONS:
        if op in without_arguments:
            assert client.call(op)
        else:
            with pytest.raises(errors.MqbridgeError) as caught:
                client.call(op)
            assert "no operation" not in str(caught.value)
            assert caught.value.outcome == "not_applied"


def test_an_unknown_operation_names_the_nearest() -> None:
    """A client of another version learns what is wrong."""
    with pytest.raises(errors.ConfigurationError, match="create_topic"):
        World().client().call("create_topics")


def test_nothing_works_before_recovery_and_recovery_works_once() -> None:
    """A broker without its past would answer wrongly."""
    now = Now(0.0, 0)
    broker = unstarted(MemoryStore())
    for early in (
        lambda: broker.open_session(now),
        lambda: broker.call(1, "list_topics", {}, [], now),
        lambda: broker.tick(now),
        lambda: broker.next_deadline(now),
    ):
        with pytest.raises(errors.ConfigurationError):
            early()
    broker.recover(now)
    with pytest.raises(errors.ConfigurationError):
        broker.recover(now)


def test_a_closed_session_can_do_nothing_and_hears_nothing() -> None:
    """After close a session is gone for good; closing it again is harmless; numbers are not given twice."""
    world = World().with_topic(1)
    client, other = world.client(), world.client()
    client.call("fetch", topic="t", partition=0, offset=0, max_bytes=1, watch=True)
    for clean in (True, False):
        world.broker.close_session(client.session, clean, world.now)
    other.call("append", batch(b"x"), topic="t", partition=0)
    assert world.broker.take_notes() == []
    with pytest.raises(errors.Closed):
        client.call("list_topics")
    assert world.client().session not in (client.session, other.session)


def test_notes_are_taken_once() -> None:
    """A drained note does not come again."""
    world = World().with_topic(1)
    session = world.broker.open_session(world.now)
    args = {"topic": "t", "partition": 0}
    world.broker.call(session, "fetch", {**args, "offset": 0, "max_bytes": 1, "watch": True}, [], world.now)
    world.broker.call(session, "append", args, [batch(b"x")], world.now)
    assert world.broker.take_notes() == [(session, {"note": "data", **args})]
    assert world.broker.take_notes() == []


def test_the_next_deadline_is_the_earliest_of_all_rooms() -> None:
    """Sessions, retention and queues each have theirs; ticking at it leaves it in the future."""
    world = World()
    assert world.broker.next_deadline(world.now) is None
    world.with_topic(1)
    client = world.client()
    client.join(session_timeout_s=50.0)
    assert world.broker.next_deadline(world.now) == pytest.approx(1050.0)
    client.call("create_queue", name="q", spec={"message_ttl_s": 20.0})
    client.call("enqueue", batch(b"x"), queue="q")
    deadline = world.broker.next_deadline(world.now)
    assert deadline is not None
    assert world.now.mono_s < deadline <= 1020.0
    world.with_topic(1, "u", retention={"max_age_s": 5.0})
    assert world.broker.next_deadline(world.now) == pytest.approx(1001.0)
    for _ in range(100):
        deadline = world.broker.next_deadline(world.now)
        if deadline is None:
            break
        world.advance(deadline - world.now.mono_s)
        after = world.broker.next_deadline(world.now)
        assert after is None or after > world.now.mono_s
    assert client.trace()[-1] == ("removed", "session timeout")


def test_an_entry_nobody_knows_stops_recovery() -> None:
    """A journal of a newer version is not half understood."""
    for entry in (
        {"t": "replica"},
        {"no": "kind"},
        {"t": "topic", "name": "t"},
        {"t": "topic-deleted", "name": "t"},
    ):
        store = MemoryStore()
        store.journal("meta").append(json.dumps(entry).encode())
        with pytest.raises(errors.CorruptLog):
            unstarted(store).recover(Now(0.0, 0))


def test_all_rooms_come_back_from_a_folder(tmp_path: Path) -> None:
    """Topics, records, offsets, queues and messages are there in the next life, which has higher leases."""
    world = World(FolderStore(tmp_path)).with_topic(2)
    client = world.client()
    client.call("append", batch(b"a", b"b"), topic="t", partition=1)
    client.call("create_queue", name="q", spec={})
    client.call("enqueue", batch(b"m"), queue="q")
    client.join()
    client.commit(1, 1)
    leases = dict(client.leases)
    world.restart(FolderStore(tmp_path))  # as after a crash: the first store was never closed
    again = world.client()
    _, batches = again.call_all("fetch", topic="t", partition=1, offset=1, max_bytes=1000, watch=False)
    assert [list(b.values) for b in batches] == [[b"a", b"b"]]
    assert again.call("describe_queue", name="q")["ready"] == 1
    again.join()
    assert again.notes[-1]["partitions"][1][3] == 1
    assert min(again.leases.values()) > max(leases.values())
    assert again.commit(1, 2, lease=leases["t", 1]) == [["t", 1]]
    assert again.commit(1, 2) == []


def test_a_compacted_journal_makes_the_same_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal rewritten from the snapshots says what the long one said, and recovers the same."""
    monkeypatch.setattr(meta, "LEAST_BYTES", 2000)
    world = World().with_topic(3)
    client = world.client()
    client.call("create_topic", name="gone", spec={})
    client.call("delete_topic", name="gone")
    client.call("create_queue", name="q", spec={"max_length": 5})
    client.call("create_exchange", name="x", spec={"type": "fanout"})
    client.call("bind", exchange="x", destination=["queue", "q"], key="", headers=None, match="all")
    client.call("append", batch(*[b"x"] * 50), topic="t", partition=2)
    client.join()
    client.call("reset_offsets", group="other", topic="t", offsets={"2": 7})
    rows = [["t", 2, client.leases["t", 2], 1]]
    client.as_member("commit", offsets=rows, attempts=[["t", 2, 3, 4]])
    client.commit(1, 0)

    def state() -> list[Any]:
        admin = world.client()
        return [
            admin.call(op, **args)
            for op, args in (
                ("list_topics", {}),
                ("list_queues", {}),
                ("list_exchanges", {}),
                ("list_bindings", {"exchange": "x"}),
                ("committed", {"group": "g", "topics": None}),
                ("committed", {"group": "other", "topics": None}),
            )
        ]

    expected = state()
    journal = world.store.journal("meta")
    while journal.size_bytes < 8000:
        client.call("reset_offsets", group="busy", topic="t", offsets={"0": 0})
    before = journal.size_bytes
    world.advance(0.5)
    assert journal.size_bytes < before / 4
    assert state() == expected
    world.restart()
    assert state() == expected
    client = world.client()
    client.call("add_partitions", name="t", partitions=4)
    note = client.join(start={"kind": "latest"}).notes[-1]
    assert [position for _, _, _, position in note["partitions"]] == [0, 0, 1, 0]  # brought before, so rule 3
    assert note["attempts"] == [["t", 2, 3, 4]]
    assert world.client().join(group="other", start={"kind": "latest"}).notes[-1]["partitions"][2][3] == 7


def test_a_failing_room_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk refuses retention; members still time out, and the error is raised after that."""
    world = World(MemoryStore(segment_bytes=1000)).with_topic(1, retention={"max_age_s": 1.0})
    client = world.client().join()
    client.call("append", batch(b"x"), topic="t", partition=0)

    def refuse() -> None:
        raise errors.Rejected("no room on the disk", retryable=True)

    with monkeypatch.context() as patched:
        patched.setattr(world.store.partition_log("t", 0), "roll", refuse)
        world.now = Now(world.now.mono_s + 20.0, world.now.wall_ms + 20_000)
        with pytest.raises(errors.Rejected):
            world.broker.tick(world.now)
        world.pump()
        assert client.trace()[-1] == ("removed", "session timeout")
        world.broker.tick(world.now)
    world.advance(1.0)
    assert client.call("offsets", topic="t")["partitions"]["0"] == {"start": 1, "end": 1}


def test_the_same_script_gives_the_same_notes() -> None:
    """Replies and notes are a function of the calls: twice in one process, and whatever the hash seed."""
    expected = Script(7).run(400)
    assert Script(7).run(400) == expected
    assert expected.count('"revoke"') > 10
    assert expected.count('"messages"') > 10
    for seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-m", "tests.native.core.scripted", "7", "400"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert found == expected
