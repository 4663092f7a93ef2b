"""How far a group is: who may commit, where a group starts, what survives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mqbridge import errors
from mqbridge.native.storage.store import FolderStore
from tests.native.core.world import LATEST, WALL_MS, World, batch, committed


@pytest.fixture
def world() -> World:
    return World().with_topic(4)


def test_stale_commits_are_refused_and_the_others_of_the_call_applied(world: World) -> None:
    """A commit is judged by its lease, partition by partition."""
    client = world.client()
    client.call("append", batch(*[b"x"] * 9), topic="t", partition=0)
    client.call("append", batch(*[b"x"] * 9), topic="t", partition=3)
    a, b = world.client().join(), world.client().join()
    stale = a.leases["t", 3]
    a.release(2, 3)
    reply = a.as_member("commit", offsets=[["t", 0, a.leases["t", 0], 5], ["t", 3, stale, 9]])
    assert reply == {"refused": [["t", 3]]}
    assert b.commit(3, 7) == []
    assert committed(client) == {("t", 0): 5, ("t", 1): 0, ("t", 2): 0, ("t", 3): 7}


def test_a_commit_counts_while_the_partition_is_being_revoked(world: World) -> None:
    """Draining is what a revoke is for: until it released, the holder commits under its lease."""
    a = world.client().join()
    a.call("append", batch(b"x", b"y"), topic="t", partition=3)
    b = world.client().join()
    assert a.commit(3, 2) == []
    a.release(2, 3)
    assert b.notes[-1]["partitions"][1][3] == 2


def test_a_commit_may_go_back_but_not_beyond_the_end(world: World) -> None:
    """Seek commits backwards; an offset that does not exist refuses the whole call, with nothing applied."""
    a = world.client().join()
    a.call("append", batch(b"x", b"y"), topic="t", partition=0)
    assert a.commit(0, 2) == []
    assert a.commit(0, 1) == []
    rows = [["t", 0, a.leases["t", 0], 0], ["t", 1, a.leases["t", 1], 1]]
    with pytest.raises(errors.ConfigurationError):
        a.as_member("commit", offsets=rows)
    with pytest.raises(errors.ConfigurationError):
        a.commit(0, -1)
    assert committed(a)["t", 0] == 1


def test_a_removed_member_can_commit_nothing(world: World) -> None:
    """After its removal every lease of a member is refused, also before somebody else has the partition."""
    a = world.client().join()
    leases = dict(a.leases)
    world.advance(10.0)
    assert a.as_member("commit", offsets=[["t", 0, leases["t", 0], 0]]) == {"refused": [["t", 0]]}


def test_offsets_are_set_from_outside_only_without_members(world: World) -> None:
    """An administrator's commit and reset are refused while somebody may be reading."""
    admin = world.client()
    admin.call("append", batch(*[b"x"] * 5), topic="t", partition=1)
    a = world.client().join()
    for op, args in (
        ("commit", {"member": None, "offsets": [["t", 1, None, 3]]}),
        ("reset_offsets", {"topic": "t", "offsets": {"1": 3}}),
        ("delete_group", {}),
    ):
        with pytest.raises(errors.Rejected):
            admin.call(op, group="g", **args)
    a.as_member("leave")
    assert admin.call("commit", group="g", member=None, offsets=[["t", 1, None, 3]]) == {"refused": []}
    assert committed(admin)["t", 1] == 3
    admin.call("reset_offsets", group="g", topic="t", offsets={"1": 4})
    assert committed(admin)["t", 1] == 4
    assert world.client().join().notes[-1]["partitions"][1][3] == 4


@pytest.mark.parametrize(
    ("offsets", "error"),
    [
        ({"9": 0}, errors.NotFound),
        ({"1": 6}, errors.ConfigurationError),
        ({"1": 1}, errors.ConfigurationError),
        ({"1": -1}, errors.ConfigurationError),
        ({"one": 1}, errors.ConfigurationError),
        ([1], errors.ConfigurationError),
    ],
)
def test_reset_takes_only_offsets_that_can_be_read(
    world: World, offsets: Any, error: type[errors.MqbridgeError]
) -> None:
    """A reset to what is not in the log is refused, and then nothing of it applies."""
    admin = world.client()
    admin.call("append", batch(*[b"x"] * 5), topic="t", partition=1)
    admin.call("delete_records", topic="t", before={"1": 2})
    with pytest.raises(error):
        admin.call(
            "reset_offsets", group="g", topic="t", offsets=offsets if offsets == [1] else {"0": 0, **offsets}
        )
    assert committed(admin) == {}


def test_attempts_come_with_the_next_assignment(world: World) -> None:
    """Counts committed with an offset reach the next holder; those below the offset and of stale leases do
    not."""
    a = world.client().join()
    a.call("append", batch(*[b"x"] * 9), topic="t", partition=0)
    a.as_member(
        "commit",
        offsets=[["t", 0, a.leases["t", 0], 4], ["t", 1, 1, 0]],
        attempts=[["t", 0, 3, 9], ["t", 0, 4, 2], ["t", 0, 7, 1], ["t", 1, 0, 5]],
    )
    a.as_member("leave")
    world.restart()
    b = world.client().join()
    assert b.notes[-1]["attempts"] == [["t", 0, 4, 2], ["t", 0, 7, 1]]
    b.commit(0, 5)
    b.as_member("leave")
    assert "attempts" not in world.client().join().notes[-1]
    with pytest.raises(errors.ConfigurationError):
        a.as_member("commit", offsets=[], attempts=[["t", 0, 4]])


# --- where a group starts ---


def test_start_applies_only_where_nothing_is_committed(world: World) -> None:
    """Rule 1: an offset committed for one partition stands; the start decides for the others."""
    admin = world.client()
    for partition in range(4):
        admin.call("append", batch(b"x", b"y"), topic="t", partition=partition)
    admin.call("reset_offsets", group="g", topic="t", offsets={"2": 1})
    world.client().join(start=LATEST)
    assert list(committed(admin).values()) == [2, 2, 1, 2]


def test_latest_is_committed_before_anything_is_delivered(world: World) -> None:
    """Rule 2: LATEST and a crash skip nothing: the resolved start survives, for partitions never read too."""
    client = world.client()
    client.call("append", batch(b"old"), topic="t", partition=0)
    client.join(start=LATEST)
    client.call("append", batch(b"new"), topic="t", partition=0)
    client.call("append", batch(b"new"), topic="t", partition=1)
    world.restart()
    again = world.client().join(start=LATEST)
    assert [(p, position) for _, p, _, position in again.notes[-1]["partitions"]] == [
        (0, 1),
        (1, 0),
        (2, 0),
        (3, 0),
    ]


def test_a_partition_added_later_starts_at_its_beginning(world: World) -> None:
    """Rule 3: with LATEST as well, also when records came before anybody joined again, and after a
    restart."""
    client = world.client()
    a = world.client().join(start=LATEST)
    a.as_member("leave")
    client.call("add_partitions", name="t", partitions=5)
    client.call("append", batch(b"x"), topic="t", partition=4)
    world.restart()
    b = world.client().join(start=LATEST)
    assert b.notes[-1]["partitions"][4][3] == 0
    assert committed(world.client())["t", 4] == 0


def test_a_committed_offset_below_the_log_start_stays(world: World) -> None:
    """Rule 4: the group is not moved over a gap; reading there is OffsetLost with the facts."""
    a = world.client().join()
    a.call("append", batch(*[b"x"] * 5), topic="t", partition=0)
    a.as_member("leave")
    a.call("delete_records", topic="t", before={"0": 3})
    b = world.client().join(start=LATEST)
    assert b.notes[-1]["partitions"][0][3] == 0
    with pytest.raises(errors.OffsetLost) as caught:
        b.call("fetch", topic="t", partition=0, offset=0, max_bytes=1000, watch=False)
    facts = caught.value.__dict__
    assert {name: facts[name] for name in ("topic", "partition", "committed", "start")} == {
        "topic": "t",
        "partition": 0,
        "committed": 0,
        "start": 3,
    }


def test_start_at_and_since(world: World) -> None:
    """`at` takes the offsets named and the beginning elsewhere; `since` the first record that young, else
    the end."""
    client = world.client()
    for late in range(3):
        client.call("append", batch(b"x", timestamp_ms=WALL_MS + late), topic="t", partition=0)
    client.call("append", batch(b"x", timestamp_ms=WALL_MS), topic="t", partition=1)
    client.join(group="at", start={"kind": "at", "offsets": {"t": {"0": 2}}})
    client.join(group="since", start={"kind": "since", "timestamp_ms": WALL_MS + 1})
    assert list(committed(client, "at").values()) == [2, 0, 0, 0]
    assert list(committed(client, "since").values()) == [1, 1, 0, 0]


@pytest.mark.parametrize(
    "start",
    [
        None,
        {},
        {"kind": "newest"},
        {"kind": "at"},
        {"kind": "at", "offsets": {"t": {"0": 1}}},
        {"kind": "at", "offsets": {"t": {"4": 0}}},
        {"kind": "at", "offsets": {"other": {"0": 0}}},
        {"kind": "since"},
        {"kind": "since", "timestamp_ms": 1.5},
    ],
)
def test_a_start_that_cannot_be_means_nobody_joined(world: World, start: Any) -> None:
    """A wrong start is refused before there is a group, a member or an offset."""
    with pytest.raises(errors.ConfigurationError):
        world.client().join(start=start)
    assert world.client().call("list_groups") == {"groups": []}
    world.restart()
    assert world.client().call("list_groups") == {"groups": []}


def test_a_topic_brought_later_by_another_member_gets_its_own_start(world: World) -> None:
    """The start rules look at each topic: what the group knows stays, what is new is resolved."""
    world.with_topic(1, "u")
    a = world.client().join(["t"])
    for topic in ("t", "u"):
        a.call("append", batch(b"x"), topic=topic, partition=0)
    b = world.client().join(["t", "u"], start=LATEST)
    assert committed(b)["t", 0] == 0
    assert committed(b)["u", 0] == 1
    assert b.held == [("u", 0)]


def test_a_group_goes_back_to_the_end_of_a_log_that_lost_records(tmp_path: Path) -> None:
    """Offsets that a power cut took are given again; the group reads the records that have them now, twice
    restarted."""
    world = World(FolderStore(tmp_path)).with_topic(2)
    a = world.client().join()
    for partition in (0, 1):
        a.call("append", batch(b"x"), topic="t", partition=partition)
    [file] = tmp_path.glob("topics/t/0/*.log")
    size = file.stat().st_size
    for partition in (0, 1):
        a.call("append", batch(b"y", b"z"), topic="t", partition=partition)
        assert a.commit(partition, 3) == []
    with file.open("r+b") as log:
        log.truncate(size)
    world.restart(FolderStore(tmp_path))
    admin = world.client()
    assert committed(admin) == {("t", 0): 1, ("t", 1): 3}
    admin.call("append", *[batch(b"Y", b"Z", b"!")], topic="t", partition=0)
    world.restart(FolderStore(tmp_path))
    assert committed(world.client()) == {("t", 0): 1, ("t", 1): 3}
