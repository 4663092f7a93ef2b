"""Each saboteur of queues does what its name says, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from tests.conformance.saboteurs.broken import Pair, nothing_more, pair, receive

QUEUE = mq.Queue("q", max_attempts=2)


def fill(bus: Pair, count: int = 3) -> None:
    bus.clean.admin.ensure(QUEUE)
    with bus.clean.producer() as producer:
        producer.send_many(QUEUE, [b"%d" % n for n in range(count)])


def letters(bus: Pair) -> list[tuple[bytes | None, str, int]]:
    found = bus.clean.admin.dead_letters(QUEUE)
    return [(letter.value, letter.death.reason, letter.death.attempts) for letter in found if letter.death is not None]


def test_m27_delivers_again_what_was_acked_once(tmp_path: Path) -> None:
    """Each message comes a second time, and then no more."""
    with pair("M27", tmp_path) as bus:
        fill(bus)
        with bus.broken.consumer(QUEUE) as consumer:
            for _ in range(2):
                got = receive(consumer, 3)
                assert {d.raw for d in got} == {b"0", b"1", b"2"}
                for delivery in got:
                    delivery.ack()
                consumer.commit(10)
            assert nothing_more(consumer)
        assert len(bus.strikes) == 3


@pytest.mark.parametrize("verb", ["release", "retry"])
def test_m28_never_delivers_again_what_was_returned(verb: str, tmp_path: Path) -> None:
    """What was given back is gone; what was neither is not touched."""
    with pair("M28", tmp_path) as bus:
        fill(bus, 2)
        with bus.broken.consumer(QUEUE) as consumer:
            first, second = receive(consumer, 2)
            getattr(first, verb)()
            consumer.commit(10)
            assert nothing_more(consumer)
            second.reject("x")
            consumer.commit(10)
        assert bus.clean.admin.depth(QUEUE) == 0
        assert letters(bus) == [(b"1", "rejected", 1)]


def test_m29_hands_out_one_more_than_the_prefetch(tmp_path: Path) -> None:
    """Two are asked for and three are out."""
    with pair("M29", tmp_path) as bus:
        fill(bus, 5)
        with bus.broken.consumer(QUEUE, prefetch=2) as consumer:
            assert len(receive(consumer, 3)) == 3
            assert nothing_more(consumer)
        assert bus.clean.admin.depth(QUEUE) == 5


def test_m30_hides_that_a_message_was_delivered_before(tmp_path: Path) -> None:
    """The flag is false the second time, the attempt is not."""
    with pair("M30", tmp_path) as bus:
        fill(bus, 1)
        with bus.broken.consumer(QUEUE) as consumer:
            receive(consumer, 1)[0].retry()
            (again,) = receive(consumer, 1)
            assert (again.redelivered, again.attempt) == (False, 2)
            again.ack()
        assert len(bus.strikes) == 1


def test_m31_drops_dead_letters(tmp_path: Path) -> None:
    """Neither what is rejected nor what fails for the last time is dead-lettered; a first retry comes back."""
    with pair("M31", tmp_path) as bus:
        fill(bus, 2)
        with bus.broken.consumer(QUEUE) as consumer:
            first, second = receive(consumer, 2)
            first.reject("x")
            second.retry()
            (again,) = receive(consumer, 1)
            again.retry()
            consumer.commit(10)
        assert letters(bus) == []
        assert bus.clean.admin.depth(QUEUE) == 0
        assert [told["verb"] for told in bus.strikes] == ["reject", "retry"]


def test_m32_writes_dead_letters_twice(tmp_path: Path) -> None:
    """The copy says the same of its death as the one that the broker wrote."""
    with pair("M32", tmp_path) as bus:
        fill(bus, 1)
        with bus.broken.consumer(QUEUE) as consumer:
            receive(consumer, 1)[0].reject("x")
            consumer.commit(10)
        assert letters(bus) == [(b"0", "rejected", 1)] * 2


def test_m34_delivers_once_more_than_is_allowed(tmp_path: Path) -> None:
    """Of two attempts there are three deliveries, then it is dead-lettered as it should."""
    with pair("M34", tmp_path) as bus:
        fill(bus, 1)
        with bus.broken.consumer(QUEUE) as consumer:
            count = 0
            while delivery := receive_or_none(consumer):
                delivery.retry()
                count += 1
        assert count == 3
        assert letters(bus) == [(b"0", "max-attempts", 2)]


def receive_or_none(consumer: Any) -> mq.Delivery[Any] | None:
    got = consumer.poll(1, timeout=0.5)
    return got[0] if got else None
