"""Random lives of one queue against a model that is a list: who gets what, in which order, at which attempt."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mqbridge import errors
from tests.native.core.queues.house import House

MAX_ATTEMPTS = 3
PRIORITIES = 3


class Kept:
    """What the model knows of a message: where it is, and what the next delivery must say."""

    def __init__(self, value: bytes, order: int, priority: int, dies_ms: int | None, due_ms: int) -> None:
        self.value = value
        self.order = order
        self.priority = priority
        self.dies_ms = dies_ms
        self.due_ms = due_ms
        self.failures = 0
        self.seen = False
        self.place = "waiting"  # or "held", "settled", "letter"
        self.holder = 0
        self.reason = ""


class QueueAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.house = House()
        self.messages: list[Kept] = []
        self.consumers: dict[int, tuple[int, int]] = {}
        self.held: dict[int, dict[int, Kept]] = {}

    @initialize(ttl=st.sampled_from([None, 20.0]), rewrite=st.booleans())
    def make(self, ttl: float | None, rewrite: bool) -> None:
        self.ttl_ms = None if ttl is None else int(ttl * 1000)
        self.rewrite = rewrite
        self.house.queue(
            "q", dead_letter="d", max_attempts=MAX_ATTEMPTS, max_priority=PRIORITIES - 1, message_ttl_s=ttl
        )
        self.house.queue("d")

    # --- the model

    def elapse(self) -> None:
        """What time did: the dead of age that nobody holds become letters."""
        wall_ms = self.house.now.wall_ms
        for message in self.messages:
            if message.place == "waiting" and message.dies_ms is not None and message.dies_ms <= wall_ms:
                self.die(message, "expired")

    def die(self, message: Kept, reason: str) -> None:
        message.place, message.reason = "letter", reason

    def give_back(self, message: Kept, *, failed: bool, shown: bool = True, delay_ms: int = 0) -> None:
        message.failures += failed
        message.seen = message.seen or shown
        message.place, message.holder = "waiting", 0
        message.due_ms = self.house.now.wall_ms + delay_ms
        if message.failures >= MAX_ATTEMPTS:
            self.die(message, "max-attempts")

    def ready(self) -> list[Kept]:
        wall_ms = self.house.now.wall_ms
        waiting = [one for one in self.messages if one.place == "waiting" and one.due_ms <= wall_ms]
        return sorted(waiting, key=lambda one: (-one.priority, one.order))

    # --- what happens

    @rule(
        count=st.integers(1, 4),
        priority=st.integers(0, PRIORITIES),
        delay_ms=st.sampled_from([None, 0, 700, 5000]),
        expires_ms=st.sampled_from([None, None, 0, 900, 30_000]),
    )
    def send(self, count: int, priority: int, delay_ms: int | None, expires_ms: int | None) -> None:
        first, now_ms = len(self.messages), self.house.now.wall_ms
        lives = [life for life in (self.ttl_ms, expires_ms) if life is not None]
        values = [b"%d" % (first + number) for number in range(count)]
        assert self.house.send("q", *values, priority=priority, delay_ms=delay_ms, expires_ms=expires_ms) == {}
        for order, value in enumerate(values, first):
            dies_ms = now_ms + min(lives) if lives else None
            self.messages.append(Kept(value, order, min(priority, PRIORITIES - 1), dies_ms, now_ms + (delay_ms or 0)))

    @precondition(lambda self: len(self.consumers) < 4)
    @rule(prefetch=st.integers(1, 4), session=st.integers(1, 2))
    def consume(self, prefetch: int, session: int) -> None:
        consumer = self.house.consume("q", prefetch=prefetch, session=session)
        self.consumers[consumer] = (session, prefetch)
        self.held[consumer] = {}

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), most=st.integers(0, 5), fails=st.booleans())
    def take(self, data: st.DataObject, most: int, fails: bool) -> None:
        consumer = data.draw(st.sampled_from(sorted(self.consumers)))
        held = self.held[consumer]
        tags = data.draw(st.lists(st.sampled_from(sorted(held)), unique=True)) if held else []
        verbs: dict[int, list[Any]] = {}
        for tag in tags:
            verb = data.draw(st.sampled_from(["ack", "release", "retry", "reject", "return"]))
            delay = data.draw(st.sampled_from([0, 1.5])) if verb in ("release", "retry") else None
            verbs[tag] = [verb, tag] if delay is None else [verb, tag, delay]
        settle = [*verbs.values(), ["ack", 1]]
        session, prefetch = self.consumers[consumer]
        if fails:
            # A full disk: raised if there was anything to write, and then nothing at all happened.
            self.house.store.room_for = 0
            try:
                taken = self.house.take(consumer, most, settle, session=session)
            except errors.Rejected:
                self.elapse()
                return
            finally:
                self.house.store.room_for = None
            assert not verbs
            assert not taken.got
        else:
            taken = self.house.take(consumer, most, settle, session=session)
        self.elapse()
        for tag, (verb, _, *rest) in verbs.items():
            self.settle(held.pop(tag), verb, *rest)
        self.elapse()
        expected = self.ready()[: min(most, prefetch - len(held))]
        assert taken.errors == [[1, "lease_lost"]]
        assert [(got.value, got.attempt, got.redelivered) for got in taken.got] == [
            (one.value, one.failures + 1, one.seen) for one in expected
        ]
        for got, message in zip(taken.got, expected, strict=True):
            message.place, message.holder = "held", consumer
            held[got.tag] = message
        assert len(held) <= prefetch

    def settle(self, message: Kept, verb: str, delay_s: float = 0) -> None:
        if verb == "ack":
            message.place = "settled"
        elif verb == "reject":
            message.failures += 1
            self.die(message, "rejected")
        else:
            self.give_back(message, failed=verb == "retry", shown=verb != "return", delay_ms=round(delay_s * 1000))

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        consumer = data.draw(st.sampled_from(sorted(self.consumers)))
        self.house.call("cancel", session=self.consumers[consumer][0], consumer=consumer)
        self.gone(consumer, failed=False)

    @rule(session=st.integers(1, 2), clean=st.booleans())
    def close(self, session: int, clean: bool) -> None:
        self.house.room.close_session(session, clean, self.house.now)
        for consumer in [number for number, (owner, _) in self.consumers.items() if owner == session]:
            self.gone(consumer, failed=not clean)

    def gone(self, consumer: int, *, failed: bool) -> None:
        for message in self.held.pop(consumer).values():
            self.give_back(message, failed=failed)
        del self.consumers[consumer]
        self.elapse()

    @rule()
    def crash(self) -> None:
        self.house = self.house.crash()
        for consumer in list(self.consumers):
            self.gone(consumer, failed=True)
        self.elapse()

    @rule(seconds=st.sampled_from([0.3, 1.0, 6.0]))
    def advance(self, seconds: float) -> None:
        if self.rewrite:
            queue = self.house.room._queues["q"]
            queue._rewrite_above = 0
        self.house.advance(seconds)
        self.elapse()

    @rule()
    def purge(self) -> None:
        self.house.room.tick(self.house.now)
        self.elapse()
        waiting = [message for message in self.messages if message.place == "waiting"]
        assert self.house.call("purge_queue", name="q")["purged"] == len(waiting)
        for message in waiting:
            message.place = "settled"

    # --- what always holds

    @invariant()
    def each_message_is_in_one_place(self) -> None:
        if not hasattr(self, "ttl_ms"):
            return
        # What storage refused is carried later; make it now, so that both sides speak of the same moment.
        self.house.now = self.house.now._replace(mono_s=self.house.now.mono_s + 1)
        self.house.room.tick(self.house.now)
        self.elapse()
        ready = self.ready()
        waiting = [message for message in self.messages if message.place == "waiting"]
        held = [message for message in self.messages if message.place == "held"]
        letters = [message for message in self.messages if message.place == "letter"]
        assert self.house.counts("q") == (len(ready), len(held), len(waiting) - len(ready))
        assert self.house.call("describe_queue", name="q")["blocked"] == 0
        size = sum(len(message.value) for message in waiting + held)
        assert self.house.call("describe_queue", name="q")["size_bytes"] == size
        assert [got.value for got in self.house.browse("q", 10**6)] == [message.value for message in ready]
        found = [(got.value, got.headers["mqbridge-death-reason"]) for got in self.house.browse("d", 10**6)]
        assert sorted(found) == sorted((message.value, message.reason.encode()) for message in letters)


TestQueueAgainstModel = pytest.mark.filterwarnings("ignore")(QueueAgainstModel.TestCase)
QueueAgainstModel.TestCase.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
