"""What members of a group see, in order, and what the broker keeps of it."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge import errors
from tests.native.core.world import EARLIEST, LATEST, Client, World, batch, committed


@pytest.fixture
def world() -> World:
    return World().with_topic(4)


def test_a_single_member_has_everything_when_join_returns(world: World) -> None:
    """Join of a first member assigns all partitions within the call, with positions and increasing leases."""
    client = world.client().join()
    [note] = client.notes
    assert note["note"] == "assign"
    assert [(t, p, position) for t, p, _, position in note["partitions"]] == [("t", n, 0) for n in range(4)]
    leases = [lease for _, _, lease, _ in note["partitions"]]
    assert leases == sorted(set(leases))
    assert min(leases) > 1 << 32


def test_cooperative_trace_moves_only_what_changes_hands(world: World) -> None:
    """A second member costs the first one only the partitions that move, and gets them only when they are
    free."""
    a = world.client().join()
    kept = dict(a.leases)
    b = world.client().join()
    assert a.trace() == [("assign", [0, 1, 2, 3]), ("revoke", [2, 3])]
    assert b.trace() == []
    a.release(2)
    assert b.trace() == [("assign", [2])]
    a.release(3)
    assert b.trace() == [("assign", [3])]
    assert a.trace() == []
    assert a.leases == {tp: lease for tp, lease in kept.items() if tp[1] in (0, 1)}
    assert min(b.leases.values()) > max(kept.values())


def test_eager_trace_stops_everybody_and_starts_together(world: World) -> None:
    """Under the eager protocol all give up everything, and nobody gets anything before all did."""
    a = world.client().join(protocol="eager")
    before = dict(a.leases)
    b = world.client().join(protocol="eager")
    c = world.client().join(protocol="eager")
    assert a.trace() == [("assign", [0, 1, 2, 3]), ("revoke", [0, 1, 2, 3])]
    a.release(0, 1, 2)
    assert b.trace() == c.trace() == []
    a.release(3)
    assert [a.trace(), b.trace(), c.trace()] == [[("assign", [0, 1])], [("assign", [2])], [("assign", [3])]]
    assert min(a.leases.values()) > max(before.values())
    b.as_member("leave")
    assert a.trace() == [("revoke", [0, 1])]
    assert c.trace() == [("revoke", [3])]
    a.release(0, 1)
    assert a.trace() == []
    c.release(3)
    assert [a.trace(), c.trace()] == [[("assign", [0, 1])], [("assign", [2, 3])]]


def test_a_revoke_says_how_long_there_is(world: World) -> None:
    """The deadline in a revoke note is the member's own rebalance timeout."""
    a = world.client().join(rebalance_timeout_s=7.5)
    world.client().join()
    assert a.notes[-1]["deadline_s"] == 7.5


def test_a_third_member_does_not_make_a_revoked_partition_turn_round(world: World) -> None:
    """While a partition is on its way, a further change sends it on; its holder is asked once."""
    a = world.client().join()
    b = world.client().join()
    c = world.client().join()
    revoked = [p for note, partitions in a.trace() if note == "revoke" for p in partitions]
    assert len(revoked) == len(set(revoked))
    a.release(*revoked)
    assert sorted([*a.held, *b.held, *c.held]) == [("t", n) for n in range(4)]
    assert [len(x.held) for x in (a, b, c)] == [2, 1, 1]


def test_what_is_on_its_way_goes_on_when_the_topic_grows(world: World) -> None:
    """The target sticks, not what is held: a partition promised to another is not promised back for
    balance."""
    a, b = world.client().join(), world.client().join()
    a.call("add_partitions", name="t", partitions=8)
    a.release(2, 3)
    assert {("t", 2), ("t", 3)} < set(b.held)
    assert len(a.held) == len(b.held) == 4


def test_a_taker_that_leaves_first_gives_the_partitions_back(world: World) -> None:
    """What was revoked in favour of a member that is gone returns to its holder under a new lease, once
    released."""
    a = world.client().join()
    old = dict(a.leases)
    b = world.client().join()
    b.as_member("leave")
    assert a.trace() == [("assign", [0, 1, 2, 3]), ("revoke", [2, 3])]
    a.release(2, 3)
    assert a.trace() == [("assign", [2, 3])]
    assert a.leases["t", 2] > old["t", 2]
    assert a.leases["t", 0] == old["t", 0]


def test_silence_for_the_session_timeout_removes_a_member(world: World) -> None:
    """Exactly at the session timeout, and not before, a silent member is removed and its partitions move
    at once."""
    a, b = world.client().join(), world.client().join()
    a.release(2, 3)
    a.trace(), b.trace()
    for _ in range(3):
        world.advance(3.0)
        b.as_member("heartbeat")
    world.advance(0.9)
    assert a.trace() == b.trace() == []
    assert world.broker.next_deadline(world.now) == pytest.approx(1010.0)
    world.advance(0.1)
    assert a.trace() == [("lost", [0, 1]), ("removed", "session timeout")]
    assert b.trace() == [("assign", [0, 1])]
    with pytest.raises(errors.Fenced):
        a.as_member("heartbeat")


@pytest.mark.parametrize("sign", ["commit", "released", "heartbeat"])
def test_whatever_a_member_says_is_a_sign_of_life(world: World, sign: str) -> None:
    """Who commits or answers a revoke is alive; said over another connection it does not count."""
    a = world.client().join()
    args: dict[str, Any] = {"commit": {"offsets": []}, "released": {"partitions": []}, "heartbeat": {}}[sign]
    world.advance(9.0)
    a.as_member(sign, **args)
    world.advance(9.0)
    if sign != "heartbeat":
        world.client().call(sign, group="g", member=a.member, **args)
    assert len(a.held) == 4
    world.advance(1.0)
    assert a.held == []


def test_a_member_that_does_not_let_go_is_removed_at_the_rebalance_timeout(world: World) -> None:
    """A holder that heartbeats but never releases loses everything at the deadline of the revoke."""
    a = world.client().join(session_timeout_s=100.0)
    b = world.client().join(session_timeout_s=100.0)
    world.advance(29.0)
    a.as_member("heartbeat")
    a.trace()
    world.advance(1.0)
    assert a.trace() == [("lost", [0, 1, 2, 3]), ("removed", "rebalance timeout")]
    assert b.held == [("t", n) for n in range(4)]


def test_a_static_member_takes_its_own_place(world: World) -> None:
    """A join with a present instance id fences the old holder and disturbs nobody else."""
    a = world.client().join(instance_id="one")
    b = world.client().join(instance_id="two")
    a.release(2, 3)
    old = dict(a.leases)
    a.trace(), b.trace()
    again = world.client().join(instance_id="one")
    assert a.trace() == [("lost", [0, 1]), ("removed", "fenced")]
    assert again.trace() == [("assign", [0, 1])]
    assert b.trace() == []
    assert a.commit(0, 0, lease=old["t", 0]) == [["t", 0]]
    assert again.commit(0, 0, lease=old["t", 0]) == [["t", 0]]
    assert again.commit(0, 0) == []
    with pytest.raises(errors.Fenced):
        a.as_member("heartbeat")
    with pytest.raises(errors.Fenced):
        a.as_member("released", partitions=[["t", 0]])


def test_a_static_member_that_comes_back_wanting_other_topics_rebalances(world: World) -> None:
    """A take-over with another subscription is a change for all."""
    world.with_topic(2, "u")
    a = world.client().join(["t"], instance_id="one")
    b = world.client().join(["t"])
    a.release(2, 3)
    again = world.client().join(["u"], instance_id="one")
    assert again.held == [("u", 0), ("u", 1)]
    assert b.held == [("t", n) for n in range(4)]
    assert a.held == []


def test_a_static_takeover_in_the_midst_of_a_revoke(world: World) -> None:
    """What the old holder was giving up goes to its new owner at once; the take-over has ended the old
    lease."""
    a = world.client().join(instance_id="one")
    b = world.client().join()
    again = world.client().join(instance_id="one")
    assert sorted(again.held + b.held) == [("t", n) for n in range(4)]
    assert len(b.held) == 2
    assert again.trace() == [("assign", [p for _, p in again.held])]
    assert a.trace()[-1] == ("removed", "fenced")


# --- refusals ---


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"topics": ["t", "missing"]}, errors.NotFound),
        ({"topics": []}, errors.ConfigurationError),
        ({"topics": ["t", "t"]}, errors.ConfigurationError),
        ({"topics": "t"}, errors.ConfigurationError),
        ({"protocol": "eager"}, errors.ConfigurationError),
        ({"protocol": "sticky"}, errors.ConfigurationError),
        ({"session_timeout_s": 0}, errors.ConfigurationError),
        ({"session_timeout_s": float("inf")}, errors.ConfigurationError),
        ({"rebalance_timeout_s": None}, errors.ConfigurationError),
        ({"instance_id": 7}, errors.ConfigurationError),
        ({"group": "no spaces"}, errors.ConfigurationError),
    ],
)
def test_a_join_that_is_refused_changes_nothing(
    world: World, args: dict[str, Any], error: type[errors.MqbridgeError]
) -> None:
    """Whoever is in the group notices nothing of a join that was refused."""
    a = world.client().join()
    a.trace()
    with pytest.raises(error):
        world.client().join(**args)
    assert a.trace() == []
    assert len(describe(a)["members"]) == 1


def test_the_protocol_may_change_while_nobody_is_there(world: World) -> None:
    """One protocol at a time, not one for ever."""
    world.client().join(protocol="eager").as_member("leave")
    assert world.client().join(protocol="server").held == [("t", n) for n in range(4)]


def test_a_member_is_heard_on_its_own_connection_only(world: World) -> None:
    """Kept alive from elsewhere it would hold partitions without hearing of revokes."""
    a = world.client().join()
    with pytest.raises(errors.Fenced):
        world.client().call("heartbeat", group="g", member=a.member)


def test_leaving_twice_and_releasing_what_is_not_held_are_harmless(world: World) -> None:
    """Close can be repeated; a late release of another's partition takes nothing away."""
    a, b = world.client().join(), world.client().join()
    a.release(2, 3)
    a.as_member("released", partitions=[["t", 2], ["nowhere", 0]])
    assert b.commit(2, 0) == []
    a.as_member("leave")
    a.as_member("leave")
    assert b.held == [("t", n) for n in range(4)]


def test_an_unasked_release_comes_back_leased_anew(world: World) -> None:
    """Whoever gives up what the target still gives it gets it again, and its old lease is stale."""
    a = world.client().join()
    old = a.leases["t", 1]
    a.release(1)
    assert a.leases["t", 1] > old
    assert a.commit(1, 0, lease=old) == [["t", 1]]


# --- topics change ---


@pytest.mark.parametrize("protocol", ["cooperative", "server", "eager"])
def test_added_partitions_are_assigned(world: World, protocol: str) -> None:
    """Members get new partitions without doing anything, from offset 0."""
    a = world.client().join(protocol=protocol, start=LATEST)
    a.trace()
    a.call("add_partitions", name="t", partitions=6)
    if protocol == "eager":
        assert a.trace() == [("revoke", [0, 1, 2, 3])]
        a.release(0, 1, 2, 3)
        assert a.trace() == [("assign", [0, 1, 2, 3, 4, 5])]
    else:
        assert a.trace() == [("assign", [4, 5])]


def test_a_deleted_topic_is_lost_and_its_offsets_with_it(world: World) -> None:
    """Holders hear of it; a topic of that name made later is started anew, after a restart as well."""
    world.with_topic(2, "u")
    a = world.client().join(["t", "u"])
    a.call("append", batch(b"x"), topic="t", partition=0)
    a.commit(0, 1)
    lease = a.leases["t", 0]
    a.trace()
    a.call("delete_topic", name="t")
    assert a.trace() == [("lost", [0, 1, 2, 3])]
    assert a.held == [("u", 0), ("u", 1)]
    world.with_topic(4)
    world.client().join(["u"], group="g").as_member("leave")
    a.release(1, topic="u")
    assert [partitions for note, partitions in a.trace() if note == "assign"] == [[1]]
    assert {topic for topic, _ in a.held} == {"u"}
    assert a.commit(0, 0, lease=lease) == [["t", 0]]
    assert committed(a) == {("u", 0): 0, ("u", 1): 0}
    world.restart()
    assert committed(world.client()) == {("u", 0): 0, ("u", 1): 0}


def test_a_group_ends_with_its_last_topic(world: World) -> None:
    """Nothing is left of a group without members whose topics are gone."""
    a = world.client().join()
    a.call("delete_topic", name="t")
    assert describe(a)["state"] == "stable"
    a.as_member("leave")
    assert a.call("list_groups") == {"groups": []}
    world.restart()
    assert world.client().call("list_groups") == {"groups": []}


# --- sessions and restarts ---


def test_a_broken_connection_removes_no_member(world: World) -> None:
    """A member whose connection broke holds on until its session timeout; notes for it go nowhere."""
    a = world.client().join()
    world.broker.close_session(a.session, False, world.now)
    b = world.client().join()
    world.advance(9.0)
    b.as_member("heartbeat")
    assert b.held == []
    world.advance(1.0)
    assert b.held == [("t", n) for n in range(4)]


def test_leases_grow_across_a_restart_and_old_ones_are_refused(world: World) -> None:
    """After a take-over no lease of the former life is current, whatever member id comes with it."""
    a = world.client().join()
    old = dict(a.leases)
    world.restart()
    b = world.client().join()
    assert min(b.leases.values()) > max(old.values())
    assert b.commit(0, 0, lease=old["t", 0]) == [["t", 0]]
    former = world.client()
    former.group, former.member = "g", a.member
    assert former.commit(0, 0, lease=old["t", 0]) == [["t", 0]]


def test_group_description(world: World) -> None:
    """What `describe_group` says agrees with what members hold and what is committed."""
    a, b = world.client().join(instance_id="one"), world.client().join()
    a.call("append", batch(*[b"x"] * 5), topic="t", partition=0)
    a.commit(0, 3)
    described = describe(a)
    assert described["state"] == "rebalancing"
    assert described["members"][0]["assignment"] == [["t", n] for n in range(4)]
    a.release(2, 3)
    world.advance(2.0)
    described = describe(a)
    assert described["state"] == "stable"
    assert described["protocol"] == "cooperative"
    assert described["epoch"] > 1 << 32
    assert described["members"] == [
        {
            "member": client.member,
            "instance_id": instance_id,
            "topics": ["t"],
            "assignment": [list(tp) for tp in client.held],
            "last_heartbeat_age_s": 2.0,
        }
        for client, instance_id in ((a, "one"), (b, None))
    ]
    assert described["offsets"][:2] == [["t", 0, 3, 5, 2], ["t", 1, 0, 0, 0]]
    assert a.call("list_groups")["groups"] == [
        {"group": "g", "state": "stable", "protocol": "cooperative", "members": 2}
    ]
    for client in (a, b):
        client.as_member("leave")
    assert describe(a)["state"] == "empty"
    assert describe(a)["protocol"] is None


def test_a_deleted_group_starts_anew(world: World) -> None:
    """Deleting a group forgets its offsets durably; a missing one is NotFound."""
    a = world.client().join()
    a.call("append", batch(b"x"), topic="t", partition=0)
    a.commit(0, 1)
    a.as_member("leave")
    a.call("delete_group", group="g")
    world.restart()
    admin = world.client()
    assert committed(admin) == {}
    for op in ("delete_group", "describe_group"):
        with pytest.raises(errors.NotFound):
            admin.call(op, group="g")
    assert world.client().join(start=EARLIEST).notes[-1]["partitions"][0][3] == 0


def describe(client: Client) -> dict[str, Any]:
    return client.call("describe_group", group="g")
