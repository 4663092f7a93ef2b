"""The group under any order of events: nobody holds what another holds, and nothing moves but by accepted
commits.

A model follows what members were told and what they sent, and knows nothing of how the broker decides.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mqbridge import errors
from mqbridge.native.core.topics.membership import Assign, Lose, Member, Membership, Remove, Revoke
from tests.native.core.world import EARLIEST, LATEST, Client, World, batch

TP: TypeAlias = tuple[str, int]
RECORDS = 20
SESSION_TIMEOUT_S = 10.0
REBALANCE_TIMEOUT_S = 15.0
SUBSCRIPTIONS = (["t"], ["u"], ["t", "u"])


class ModelledClient(Client):
    """Checks what it is told against what all have been told, and told the broker, so far."""

    machine: GroupMachine

    def told(self, note: dict[str, Any]) -> None:
        super().told(note)
        machine = self.machine
        match note["note"]:
            case "assign":
                machine.forget_the_expired()
                for topic, partition, lease, position in note["partitions"]:
                    tp = (topic, partition)
                    assert tp not in machine.holders, f"{tp} is held by {machine.holders[tp]}"
                    assert lease > machine.last_lease, "leases always grow"
                    assert position == machine.committed.get(tp, 0)
                    machine.last_lease = lease
                    machine.holders[tp] = (note["member"], lease)
                    machine.every_lease.append((tp, lease))
            case "revoke":
                for topic, partition in note["partitions"]:
                    assert machine.holders[topic, partition][0] == self.member
                    self.asked[topic, partition] = machine.world.now.mono_s
            case "lost":
                for topic, partition in note["partitions"]:
                    assert machine.holders.pop((topic, partition))[0] == self.member
            case "removed":
                assert not [tp for tp, (member, _) in machine.holders.items() if member == self.member]
                assert note["reason"] == "fenced" or machine.world.now.mono_s >= self.deadline_s
                machine.members.remove(self)

    def __init__(self, machine: GroupMachine, instance: str | None) -> None:
        super().__init__(machine.world)
        self.machine = machine
        self.instance = instance
        self.asked: dict[TP, float] = {}
        self.last_seen_s = machine.world.now.mono_s
        machine.world.clients[self.session] = self

    def as_member(self, op: str, **args: Any) -> dict[str, Any]:
        self.last_seen_s = self.world.now.mono_s
        return super().as_member(op, **args)

    @property
    def deadline_s(self) -> float:
        """When the broker has to remove it, and not before."""
        asked_s = min(self.asked.values(), default=float("inf"))
        return min(self.last_seen_s + SESSION_TIMEOUT_S, asked_s + REBALANCE_TIMEOUT_S)


class GroupMachine(RuleBasedStateMachine):
    """One group on two topics; members join, answer, stay silent, commit, leave; topics grow; the broker
    restarts."""

    @initialize(protocol=st.sampled_from(["eager", "cooperative", "server"]))
    def start(self, protocol: str) -> None:
        self.protocol = protocol
        self.partitions = {"t": 3, "u": 2}
        self.world = World().with_topic(3, "t").with_topic(2, "u")
        self.admin = self.world.client()
        for tp in self.all_partitions():
            self.fill(tp)
        self.members: list[ModelledClient] = []
        self.silent: list[
            ModelledClient
        ] = []  # their connection broke: they hear nothing, and hold on for a while
        self.holders: dict[TP, tuple[str, int]] = {}
        self.every_lease: list[tuple[TP, int]] = []
        self.last_lease = 0
        self.committed: dict[TP, int] = {}

    def all_partitions(self) -> list[TP]:
        return [(topic, n) for topic, count in self.partitions.items() for n in range(count)]

    def fill(self, tp: TP) -> None:
        self.admin.call("append", batch(*[b"x"] * RECORDS), topic=tp[0], partition=tp[1])

    def pick(self, number: int) -> ModelledClient:
        return self.members[number % len(self.members)]

    def some_members(self) -> bool:
        return bool(self.members)

    # --- members come and go ---

    @rule(
        topics=st.sampled_from(SUBSCRIPTIONS),
        instance=st.sampled_from([None, None, "one", "two"]),
        start=st.sampled_from([EARLIEST, LATEST]),
    )
    def join(self, topics: list[str], instance: str | None, start: dict[str, Any]) -> None:
        for topic in topics:
            if not any(tp[0] == topic for tp in self.committed):
                offset = 0 if start == EARLIEST else RECORDS
                self.committed |= {(topic, n): offset for n in range(self.partitions[topic])}
        for former in [former for former in self.silent if instance and former.instance == instance]:
            self.drop_silent(former)
        client = ModelledClient(self, instance)
        self.members.append(client)
        client.join(
            topics,
            protocol=self.protocol,
            instance_id=instance,
            start=start,
            session_timeout_s=SESSION_TIMEOUT_S,
            rebalance_timeout_s=REBALANCE_TIMEOUT_S,
        )

    @precondition(some_members)
    @rule(number=st.integers(0, 9))
    def leave(self, number: int) -> None:
        client = self.pick(number)
        self.members.remove(client)
        self.holders = {tp: held for tp, held in self.holders.items() if held[0] != client.member}
        client.as_member("leave")

    @precondition(some_members)
    @rule(number=st.integers(0, 9), most=st.integers(0, 3))
    def answer_revoke(self, number: int, most: int) -> None:
        client = self.pick(number)
        self.give_up(client, list(client.asked)[:most])

    @precondition(some_members)
    @rule(number=st.integers(0, 9), tp=st.tuples(st.sampled_from("tu"), st.integers(0, 3)))
    def release_unasked(self, number: int, tp: TP) -> None:
        self.give_up(self.pick(number), [tp])

    def give_up(self, client: ModelledClient, partitions: list[TP]) -> None:
        for tp in partitions:
            if tp in self.holders and self.holders[tp][0] == client.member:
                del self.holders[tp]
            client.leases.pop(tp, None)
            client.asked.pop(tp, None)
        client.as_member("released", partitions=[list(tp) for tp in partitions])

    @precondition(some_members)
    @rule(number=st.integers(0, 9))
    def break_connection(self, number: int) -> None:
        client = self.pick(number)
        self.world.broker.close_session(client.session, False, self.world.now)
        self.members.remove(client)
        self.silent.append(client)

    def drop_silent(self, client: ModelledClient) -> None:
        self.silent.remove(client)
        self.holders = {tp: held for tp, held in self.holders.items() if held[0] != client.member}

    def forget_the_expired(self) -> None:
        for client in [client for client in self.silent if self.world.now.mono_s >= client.deadline_s]:
            self.drop_silent(client)

    # --- time ---

    @rule()
    def heartbeats(self) -> None:
        for client in list(self.members):
            client.as_member("heartbeat")

    @rule(seconds=st.sampled_from([0.5, 4.0, 11.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule()
    def restart(self) -> None:
        self.members.clear()
        self.silent.clear()
        self.holders.clear()
        self.world.restart()
        self.admin = self.world.client()

    # --- topics ---

    @rule(topic=st.sampled_from("tu"))
    def add_partition(self, topic: str) -> None:
        if self.partitions[topic] < 4:
            number = self.partitions[topic]
            self.partitions[topic] += 1
            if any(tp[0] == topic for tp in self.committed):
                self.committed[topic, number] = 0
            self.admin.call("add_partitions", name=topic, partitions=number + 1)
            self.fill((topic, number))

    # --- commits ---

    @precondition(some_members)
    @rule(number=st.integers(0, 9), offset=st.integers(0, RECORDS))
    def commit_all_held(self, number: int, offset: int) -> None:
        client = self.pick(number)
        held = [(tp, lease) for tp, (member, lease) in self.holders.items() if member == client.member]
        reply = client.as_member("commit", offsets=[[*tp, lease, offset] for tp, lease in held])
        assert reply == {"refused": []}
        self.committed |= {tp: offset for tp, _ in held}

    @precondition(lambda self: self.every_lease and self.members)
    @rule(number=st.integers(0, 9), which=st.integers(0, 10_000), offset=st.integers(0, RECORDS))
    def commit_some_lease(self, number: int, which: int, offset: int) -> None:
        client = self.pick(number)
        tp, lease = self.every_lease[which % len(self.every_lease)]
        current = self.holders.get(tp) == (client.member, lease)
        reply = client.as_member("commit", offsets=[[*tp, lease, offset]])
        assert reply == {"refused": [] if current else [list(tp)]}
        if current:
            self.committed[tp] = offset

    @rule(tp=st.tuples(st.sampled_from("tu"), st.integers(0, 1)), offset=st.integers(0, RECORDS))
    def reset(self, tp: TP, offset: int) -> None:
        if not any(known[0] == tp[0] for known in self.committed):
            return
        try:
            self.admin.call("reset_offsets", group="g", topic=tp[0], offsets={str(tp[1]): offset})
        except errors.Rejected:
            assert self.admin.call("describe_group", group="g")["members"]
        else:
            assert not self.members
            assert not self.silent
            self.committed[tp] = offset

    # --- what always holds, and what must come ---

    @invariant()
    def offsets_are_those_committed(self) -> None:
        rows = self.admin.call("committed", group="g", topics=None)["offsets"]
        assert {(topic, n): offset for topic, n, offset in rows} == self.committed

    @invariant()
    def broker_and_model_agree_on_who_holds_what(self) -> None:
        if not self.committed:
            return
        self.forget_the_expired()
        described = self.admin.call("describe_group", group="g")
        held = {(t, p): member["member"] for member in described["members"] for t, p in member["assignment"]}
        for tp, member in held.items():
            if member in [client.member for client in self.silent]:
                self.holders.setdefault(tp, (member, 0))  # it may be given something that it does not hear of
        assert held == {tp: member for tp, (member, _) in self.holders.items()}

    @rule()
    def settle(self) -> None:
        """When all answer, the assignment becomes complete and disjoint, and then nothing moves any more."""
        for _ in range(5):
            for client in list(self.members):
                self.give_up(client, list(client.asked))
            self.heartbeats()
            if self.silent:
                self.world.advance(SESSION_TIMEOUT_S / 2)
                self.forget_the_expired()
        if not self.members:
            return
        described = self.admin.call("describe_group", group="g")
        assert described["state"] == "stable"
        wanted = {topic for member in described["members"] for topic in member["topics"]}
        assert sorted(self.holders) == sorted(tp for tp in self.all_partitions() if tp[0] in wanted)
        for client in self.members:
            client.notes.clear()
        self.heartbeats()
        assert not [note for client in self.members for note in client.notes]


GroupMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestGroups = GroupMachine.TestCase


# --- the machine alone: its effects, in order ---


def numbers() -> Any:
    counter = iter(range(1, 10_000))
    return lambda: next(counter)


def member(name: str, *, instance: str | None = None, topics: tuple[str, ...] = ("t",)) -> Member:
    return Member(name, 1, instance, topics, 10.0, 30.0, 0.0)


def test_all_who_expire_together_cost_one_rebalance() -> None:
    """Two deaths in one tick: both are removed before anything is assigned, so nothing goes to a dead one."""
    group = Membership("cooperative", lambda topic: 6, numbers())
    a, b, c = member("a"), member("b"), member("c")
    for each in (a, b, c):
        group.join(each, 0.0)
        for present in list(group.members.values()):
            group.released(present.member_id, list(present.revoking), 0.0)
    c.last_seen_s = 5.0
    effects = group.expire(10.0)
    assert [(type(e), e.member.member_id) for e in effects] == [
        (Lose, "a"),
        (Remove, "a"),
        (Lose, "b"),
        (Remove, "b"),
        (Assign, "c"),
    ]
    assert len(c.held) == 6


def test_each_partition_keeps_the_deadline_of_its_first_asking() -> None:
    """A further change does not prolong what is due already."""
    group = Membership("cooperative", lambda topic: 6, numbers())
    a = member("a")
    group.join(a, 0.0)
    group.join(member("b"), 1.0)
    effects = group.join(member("c"), 2.0)
    assert [e.partitions for e in effects if isinstance(e, Revoke)] == [[("t", 2)]]
    assert a.revoking == {("t", 2): 32.0, ("t", 3): 31.0, ("t", 4): 31.0, ("t", 5): 31.0}
    for each in group.members.values():
        each.last_seen_s = 30.0
    assert group.expire(30.9) == []
    assert [e.reason for e in group.expire(31.0) if isinstance(e, Remove)] == ["rebalance timeout"]


def test_the_deadline_is_when_expire_acts() -> None:
    """`deadline_s` and `expire` reckon alike, to the last bit, or a ticker would spin."""
    group = Membership("server", lambda topic: 1, numbers())
    assert group.deadline_s() is None
    a = member("a")
    a.last_seen_s = 0.1
    a.session_timeout_s = 0.2
    group.join(a, 0.1)
    deadline_s = group.deadline_s()
    assert deadline_s is not None
    assert group.expire(deadline_s)
    assert group.state == "empty"


def test_a_static_identity_keeps_its_share_across_ids() -> None:
    """What a static member has depends on its instance id and not on the member id of the day."""
    group = Membership("eager", lambda topic: 4, numbers())
    group.join(member("m1", instance="b"), 0.0)
    group.join(member("m2", instance="a"), 0.0)
    group.released("m1", [("t", n) for n in range(4)], 0.0)
    before = {m.instance_id: list(m.held) for m in group.members.values()}
    group.join(member("m0", instance="b"), 0.0)
    group.partitions_added("t", 0.0)
    for each in list(group.members.values()):
        group.released(each.member_id, list(each.held), 0.0)
    assert {m.instance_id: list(m.held) for m in group.members.values()} == before
