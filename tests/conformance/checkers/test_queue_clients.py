"""When consumers ended, for certain or perhaps, and when the way to the broker was sound."""

from __future__ import annotations

import pytest

from mqbridge_conformance.checkers.queue_clients import AFTERMATH_S, MANY, NEVER, SECOND, Client, Trouble
from mqbridge_conformance.checkers.queue_facts import Facts
from tests.conformance.checkers.queue_tale import QUEUE, Tale


def trouble(tale: Tale) -> Trouble:
    return Trouble(tale.history)


def client(tale: Tale, who: str = "w/c") -> Client:
    return Facts(tale.history).clients[who]


# --- what all share


def test_a_fault_lasts_until_long_after_it_was_healed() -> None:
    """From when it was tried to the end of its aftermath, both ends included."""
    tale = Tale()
    tale.fault("kill", "broker")
    begun = tale.events[-2].t
    tale.heal("kill", "broker")
    over = tale.events[-1].t + AFTERMATH_S * SECOND
    found = trouble(tale)
    assert found.calm(0, begun - 1)
    assert not found.calm(0, begun)
    assert not found.calm(over, NEVER)
    assert found.calm(over + 1, NEVER)
    assert not found.calm(begun + 1, over - 1)
    assert not found.calm(0, NEVER)


def test_what_is_not_healed_lasts_for_ever() -> None:
    """Healed elsewhere, healed of something else, healed before, not healed."""
    for what, at in (("kill", "link"), ("pause", "broker")):
        tale = Tale()
        tale.heal("kill", "broker")
        tale.fault("kill", "broker")
        tale.heal(what, at)
        assert not trouble(tale).calm(NEVER - 1, NEVER)


def test_two_faults_that_overlap_are_one() -> None:
    """It is over when the longer one is; the time between two that do not is calm."""
    tale = Tale()
    tale.fault("pause", "broker")
    begun = tale.events[-2].t
    tale.fault("cut", "link")
    tale.heal("cut", "link")
    tale.wait(10)
    tale.heal("pause", "broker")
    over = tale.events[-1].t + AFTERMATH_S * SECOND
    assert not trouble(tale).calm(begun, over)
    assert trouble(tale).calm(over + 1, over + 2)
    tale.wait(200)
    tale.fault("cut", "link")
    again = tale.events[-2].t
    assert trouble(tale).calm(over + 1, again - 1)
    assert not trouble(tale).calm(over + 1, again)


def test_a_fault_that_could_not_be_brought_about_may_have_been() -> None:
    """Told as an operation that failed, or as a bare event."""
    tale = Tale()
    op = tale.write("main", "invoke", "fault", more={"what": "cut", "at": "link"})
    tale.write("main", "info", "fault", op=op.seq, more={"what": "cut", "at": "link"})
    assert not trouble(tale).calm(op.t, op.t)
    assert trouble(tale).calm(0, op.t - 1)
    tale = Tale()
    bare = tale.write("main", "ok", "fault", more={"what": "cut", "at": "link"})
    assert not trouble(tale).calm(bare.t, bare.t)


def test_a_fault_of_a_process_is_its_own() -> None:
    """It does not touch the others; one at a process that nobody knows of touches all."""
    tale = Tale()
    tale.consumer(proc="w")
    tale.fault("stop", "w")
    assert trouble(tale).calm(0, NEVER)
    tale = Tale()
    tale.fault("stop", "w")
    assert not trouble(tale).calm(0, NEVER)


# --- how consumers end


def test_one_that_closes_has_ended_then() -> None:
    """Not before, and it never was in doubt."""
    tale = Tale()
    tale.consumer(proc="w").close()
    closing, closed = tale.events[-2].t, tale.events[-1].t
    found = client(tale)
    assert (found.closing, found.closed, found.doubtful, found.dead) == (closing, closed, NEVER, NEVER)
    assert not found.ended(closed - 1)
    assert found.ended(closed)
    assert found.deaths(NEVER) == 0


@pytest.mark.parametrize("what", ["sigkill", "kill", "connection ended"])
def test_one_that_is_killed_dies_once(what: str) -> None:
    """In doubt from when that was tried, dead when it was done."""
    tale = Tale()
    tale.consumer(proc="w")
    tale.wait(5)
    tale.fault(what, "w")
    tried, dead = tale.events[-2].t, tale.events[-1].t
    found = client(tale)
    assert (found.doubtful, found.dead) == (tried, dead)
    assert (found.deaths(tried), found.deaths(tried + 1)) == (0, 1)
    assert (found.ended(dead - 1), found.ended(dead)) == (False, True)


def test_one_that_may_not_have_been_killed_is_in_doubt() -> None:
    """Nobody knows whether it was."""
    tale = Tale()
    tale.consumer(proc="w")
    tale.write("main", "invoke", "fault", more={"what": "sigkill", "at": "w"})
    found = client(tale)
    assert (found.dead, found.deaths(NEVER)) == (NEVER, MANY)


def test_one_that_was_stopped_before_it_was_killed_may_have_died_more_often() -> None:
    """Its connection may have broken once already."""
    tale = Tale()
    tale.consumer(proc="w")
    tale.fault("stop", "w")
    stopped = tale.events[-2].t
    tale.heal("stop", "w")
    tale.fault("sigkill", "w")
    found = client(tale)
    assert (found.doubtful, found.deaths(stopped), found.deaths(stopped + 1)) == (stopped, 0, MANY)
    assert found.dead == tale.events[-1].t


def test_one_that_was_stopped_and_closed_was_in_doubt() -> None:
    """From the stop on; one that closed before was not."""
    tale = Tale()
    taker = tale.consumer(proc="w")
    tale.fault("stop", "w")
    stopped = tale.events[-2].t
    taker.close()
    assert (client(tale).doubtful, client(tale).closed) == (stopped, tale.events[-1].t)
    tale = Tale()
    tale.consumer(proc="w").close()
    tale.fault("sigkill", "w")
    assert (client(tale).doubtful, client(tale).dead) == (NEVER, NEVER)


def test_one_that_falls_silent_is_in_doubt_from_then_on() -> None:
    """After its process's last event; or once it began to close, and did not say that it had."""
    tale = Tale()
    tale.consumer(proc="w").take()
    last = tale.events[-1].t
    tale.consumer("d")
    assert client(tale).doubtful == last
    tale = Tale()
    tale.consumer(proc="w")
    closing = tale.write("w", "invoke", "close", client="c").t
    tale.write("w", "ok", "run")
    assert (client(tale).doubtful, client(tale).closed) == (closing, NEVER)


def test_the_first_death_counts() -> None:
    """Killed twice, as a history may tell it."""
    tale = Tale()
    tale.consumer(proc="w")
    tale.fault("sigkill", "w")
    tried, dead = tale.events[-2].t, tale.events[-1].t
    tale.fault("stop", "w")
    assert (client(tale).doubtful, client(tale).dead) == (tried, dead)


def test_who_asked_in_vain() -> None:
    """A poll that began at or after a time and ended at or before another, and gave nothing."""
    tale = Tale()
    taker = tale.consumer(proc="w")
    taker.nothing()
    begun, ended = tale.events[-2].t, tale.events[-1].t
    taker.take("m")
    found = client(tale)
    assert found.polled
    assert found.found_nothing(begun, ended)
    assert not found.found_nothing(begun + 1, NEVER)
    assert not found.found_nothing(begun, ended - 1)


def test_a_poll_that_failed_is_none() -> None:
    """It says nothing of what was there."""
    tale = Tale()
    tale.consumer(proc="w")
    op = tale.write("w", "invoke", "poll", client="c", dest=QUEUE)
    tale.write("w", "info", "poll", op=op.seq, client="c", dest=QUEUE)
    assert not client(tale).found_nothing(0, NEVER)


def test_what_a_consumer_asked_for() -> None:
    """Its window, how it settles, how long its verbs may wait, and when it was asked for."""
    tale = Tale()
    tale.consumer(proc="w", prefetch=7, ack="before", settle_interval_s=3.5, asked_t=11)
    found = client(tale)
    assert (found.prefetch, found.before, found.settle_s, found.asked) == (7, True, 3.5, 11)
    tale = Tale()
    tale.write("w", "ok", "deliver", client="c", dest=QUEUE, tag=1, val="m")
    found = client(tale)
    assert (found.prefetch, found.before, found.settle_s, found.asked, found.opened) == (
        *(None, False, 0.1, -1),
        tale.events[-1].t,
    )
