"""What a fault did is found in the history, and a fault that did nothing is known for it.

Hand-written histories: `at` moments in milliseconds.
"""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge_conformance.faults import FaultEffect, effects
from mqbridge_conformance.history import Error, Event, History
from mqbridge_conformance.history.events import Kind

LOST = Error("connection_lost", "maybe_applied", "gone")
MISSING = Error("not_found", "not_applied", "no such queue")


class Writer:
    """Writes a history down by hand."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, t_ms: float, kind: Kind, f: str, proc: str = "p1", **fields: Any) -> int:
        seq = len(self.events) + 1
        self.events.append(Event(seq, int(t_ms * 1e6), proc, kind, f, **fields))
        return seq

    def operation(
        self, f: str, begin_ms: float, end_ms: float | None, kind: Kind = "ok", client: str = "c", **fields: Any
    ) -> None:
        """One operation; None: it never ended."""
        end = {name: fields.pop(name) for name in ("err", "more") if name in fields}
        seq = self.add(begin_ms, "invoke", f, client=client, **fields)
        if end_ms is not None:
            self.add(end_ms, kind, f, op=seq, client=client, **fields, **end)

    def deliver(self, t_ms: float, client: str = "in", **fields: Any) -> None:
        """A poll of no length that brings one message."""
        seq = self.add(t_ms, "invoke", "poll", client=client)
        self.add(t_ms, "ok", "deliver", op=seq, client=client, dest="queue:q", **fields)
        self.add(t_ms, "ok", "poll", op=seq, client=client, more={"count": 1})

    def fault(
        self, begin_ms: float, heal_ms: float | None, what: str = "pause", at: str = "broker", **more: Any
    ) -> None:
        """In force 1 ms after it was tried, healed 1 ms after that was begun."""
        seen = more.pop("seen", {})
        told = {"what": what, "at": at, **more}
        op = self.add(begin_ms, "invoke", "fault", "scenario", more=told)
        self.add(begin_ms + 1, "ok", "fault", "scenario", op=op, more=told)
        if heal_ms is not None:
            op = self.add(heal_ms, "invoke", "heal", "scenario", more=told)
            self.add(heal_ms + 1, "ok", "heal", "scenario", op=op, more={**told, **seen})

    def only(self) -> FaultEffect:
        (found,) = effects(History(self.events))
        return found


@pytest.fixture
def writer() -> Writer:
    """Sends at 10 and 20 ms, before any fault."""
    found = Writer()
    found.operation("send", 10, 11)
    found.operation("send", 20, 21)
    return found


def test_no_fault_has_no_effects() -> None:
    """An empty history has none to tell of."""
    assert effects(History([])) == []


def test_a_fault_that_nobody_met_had_no_effect(writer: Writer) -> None:
    """Work went on through it, or there was none: both say so in words."""
    writer.fault(100, 200)
    assert writer.only().text == "pause at broker (0.1 s): 0 invoked; nothing came of it"
    writer.operation("send", 150, 151)
    found = writer.only()
    assert (found.had_effect, found.counts) == (False, {"invoked": 1})


def test_a_fault_that_could_not_be_brought_about_had_none(writer: Writer) -> None:
    """Whatever failed at that time failed for another reason."""
    op = writer.add(100, "invoke", "fault", more={"what": "drop", "at": "link"})
    writer.operation("send", 110, 120, "info", err=LOST)
    writer.add(200, "fail", "fault", op=op, more={"what": "drop", "at": "link"})
    assert not writer.only().had_effect
    assert writer.only().text == "drop at link: it never came to be in force"


@pytest.mark.parametrize(("kind", "called"), [("fail", "failed"), ("info", "of unknown outcome")])
def test_what_fails_in_the_window_is_an_effect(writer: Writer, kind: Kind, called: str) -> None:
    """An operation that met the fault and failed; one that failed before it did not."""
    writer.operation("send", 30, 31, kind, err=LOST)
    writer.fault(100, 200)
    assert not writer.only().had_effect
    writer.operation("send", 150, 160, kind, err=LOST)
    found = writer.only()
    assert (found.had_effect, found.counts) == (True, {"invoked": 1, called: 1})
    assert found.text == f"pause at broker (0.1 s): 1 invoked, 1 {called}"


def test_an_error_about_what_was_asked_for_is_no_effect(writer: Writer) -> None:
    """A queue that does not exist is not found with or without a fault."""
    writer.fault(100, 200)
    writer.operation("send", 150, 151, "fail", err=MISSING)
    assert not writer.only().had_effect


def test_what_met_the_fault_and_failed_after_the_healing_counts(writer: Writer) -> None:
    """In flight, or begun before work was done again, however late it fails; what begins after that is another
    matter."""
    writer.fault(100, 200)
    writer.operation("send", 150, 600, "info", err=LOST)
    writer.operation("send", 270, 280)
    assert writer.only().counts == {"invoked": 1, "of unknown outcome": 1}
    writer.operation("send", 210, 500, "info", err=LOST)
    assert writer.only().counts == {"invoked": 1, "of unknown outcome": 2}
    writer.operation("send", 290, 300, "info", err=LOST)
    assert writer.only().counts == {"invoked": 1, "of unknown outcome": 2}


def test_what_was_held_until_it_was_over_is_an_effect(writer: Writer) -> None:
    """Sent meanwhile and confirmed afterwards, where no other send got through."""
    writer.fault(100, 200)
    writer.operation("send", 150, 205)
    found = writer.only()
    assert (found.had_effect, found.counts) == (True, {"invoked": 1, "held until it was over": 1})
    writer.operation("send", 120, 130)
    assert not writer.only().had_effect, "another send of the same client got through, so nothing was held"


def test_what_was_merely_under_way_was_not_held(writer: Writer) -> None:
    """A fault that is over before an operation usually ends has not held it; one that lasts longer has."""
    for begin in range(30, 60):
        writer.operation("send", begin, begin + 30)
    writer.operation("send", 60, 99)  # one of more than twenty
    writer.fault(100, 102)
    writer.operation("send", 99, 125)
    assert not writer.only().had_effect
    writer.fault(200, 235)
    writer.operation("send", 199, 250)
    assert [found.had_effect for found in effects(History(writer.events))] == [False, True]


@pytest.mark.parametrize(("together", "lasts_ms", "held"), [(40, 4, False), (40, 240, True), (1000, 240, False)])
def test_a_burst_waits_for_itself(writer: Writer, together: int, lasts_ms: int, held: bool) -> None:
    """Many at once take as many times what one takes, or what a burst takes at most; what lasts longer was held."""
    for begin in range(20):
        writer.operation("send", 2 * begin, 2 * begin + 2)
    for _ in range(together):
        writer.operation("send", 99, 102 + lasts_ms)
    writer.fault(100, 101 + lasts_ms)
    assert writer.only().had_effect == held


def test_a_burst_that_is_longer_than_any_was_held(writer: Writer) -> None:
    """However many there are."""
    for begin in range(20):
        writer.operation("send", 2 * begin, 2 * begin + 2)
    writer.fault(100, 401)
    for _ in range(1000):
        writer.operation("send", 99, 500)
    assert writer.only().counts["held until it was over"] == 1000


def test_an_empty_poll_that_outlasts_a_fault_is_no_effect(writer: Writer) -> None:
    """It waited because there was nothing; one that brought something was held."""
    writer.fault(100, 200)
    writer.operation("poll", 150, 250, more={"count": 0})
    assert not writer.only().had_effect
    writer.operation("poll", 151, 251, client="d", more={"count": 2})
    assert writer.only().had_effect


def test_what_a_killed_process_left_undone_is_an_effect(writer: Writer) -> None:
    """Of that process alone; a kill between two operations interrupted nothing."""
    writer.fault(100, None, "kill", "p1")
    assert not writer.only().had_effect
    writer.add(99, "invoke", "send", "p2")
    assert not writer.only().had_effect
    writer.operation("send", 99, None)
    found = writer.only()
    assert (found.had_effect, found.counts["cut short"]) == (True, 1)
    assert "to the end" in found.text


def test_messages_that_come_again_are_an_effect(writer: Writer) -> None:
    """After the healing too, when work has begun again; not what the application itself gave back."""
    writer.deliver(50, val="a", tag=1)
    writer.deliver(51, val="b", tag=2)
    writer.operation("release", 52, 53, client="in", dest="queue:q", val="b")
    writer.fault(100, 200)
    writer.deliver(210, val="b", tag=3, attempt=2)
    assert not writer.only().had_effect
    writer.deliver(150, val="a", tag=4)
    assert writer.only().counts["came again"] == 1


def test_a_message_that_says_that_it_was_delivered_before_came_again(writer: Writer) -> None:
    """It may have been in the hands of a client whose application never saw it."""
    writer.fault(100, None)
    writer.deliver(150, val="a", tag=1, redelivered=True)
    assert writer.only().counts["came again"] == 1


def test_assignments_of_members_that_were_there_are_an_effect(writer: Writer) -> None:
    """A member that joins meanwhile is no effect of the fault."""
    writer.add(30, "ok", "open", client="m1")
    writer.fault(100, 200)
    writer.add(150, "ok", "open", client="m2")
    writer.add(151, "ok", "assigned", client="m2", part=1)
    assert not writer.only().had_effect
    writer.add(152, "ok", "lost", client="m1", part=0)
    assert writer.only().counts["assignments moved"] == 1


def test_a_member_that_leaves_is_no_effect(writer: Writer) -> None:
    """What it gives up when it closes it gives up by closing, however long the fault lasts."""
    writer.add(1, "ok", "open", client="c")
    writer.add(2, "ok", "assigned", client="c", dest="topic:t", part=0)
    writer.fault(10, None, "sigkill", "idle")
    writer.operation("close", 20, 30)
    writer.add(29, "ok", "revoked", client="c", dest="topic:t", part=0)
    assert not writer.only().had_effect


def test_what_a_dead_process_had_in_its_hands_is_an_effect(writer: Writer) -> None:
    """Messages that it had neither settled nor handled, and partitions; an effect is known by its value."""
    writer.deliver(30, val="acked", tag=1)
    writer.operation("ack", 31, 32, client="in", dest="queue:q", val="acked", tag=1)
    writer.deliver(33, val="handled", tag=2)
    writer.operation("effect", 34, 35, dest="table:effects", val="handled")
    writer.add(36, "ok", "assigned", client="in", dest="topic:t", part=0)
    writer.add(37, "ok", "revoked", client="in", dest="topic:t", part=0)
    writer.fault(100, None, "kill", "p1")
    assert not writer.only().had_effect
    writer.events.pop()
    writer.events.pop()
    writer.deliver(40, val="in hand", tag=3)
    writer.add(41, "ok", "assigned", client="in", dest="topic:t", part=1)
    writer.fault(100, None, "kill", "p1")
    assert writer.only().counts["in its hands"] == 2


def test_one_that_says_anything_afterwards_is_not_dead(writer: Writer) -> None:
    """A kill that did not kill has no effect, whatever the process holds."""
    writer.deliver(40, val="in hand", tag=3)
    writer.fault(100, None, "kill", "p1")
    writer.add(150, "ok", "close", client="in")
    assert not writer.only().had_effect


def test_what_a_stopped_process_had_in_its_hands_is_an_effect(writer: Writer) -> None:
    """Though nobody takes it over, and though it goes on afterwards; one that spoke meanwhile did not stand still."""
    writer.deliver(40, val="in hand", tag=3)
    writer.fault(100, 200, "stop", "p1")
    writer.add(201, "ok", "close", client="in")
    assert writer.only().counts["in its hands"] == 1
    writer.add(150, "ok", "read_out", client="in")
    assert not writer.only().had_effect


@pytest.mark.parametrize("full", [True, False])
def test_sends_to_a_full_disk_are_an_effect(writer: Writer, full: bool) -> None:
    """Also those that were confirmed, if the disk was full to the end; not those before and after."""
    writer.operation("send", 90, 91)
    writer.operation("send", 150, 151)
    writer.operation("send", 250, 251)
    writer.fault(100, 200, "disk full", "broker", seen={"full": full})
    assert writer.only().counts.get("sent without room", 0) == full
    assert writer.only().had_effect == full


def test_what_failed_meanwhile_did_not_get_through(writer: Writer) -> None:
    """It is no proof that what waited beside it was not held."""
    writer.operation("send", 90, 310)
    writer.operation("send", 110, 120, "fail", err=Error("timeout", "not_applied", "no room"))
    writer.fault(100, 300)
    assert writer.only().counts["held until it was over"] == 1


def test_what_took_longer_than_the_delay_is_an_effect(writer: Writer) -> None:
    """A delay is told with its length; what is faster did not go that way."""
    writer.fault(100, 300, "delay", "link", delay_s=0.05)
    writer.operation("send", 150, 160)
    assert not writer.only().had_effect
    writer.operation("send", 170, 230)
    assert writer.only().counts["slower"] == 1


@pytest.mark.parametrize("name", ["cut", "dropped", "late", "held", "hung", "moved"])
def test_what_the_injector_saw_is_an_effect(writer: Writer, name: str) -> None:
    """The injector counted it itself; nothing counted is nothing."""
    writer.fault(100, 200, "cut", "link", seen={name: 0})
    assert not writer.only().had_effect
    writer.fault(300, 400, "cut", "link", seen={name: 2})
    assert [found.had_effect for found in effects(History(writer.events))] == [False, True]


def test_each_fault_has_its_own_window(writer: Writer) -> None:
    """The heal of one is not that of another within it, and what failed under one is not laid to the other."""
    writer.fault(100, 200)
    writer.operation("send", 150, 160, "info", err=LOST)
    writer.operation("send", 250, 251)
    writer.fault(300, 400)
    writer.fault(320, 350, "kill")
    writer.operation("send", 355, 356)
    writer.operation("send", 370, 375, "info", err=LOST)
    writer.operation("send", 450, 451)
    assert [(found.what, found.had_effect) for found in effects(History(writer.events))] == [
        ("pause", True),
        ("pause", True),
        ("kill", False),
    ]
