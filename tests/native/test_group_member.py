"""A member of a group, against a broker that answers when the test says so."""

from __future__ import annotations

from typing import Any, cast

from mqbridge.errors import ConnectionLost, Fenced, NotFound, Rejected
from mqbridge.native.engine import NativeConnection
from mqbridge.native.group_member import GroupMember
from mqbridge.native.runtime.links import NoRoom
from mqbridge.spi import Event, Fatal, Revoking, Start, TopicSubscriptionSpec
from mqbridge.topology import Topic
from tests.native.scripted import ScriptedConnection

SPEC = TopicSubscriptionSpec(
    (Topic("t"),), "g", Start("earliest"), "read_committed", "cooperative", None, 10.0, 5.0, "latest"
)
GONE = ConnectionLost("gone", outcome="not_applied")


class Party:
    def __init__(self) -> None:
        self.connection = ScriptedConnection()
        self.link = self.connection.session.link
        self.ready = 0
        self.member = GroupMember(cast(NativeConnection, self.connection), SPEC, self._set)

    def _set(self) -> None:
        self.ready += 1

    def joined(self, name: str, lease: int = 1) -> None:
        self.link.answer({"member": name})
        self.member.note({"note": "assign", "partitions": [["t", 0, lease, 0]]})

    def fatal(self) -> list[Event]:
        return [event for event in self.member.events() if isinstance(event, Fatal)]


def test_an_absent_member_joins_once_when_there_is_a_host_again() -> None:
    """The host comes back while the consumer is absent, and then it is polled: one join, one member."""
    party = Party()
    party.joined("m1")
    party.connection.clock.now_s += 6
    party.member.heartbeat()
    assert party.link.ops == ["leave"]
    party.link.fail(GONE)
    party.member.lost()
    party.member.restored()
    party.member.take(1)
    assert party.link.ops == ["join"]
    party.joined("m2")
    party.member.take(0)
    assert party.member.member == "m2"
    assert "join" not in party.link.ops


def test_a_join_refused_by_a_link_that_was_replaced_meanwhile_is_made_again() -> None:
    """The refusal comes after the news of the new host: nobody else would join for it."""
    party = Party()
    party.member.restored()
    party.link.fail(GONE)
    (again,) = party.connection.repeats
    again()
    assert party.link.ops == ["join"]


def test_a_refusal_that_passes_is_no_end() -> None:
    """A join or a fetch for which there is no room at this moment is made again; one that is wrong is fatal."""
    party = Party()
    party.link.fail(NoRoom("full"))
    party.connection.repeats.pop()()
    party.joined("m1")
    party.member.take(1)
    party.link.fail(Rejected("no room on the disk", retryable=True))
    ready = party.ready
    party.connection.repeats.pop()()
    assert party.ready == ready + 1
    assert party.fatal() == []
    party.member.take(1)
    party.link.fail(NotFound("no such topic"))
    assert len(party.fatal()) == 1


def test_a_late_release_does_not_end_a_new_lease() -> None:
    """done() of a revocation that belongs to an earlier membership, or an earlier lease, leaves today's fetch alone."""
    party = Party()
    party.joined("m1")

    def revoke() -> Revoking:
        party.member.note({"note": "revoke", "partitions": [["t", 0]], "deadline_s": 1.0})
        return next(event for event in party.member.events() if isinstance(event, Revoking))

    first = revoke()
    party.member.lost()
    party.member.restored()
    party.joined("m2", lease=2)
    first.done()
    assert ("t", 0) in party.member._fetches
    second = revoke()
    party.member.note({"note": "lost", "partitions": [["t", 0]]})
    party.member.note({"note": "assign", "partitions": [["t", 0, 3, 0]]})
    second.done()
    assert ("t", 0) in party.member._fetches


def test_a_heartbeat_of_an_earlier_member_fences_nobody() -> None:
    """The refusal of a heartbeat sent under another member id does not remove the present member."""
    party = Party()
    party.joined("m1")
    party.member.heartbeat()
    heard: Any = party.link.asked.pop(0)[3]
    party.member.lost()
    party.member.restored()
    party.joined("m2")
    heard(None, [], Fenced("unknown member m1"))
    assert party.member.member == "m2"


def test_a_seek_is_not_overwritten_by_the_way_to_the_end() -> None:
    """`on_gap="latest"` looks up the end; a place that the application chose meanwhile stands."""
    from mqbridge.errors import OffsetLost

    party = Party()
    party.joined("m1")
    party.member.take(1)
    party.link.fail(OffsetLost("cut", topic="t", partition=0, committed=0, start=50))
    assert party.link.ops == ["offsets"]
    party.member.seek(("t", 0), 70)
    party.link.answer({"partitions": {"0": {"start": 50, "end": 100}}})
    party.member.take(1)
    assert party.link.asked[0][1]["offset"] == 70


def test_the_end_of_the_session_ends_the_member() -> None:
    """When there will be no host, the consumer is told why."""
    party = Party()
    party.member.failed(NotFound("the folder is gone"))
    assert len(party.fatal()) == 1
