"""Settlements, leases and prefetch of queues, judged."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.checkers.queue_tale import COPYING, LETTERS, QUEUE, Taken, Taker, Tale


def story(*vals: str, claims: dict[str, str] | None = None, **header: object) -> Tale:
    """Messages that were sent."""
    tale = Tale(claims, **header)
    tale.queue()
    tale.producer().send(*(vals or ("m",)))
    return tale


# --- redelivery-after-settle, duplicate


@pytest.mark.parametrize("verb", ["ack", "reject"])
def test_what_is_settled_and_committed_does_not_come_again(verb: str) -> None:
    """A commit that was ok is the broker's word; delivered all the same, it is an error and names who had it."""
    tale = story()
    taker = tale.consumer()
    taker.one("m").settle(verb)
    taker.commit()
    assert tale.errors() == []
    taker.one("m", attempt=2, redelivered=True)
    assert tale.errors() == ["redelivery-after-settle"]


def test_the_witness_of_a_redelivery() -> None:
    """The delivery that was settled, its verb, and the delivery that should not be."""
    tale = story()
    taker = tale.consumer()
    taker.one("m").ack()
    taker.commit()
    tale.consumer("d").one("m", attempt=2, redelivered=True)
    (found,) = [found for judgement in tale.judgements() for found in judgement.errors]
    assert [(event.f, event.client) for event in found.witness] == [("deliver", "c"), ("ack", "c"), ("deliver", "d")]


def test_a_mark_is_not_yet_with_the_broker() -> None:
    """Acked, not committed, and its consumer dies: it may come again, and both acks are counted."""
    tale = story()
    taker = tale.consumer(proc="w")
    taker.one("m").ack()
    taker.kill()
    tale.consumer("d").one("m", attempt=2, redelivered=True).ack()
    assert (tale.errors(), tale.counted()) == ([], ["duplicate", "redelivery-after-settle"])


@pytest.mark.parametrize("kind", ["fail", "info"])
def test_a_commit_that_failed_says_nothing(kind: str) -> None:
    """What it was to settle may come again."""
    tale = story()
    taker = tale.consumer()
    taker.one("m").ack()
    taker.commit(kind)
    taker.commit()
    tale.consumer("d").one("m", attempt=2, redelivered=True)
    assert (tale.errors(), tale.counted()) == ([], ["redelivery-after-settle"])


def test_a_commit_speaks_for_the_verbs_before_it() -> None:
    """One that began before the ack does not, and neither does closing."""
    tale = story()
    taker = tale.consumer()
    taken = taker.one("m")
    taker.commit()
    taken.ack()
    taker.close()
    tale.consumer("d").one("m", attempt=2, redelivered=True)
    assert tale.errors() == []


def test_a_commit_speaks_for_its_own_consumer() -> None:
    """Another one's commit proves nothing."""
    tale = story()
    tale.consumer().one("m").ack()
    tale.consumer("other").commit()
    tale.consumer("d").one("m", attempt=2, redelivered=True)
    assert tale.errors() == []


def test_a_value_sent_twice_may_be_settled_twice() -> None:
    """And not three times."""
    tale = story("m", "m")
    taker = tale.consumer()
    for _ in range(2):
        taker.one("m").ack()
        taker.commit()
    assert (tale.errors(), tale.counted()) == ([], [])
    taker.one("m", attempt=2, redelivered=True).ack()
    assert (tale.errors(), tale.counted()) == (["duplicate", "redelivery-after-settle"], [])


def test_a_send_without_an_answer_may_have_made_another() -> None:
    """What the application sent again after an unknown outcome may be there twice."""
    tale = story()
    tale.producer("again").send("m", outcome="info")
    taker = tale.consumer()
    for _ in range(2):
        taker.one("m").ack()
        taker.commit()
    assert tale.errors() == []


def test_a_library_that_sends_again_may_make_any_number() -> None:
    """``on_unknown="resend"``: nothing is said about copies."""
    tale = Tale()
    tale.queue()
    tale.producer(on_unknown="resend").send("m")
    taker = tale.consumer()
    for _ in range(3):
        taker.one("m").ack()
        taker.commit()
    assert tale.errors() == []


def test_what_was_redriven_comes_again() -> None:
    """A rejected message that an operator moved back is delivered once more, and once only."""
    tale = story()
    taker = tale.consumer()
    taker.one("m").reject()
    taker.commit()
    tale.done("main", "redrive", dest=QUEUE, more={"count": 1})
    taker.one("m").ack()
    taker.commit()
    assert tale.errors() == []
    taker.one("m", attempt=2, redelivered=True)
    assert tale.errors() == ["redelivery-after-settle"]


def test_two_queues_of_a_fanout_have_a_copy_each() -> None:
    """Identity is per queue."""
    tale = Tale()
    tale.exchange(type="fanout")
    for dest in (QUEUE, "queue:other"):
        tale.queue(dest)
        tale.bind("exchange:e", dest)
    tale.producer().send("m", dest="exchange:e")
    for client, dest in (("c", QUEUE), ("d", "queue:other")):
        taker = tale.consumer(client, dest)
        taker.one("m").ack()
        taker.commit()
    assert (tale.errors(), tale.counted()) == ([], [])


def test_a_letter_settled_does_not_come_again() -> None:
    """A dead-letter queue is a queue: one message died once, and its letter is taken once."""
    tale = story()
    tale.consumer().one("m").reject()
    undertaker = tale.consumer("u", LETTERS)
    undertaker.one("m").ack()
    undertaker.commit()
    assert tale.errors() == []
    undertaker.one("m", attempt=2, redelivered=True)
    assert tale.errors() == ["redelivery-after-settle"]


def test_at_most_once_nothing_comes_twice() -> None:
    """Settled before it is shown: a second showing is an error, and so is having done it twice."""
    tale = story(guarantee="at-most-once")
    tale.consumer(ack="before").one("m")
    assert tale.errors() == []
    tale.consumer("d", ack="before").one("m", redelivered=True)
    assert tale.errors() == ["duplicate", "redelivery-after-settle"]


def test_an_engine_that_copies_may_double_what_a_dying_consumer_had() -> None:
    """Legal there, after a death; without one it is an error there too."""
    for dies, errors in ((True, []), (False, ["redelivery-after-settle"])):
        tale = story("m", "other", claims=COPYING)
        victim = tale.consumer("v", proc="w")
        victim.one("other")
        if dies:
            victim.kill()
        else:
            victim.close()
        taker = tale.consumer()
        taker.one("m").ack()
        taker.commit()
        taker.one("m", attempt=2, redelivered=True)
        assert tale.errors() == errors


def test_an_engine_whose_leases_age_may_double_what_is_old() -> None:
    """A lock that may have run out before the copy was acknowledged."""
    tale = story(claims=COPYING)
    taker = tale.consumer()
    taker.one("m").ack()
    taker.commit()
    tale.wait(20)
    taker.one("m", attempt=2, redelivered=True)
    assert (tale.errors(), tale.counted()) == ([], ["redelivery-after-settle"])


# --- concurrent-lease


def both(tale: Tale) -> tuple[Taken, Taker]:
    """One holds it; and the other, who is given it next."""
    holder = tale.consumer(proc="w").one("m")
    return holder, tale.consumer("d")


def alive(tale: Tale) -> None:
    """The holder's process is seen again."""
    tale.write("w", "invoke", "poll", client="c", dest=QUEUE)


def test_two_consumers_do_not_have_it_at_once() -> None:
    """The first has not settled it, lives, and nothing is out of order."""
    tale = story()
    _, other = both(tale)
    other.one("m", redelivered=True, attempt=2)
    alive(tale)
    assert tale.errors() == ["concurrent-lease"]


def test_nor_does_one_consumer_have_it_twice() -> None:
    """Given again to the one that has it."""
    tale = story()
    taker = tale.consumer()
    taker.take("m")
    taker.one("m", attempt=2, redelivered=True)
    alive(tale)
    assert tale.errors() == ["concurrent-lease"]


def test_once_it_is_given_back_another_may_have_it() -> None:
    """From the moment on at which the verb is called."""
    for verb in ("release", "retry"):
        tale = story()
        holder, other = both(tale)
        holder.settle(verb)
        other.one("m", attempt=1 + (verb == "retry"), redelivered=True)
        alive(tale)
        assert tale.errors() == []


def test_a_verb_under_way_may_have_given_it_back() -> None:
    """Its invoke is enough."""
    tale = story()
    holder, other = both(tale)
    holder.settle("release", None)
    other.one("m", redelivered=True)
    alive(tale)
    assert tale.errors() == []


@pytest.mark.parametrize("end", ["close", "kill", "silence", "stop", "broker", "lost", "late"])
def test_a_lease_that_may_have_ended_is_none(end: str) -> None:
    """Closed, killed, silent ever after, stopped, a broker in trouble, told that the lease was lost, or a commit that
    failed."""
    tale = story()
    taker = tale.consumer(proc="w")
    taken = taker.one("m")
    if end == "close":
        taker.close()
    elif end == "kill":
        taker.kill()
    elif end == "stop":
        tale.fault("stop", "w")
    elif end == "broker":
        tale.fault("pause", "broker")
        tale.heal("pause", "broker")
    tale.consumer("d").one("m", attempt=1 if end == "close" else 2, redelivered=True)
    if end == "lost":
        taken.ack("fail")
    elif end == "late":
        taker.commit("fail")
    elif end != "silence":
        alive(tale)
    assert tale.errors() == []


def test_a_fault_long_over_excuses_nothing() -> None:
    """What was taken long after it was healed is held as ever."""
    tale = story()
    tale.fault("pause", "broker")
    tale.heal("pause", "broker")
    tale.wait(120)
    _, other = both(tale)
    other.one("m", redelivered=True, attempt=2)
    alive(tale)
    assert tale.errors() == ["concurrent-lease"]


def test_a_fault_elsewhere_excuses_nothing() -> None:
    """Another process was killed."""
    tale = story()
    tale.consumer("x", proc="v").kill()
    _, other = both(tale)
    other.one("m", redelivered=True, attempt=2)
    alive(tale)
    assert tale.errors() == ["concurrent-lease"]


def test_what_ages_is_held_only_so_long() -> None:
    """Where locks run out, one that is old may have; a young one has not."""
    for seconds, errors in ((20, []), (1, ["concurrent-lease"])):
        tale = story(claims=COPYING)
        _, other = both(tale)
        tale.wait(seconds)
        other.one("m", redelivered=True, attempt=2)
        alive(tale)
        assert tale.errors() == errors


def test_two_copies_may_be_held_at_once() -> None:
    """Sent twice, held by two; not by three."""
    tale = story("m", "m")
    both(tale)[1].take("m")
    alive(tale)
    assert tale.errors() == []
    tale.consumer("e").one("m", redelivered=True, attempt=2)
    alive(tale)
    assert tale.errors() == ["concurrent-lease"]


def test_what_run_had_is_held_only_if_it_says_so() -> None:
    """A handler that fails under `run` gives back without a word; one whose ack is told had it until then."""
    tale = story()
    taker = tale.consumer(proc="w")
    taker.shown("m", 1, False, handler=True)
    tale.consumer("d").one("m", attempt=2, redelivered=True)
    alive(tale)
    assert tale.errors() == []
    tale = story()
    taken = tale.consumer(proc="w").shown("m", 1, False, handler=True)
    tale.consumer("d").one("m", attempt=2, redelivered=True)
    taken.ack()
    assert tale.errors() == ["concurrent-lease"]


# --- prefetch-bound


def test_no_more_than_prefetch() -> None:
    """The third of two; the witness is what it has."""
    tale = story("a", "b", "x")
    taker = tale.consumer(prefetch=2)
    taker.take("a", "b")
    assert tale.errors() == []
    taker.take("x")
    taker.nothing()
    (found,) = [found for judgement in tale.judgements() for found in judgement.errors]
    assert (found.anomaly, [event.val for event in found.witness]) == ("prefetch-bound", ["a", "b", "x"])


def test_what_is_being_settled_makes_room() -> None:
    """From the moment on at which its verb is called."""
    tale = story("a", "b", "x")
    taker = tale.consumer(prefetch=2)
    taker.take("a", "b")[0].settle("ack", None)
    taker.take("x")
    taker.nothing()
    assert tale.errors() == []


def test_others_have_a_window_of_their_own() -> None:
    """Each consumer counts for itself."""
    tale = story("a", "b", "x")
    tale.consumer(prefetch=2).take("a", "b")
    tale.consumer("d", prefetch=2).take("x")
    assert tale.errors() == []


def test_at_most_once_has_no_window() -> None:
    """What is settled before it is shown is not out."""
    tale = story("a", "b", "x")
    tale.consumer(prefetch=2, ack="before").take("a", "b", "x")
    assert tale.errors() == []


@pytest.mark.parametrize("what", ["broker", "late", "lost"])
def test_what_may_have_been_lost_is_not_counted(what: str) -> None:
    """A broker in trouble, a commit that failed, a lease told to be lost."""
    tale = story("a", "b", "x")
    taker = tale.consumer(prefetch=2)
    first, _ = taker.take("a", "b")
    if what == "broker":
        tale.fault("kill", "broker")
        tale.heal("kill", "broker")
    taker.take("x")
    if what == "late":
        taker.commit("fail")
    elif what == "lost":
        first.ack("fail")
    taker.nothing()
    assert tale.errors() == []


def test_trouble_that_is_long_over_does_not_open_the_window() -> None:
    """After a fault the count begins anew, and holds again."""
    tale = story("a", "b", "x", "y", "z")
    taker = tale.consumer(prefetch=2)
    taker.take("a", "b")
    tale.fault("kill", "broker")
    tale.heal("kill", "broker")
    taker.take("x")
    tale.wait(120)
    taker.take("y")
    taker.nothing()
    assert tale.errors() == []
    taker.take("z")
    taker.nothing()
    assert tale.errors() == []  # x may still be lost
    tale.producer("more").send("k", "l")
    taker.take("k", "l")
    taker.nothing()
    assert tale.errors() == ["prefetch-bound"]


def test_without_the_claim_it_is_counted() -> None:
    """An engine that claims no prefetch is not wrong."""
    tale = story("a", "b", claims={**COPYING, "PREFETCH": "unsupported"})
    taker = tale.consumer(prefetch=1)
    taker.take("a", "b")
    taker.nothing()
    assert (tale.errors(), tale.counted()) == ([], ["prefetch-bound"])


# --- what was settled long ago


def marked(seconds: float, **options: Any) -> tuple[Tale, Taker]:
    """Acked, not committed, and its consumer lives on for so long."""
    tale = story()
    taker = tale.consumer(proc="w", **options)
    taker.one("m").ack()
    tale.wait(seconds)
    return tale, taker


@pytest.mark.parametrize("options", [{}, {"settle_interval_s": 30.0}])
def test_what_was_settled_long_ago_does_not_come_again(options: dict[str, Any]) -> None:
    """As long as its consumer may wait, and ten seconds more, it may; then it must have told the broker by itself."""
    for seconds, errors in ((9, []), (12, ["redelivery-after-settle"])):
        tale, taker = marked(seconds + options.get("settle_interval_s", 0.0), **options)
        taker.nothing()
        tale.consumer("d").one("m", attempt=2, redelivered=True)
        assert tale.errors() == errors
        assert tale.counted() == ([] if errors else ["redelivery-after-settle"])


@pytest.mark.parametrize("how", ["killed", "closed", "fault", "commit failed", "lost"])
def test_what_excuses_that_it_was_not_told(how: str) -> None:
    """Its consumer ended in that time, the broker failed, or it heard that it was too late."""
    tale, taker = marked(5)
    if how == "killed":
        taker.kill()
    elif how == "closed":
        taker.close()
    elif how == "fault":
        tale.fault("kill", "broker")
        tale.heal("kill", "broker")
    elif how == "commit failed":
        taker.commit("info")
    else:
        tale.producer("q").send("n")
        taker.one("n").ack("fail")
    tale.wait(60)
    tale.write("w", "ok", "flush")
    tale.consumer("d").one("m", attempt=2, redelivered=True)
    assert "redelivery-after-settle" not in tale.errors()
    assert "redelivery-after-settle" in tale.counted()


# --- after a fault


def healed(*after: str) -> tuple[Tale, Taker]:
    """A fault that is over; a consumer is given what was sent after it."""
    tale = story("before", "m")
    taker = tale.consumer(proc="w")
    tale.fault("cut", "link")
    tale.heal("cut", "link")
    tale.producer("q").send(*after)
    return tale, taker


def test_a_connection_that_brings_what_was_sent_after_a_fault_is_sound() -> None:
    """concurrent-lease of what it was given with that or after it, though the fault was over only a moment before."""
    for first in (("new",), ("new", "m")):
        tale, taker = healed("new")
        taker.take(*first)
        tale.consumer("d").one(first[-1], attempt=2, redelivered=True)
        alive(tale)
        assert tale.errors() == ["concurrent-lease"]


def test_a_connection_that_may_be_broken_may_have_lost_it() -> None:
    """No concurrent-lease of what was given before that, by who brings only what is old, or by another's news."""
    tale, taker = healed("new")
    taker.take("m")
    taker.take("new")
    tale.consumer("d").one("m", attempt=2, redelivered=True)
    alive(tale)
    assert tale.errors() == []
    tale, taker = healed("new")
    taker.take("before", "m")
    other = tale.consumer("d")
    other.take("new")
    other.one("m", attempt=2, redelivered=True)
    alive(tale)
    assert tale.errors() == []


def test_a_prefetch_is_bounded_soon_after_a_fault() -> None:
    """prefetch-bound, by the same news."""
    tale = story()
    taker = tale.consumer(proc="w", prefetch=2)
    tale.fault("cut", "link")
    tale.heal("cut", "link")
    tale.producer("q").send("a", "b", "c", "d")
    taker.take("m", "a", "b")
    alive(tale)
    assert tale.errors() == []
    taker.take("c", "d")
    alive(tale)
    assert tale.errors() == ["prefetch-bound"]
