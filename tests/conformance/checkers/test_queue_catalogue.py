"""All checkers of queues together: their names, what they say that they looked at, and that they are quick."""

from __future__ import annotations

import time

from mqbridge_conformance.checkers import Outcome, Profile
from mqbridge_conformance.checkers.queue_catalogue import QUEUE_CHECKERS
from mqbridge_conformance.history import History
from tests.conformance.checkers.queue_tale import QUEUE, Tale


def test_what_was_looked_at() -> None:
    """Each checker counts what it had to look at, so that a vacuous run is seen to be one."""
    tale = Tale()
    tale.queue(max_length=9, message_ttl_s=60)
    tale.exchange(type="fanout")
    tale.bind("exchange:e", QUEUE)
    producer = tale.producer()
    producer.send("a", "b")
    producer.send("d", delay_s=1)
    producer.send("r", dest="exchange:e")
    producer.send("lost", outcome="info")
    taker = tale.consumer()
    first, second = taker.take("a", "b")
    first.retry()
    second.reject()
    tale.wait(2)
    taker.one("a", attempt=2, redelivered=True).ack()
    taker.one("d").ack()
    taker.commit()
    tale.look("letters", QUEUE, "b")
    looked = {judgement.checker: dict(judgement.looked_at) for judgement in tale.judgements()}
    assert tale.errors() == []
    assert looked == {
        "queue-origin": {"values": 3},
        "queue-fate": {"confirmed": 4, "nobody_looked": 1},
        "queue-leases": {"deliveries": 4},
        "queue-prefetch": {"consumers": 1},
        "queue-attempts": {"deliveries": 4},
        "queue-letters": {"letters": 1},
        "queue-order": {"first_deliveries": 2},
        "queue-sends": {"routed": 1, "sends": 5},
        "queue-limits": {"limited_queues": 1},
        "queue-times": {"delayed": 1, "messages": 3, "mortal": 3},
    }


def test_a_history_of_nothing_is_valid() -> None:
    """And nothing was looked at."""
    for checker in QUEUE_CHECKERS:
        judgement = checker(History([]), Profile())
        assert (judgement.outcome, judgement.findings) == (Outcome.VALID, ())
        assert not any(judgement.looked_at.values())


def test_ten_thousand_operations_take_no_time() -> None:
    """Some seconds on a machine that does other things besides; what grows with the square takes minutes."""
    tale = Tale()
    tale.queue(max_attempts=3)
    producer, takers = tale.producer(), [tale.consumer(f"c{n}", proc=f"w{n}") for n in range(3)]
    vals = [str(n) for n in range(3000)]
    producer.send(*vals)
    for n in range(0, len(vals), 30):
        taker = takers[n % 3]
        for taken in taker.take(*vals[n : n + 30]):
            taken.retry()
        taker.commit()
        for taken in taker.take(*vals[n : n + 30], attempt=2, redelivered=True):
            taken.ack()
        taker.commit()
    for taker in takers:
        taker.close()
    tale.drained()
    history = tale.history
    began_s = time.process_time()
    judgements = [checker(history, Profile.of(history)) for checker in QUEUE_CHECKERS]
    assert time.process_time() - began_s < 10
    assert [judgement.outcome for judgement in judgements] == [Outcome.VALID] * len(QUEUE_CHECKERS)


def test_one_value_many_times_takes_no_time() -> None:
    """All sends and deliveries of one value are one story, and it is read once."""
    tale = Tale()
    tale.queue()
    producer, taker = tale.producer(), tale.consumer()
    for _ in range(2000):
        producer.send("m")
        taker.one("m").ack()
        taker.commit()
    history = tale.history
    began_s = time.process_time()
    judgements = [checker(history, Profile.of(history)) for checker in QUEUE_CHECKERS]
    assert time.process_time() - began_s < 10
    assert [judgement.findings for judgement in judgements] == [()] * len(QUEUE_CHECKERS)
