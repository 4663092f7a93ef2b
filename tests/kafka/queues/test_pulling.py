"""A member that cannot write what it must, against a share group in memory that drops records as a broker does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import AcknowledgeType, KafkaError

import mqbridge as mq
from mqbridge.messages import read_death
from mqbridge_kafka import pulling, verdicts
from mqbridge_kafka.courier import Courier
from mqbridge_kafka.letters import Arrived, Letter
from mqbridge_kafka.pulling import Held, Order, Puller, Settlement
from mqbridge_kafka.records import NativeHeaders, decode_headers
from mqbridge_kafka.redriving import Redrive
from mqbridge_kafka.share_client import GroupLimits
from mqbridge_kafka.verdicts import Terms, Verb

OWN, DEAD = "q.mqq", "q.dlq.mqq"


class _Record:
    """A message of the client, as far as it is asked."""

    def __init__(self, headers: NativeHeaders, deliveries: int) -> None:
        self.told_headers, self.deliveries = headers, deliveries

    def value(self) -> bytes:
        return b"v"

    def key(self) -> None:
        return None

    def headers(self) -> NativeHeaders:
        return self.told_headers

    def delivery_count(self) -> int:
        return self.deliveries

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_000

    def partition(self) -> int:
        return 0


class _World:
    """A queue's log and share group, the courier that writes to it, and the queue as its members see it."""

    def __init__(self, limit: int = 10, lock_s: float = 8.0, max_attempts: int | None = 3) -> None:
        self.limit, self.lock_s = limit, lock_s
        self.available = [_Record([], 1)]
        self.dropped = 0
        self.letters: list[Letter] = []
        self.timeouts_s: list[float] = []
        self.broken: set[str] = {DEAD}
        self.refusal: KafkaError | None = None
        self.on_write: Callable[[], None] = lambda: None
        self.terms = Terms("q", OWN, max_attempts, DEAD, None, limit, 1_000_000)
        self.lock = threading.RLock()
        self.room = threading.Condition(self.lock)
        self.closing = self.away = False
        self.spec = SimpleNamespace(queue="queue:q", before=False)
        self.connection = SimpleNamespace(clock=SimpleNamespace(wall_ms=lambda: 2_000), courier=self)
        self.offered: list[Held] = []
        self.said: list[Any] = []

    # the courier
    def deliver(self, letters: Sequence[Letter], what: str, timeout_s: float = 15.0) -> list[mq.MqbridgeError | None]:
        self.timeouts_s.append(timeout_s)
        self.on_write()
        errors: list[mq.MqbridgeError | None] = []
        for letter in letters:
            if letter.topic in self.broken:
                errors.append(mq.NotFound(f"{what}: there is no {letter.topic}."))
                continue
            errors.append(None)
            self.letters.append(letter)
            if letter.topic == OWN:
                self.available.append(_Record(letter.headers, 1))
        return errors

    # the share client
    def settle(self, told: Sequence[tuple[Any, AcknowledgeType]]) -> dict[int, KafkaError | None]:
        for record, how in told if self.refusal is None else ():
            if how == AcknowledgeType.RELEASE:
                if record.deliveries >= self.limit:
                    self.dropped += 1
                else:
                    self.available.append(_Record(record.told_headers, record.deliveries + 1))
        return {0: self.refusal}

    # the queue
    def hold(self, puller: Puller, message: Any, arrival: Arrived, acquired_s: float) -> Held:
        return Held(id(message), puller, message, arrival, acquired_s, acquired_s + self.lock_s - 0.5)

    def offer(self, held: Sequence[Held]) -> None:
        self.offered.extend(held)

    def withdraw(self, held: Sequence[Held]) -> None:
        pass

    def is_gone(self) -> bool:
        return False

    def say(self, event: Any) -> None:
        self.said.append(event)

    def round(self, verb: Verb | None = None) -> tuple[tuple[int, ...] | None, mq.MqbridgeError | None] | None:
        """Acquire what is available, give the order for what is shown, and return once all has left the member."""
        messages, self.available = self.available, []
        puller = Puller(self, 1)  # type: ignore[arg-type]
        answers: list[Any] = []
        settlement = Settlement(lambda refused, error: answers.append((refused, error)))

        def offer(held: Sequence[Held]) -> None:
            for one in held:
                one.shown = True
                self.offered.append(one)
                assert verb is not None, "nothing should be shown"
                settlement.open += 1
                puller.orders.append(Order(one, verb, "bad", settlement))

        self.offer = offer  # type: ignore[method-assign]
        puller._hold(self, messages, time.monotonic())  # type: ignore[arg-type]
        return answers[0] if answers else None


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "PAUSE_MAX_S", 0.0)


@pytest.mark.parametrize("limit", [2, 3, 5, 10])
@pytest.mark.usefixtures("no_pause")
def test_an_unwritable_letter_never_costs_the_message(limit: int) -> None:
    """However often its dead letter fails, the broker never drops the message; once it can be written, it is."""
    world = _World(limit)
    while len(world.offered) < 3:
        world.round("reject")
    for _ in range(40):
        world.round()
    assert (len(world.offered), world.dropped, len(world.available)) == (3, 0, 1)
    world.broken.clear()
    world.round()
    death = read_death(decode_headers(world.letters[-1].headers))
    assert death is not None
    assert (world.letters[-1].topic, death.reason, world.available) == (DEAD, "max-attempts", [])


@pytest.mark.usefixtures("no_pause")
def test_a_copy_in_place_of_a_letter_carries_the_attempts() -> None:
    """A reject that fails near the broker's limit comes again as the next attempt, not as the first."""
    world = _World(max_attempts=None)
    world.available = [_Record([("mqbridge-attempts", b"20")], 8)]
    world.round("reject")  # given back: the 9th delivery is written anew unseen
    world.round()
    (record,) = world.available
    assert Arrived(b"", None, record.told_headers, 0, 1).attempt == 29
    assert world.dropped == 0


def test_what_cannot_be_written_at_all_is_tried_until_the_lock_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the broker's last delivery the record is kept, not given back, until its own queue can be written again."""
    monkeypatch.setattr(verdicts, "PAUSE_MAX_S", 0.01)
    world = _World()
    world.available = [_Record([], 10)]
    world.broken = {OWN, DEAD}

    def heal() -> None:
        if len(world.timeouts_s) == 7:
            world.broken = {DEAD}

    world.on_write = heal
    world.round()
    assert (world.dropped, len(world.available), len(world.timeouts_s)) == (0, 1, 7)


def test_a_failed_letter_is_told_at_once_and_the_record_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who waits hears truthfully what comes next; the record is given back after a pause that grows."""
    monkeypatch.setattr(verdicts, "PAUSE_FIRST_S", 0.05)
    took: list[float] = []
    for deliveries, sentence in ((1, "it will be delivered again"), (3, "it is not shown again")):
        world = _World()
        world.available = [_Record([], deliveries)]
        began_s = time.monotonic()
        answer = world.round("reject")
        took.append(time.monotonic() - began_s)
        assert answer is not None
        assert isinstance(answer[1], mq.NotFound)
        assert answer[1].outcome == "unknown"
        assert sentence in str(answer[1])
        assert world.available[0].deliveries == deliveries + 1
    assert took[0] >= 0.05
    assert took[1] >= 0.2


def test_a_letter_whose_ack_came_too_late_is_unknown_not_refused() -> None:
    """The letter is there: who is told `not_applied` would settle it a second time."""
    world = _World()
    world.broken.clear()
    world.refusal = KafkaError(KafkaError.INVALID_RECORD_STATE)
    answer = world.round("reject")
    assert answer is not None
    assert isinstance(answer[1], mq.LeaseLost)
    assert answer[1].outcome == "unknown"
    assert "twice" in str(answer[1])
    assert [letter.topic for letter in world.letters] == [DEAD]
    world = _World()
    world.refusal = KafkaError(KafkaError.INVALID_RECORD_STATE)
    refused, error = world.round("ack") or (None, None)
    assert refused
    assert error is None


def test_no_letter_is_begun_at_the_locks_end() -> None:
    """With less than `WRITE_S` left nothing is written, and the order is refused."""
    world = _World(lock_s=1.3 * verdicts.WRITE_S)  # 0.8 s until the lock ends for us
    world.lock_s, until_s = 8.0, 0.8
    world.hold = lambda puller, message, arrival, acquired_s: Held(  # type: ignore[method-assign]
        1, puller, message, arrival, acquired_s, acquired_s + until_s
    )
    world.broken.clear()
    assert world.round("reject") == ((1,), None)
    assert (world.letters, len(world.available)) == ([], 1)


def test_a_write_never_waits_beyond_the_lock() -> None:
    """The courier is given what the lock leaves, half of it where a second write may follow; 5 s when closing."""
    world = _World(lock_s=4.5)
    world.round("reject")
    world.available = [_Record([], 9)]
    world.round()
    assert 3.5 < world.timeouts_s[0] <= 4.0
    assert 1.5 < world.timeouts_s[1] <= 2.0
    world = _World(lock_s=60.0)
    world.closing = True
    world.round("reject")
    assert world.timeouts_s == [pulling.CLOSING_S]


def test_an_answer_that_does_not_come_names_the_time_that_was_waited() -> None:
    """The courier says its caller's time, and promises no second try that its caller may not make."""
    outlet = SimpleNamespace(produce=lambda *a, **k: None, seal=lambda: None)
    courier = Courier(SimpleNamespace())  # type: ignore[arg-type]
    courier._outlet = outlet  # type: ignore[assignment]
    (error,) = courier.deliver([Letter("t", b"", None, [], 1)], "writing", 0.03)
    assert isinstance(error, mq.OperationTimeout)
    assert error.outcome == "unknown"
    assert "within 0.03 s" in str(error)
    assert "delivery" not in str(error)


@pytest.mark.usefixtures("no_pause")
def test_redriving_that_fails_never_costs_the_letter() -> None:
    """Thirty attempts to redrive into a queue that cannot be written leave the letter where it was."""
    world = _World()
    state: Any = SimpleNamespace()
    redrive = Redrive(world.connection, mq.Queue("q"), OWN, DEAD, state)  # type: ignore[arg-type]
    for _ in range(30):
        messages: Any
        messages, world.available = world.available, []
        with pytest.raises(mq.NotFound):
            redrive._move(world, messages, 1, GroupLimits(60.0, world.limit))  # type: ignore[arg-type]
    assert (world.dropped, len(world.available)) == (0, 1)
