"""A scenario that is about the library's portable layer fails where that is broken, by the check that is there for it.

The saboteurs of the suite are broken engines, and no engine can break what lies above it: here one function of that is
replaced while the scenario runs.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable
from typing import Any

import pytest

import mqbridge as mq
from mqbridge import hooks
from mqbridge.admin import Admin
from mqbridge.bus import Bus
from mqbridge.capabilities import Capabilities
from mqbridge.consumer import BaseConsumer
from mqbridge.dispatch import Dispatcher
from mqbridge.ledger import Page
from mqbridge.producer import Producer
from mqbridge.queue_consumer import QueueConsumer
from mqbridge.redelivery import DeadLetters, Redelivery
from mqbridge.semantics import partitioners
from mqbridge.topic_consumer import TopicConsumer
from mqbridge_conformance.results import Verdict
from mqbridge_conformance.runner import run_scenario
from mqbridge_conformance.scenarios import ALL
from mqbridge_conformance.targets import targets_for

SCENARIOS = {scenario.name: scenario for scenario in ALL}
PATIENCE_S = 3.0

Breach = tuple[str, str, Any, str, Callable[..., Any], str]
"""Scenario, what is broken, whose function is replaced, its name, by what (it is given the function, then its
arguments), and the words of the check that must find it."""


def _nothing(original: Any, *args: Any, **options: Any) -> None:
    return


# --- sending and refusing


def _routing_key_dropped(extras: Any, self: Producer, route: Any, routing_key: str, *rest: Any) -> Any:
    return extras(self, route, routing_key if route.destination.kind == "exchange" else "", *rest)


def _no_limit(init: Any, self: Producer, *args: Any) -> None:
    init(self, *args)
    self._max_bytes = 1 << 40


def _refused_after_it_was_made(ensure: Any, self: Admin, *specs: Any) -> None:
    for spec in specs:
        if isinstance(spec, mq.Topic):
            self._ask(lambda done, name=spec.name: self._spi.create_topic(mq.Topic(name), done), "making it anyway")  # type: ignore[misc]
    ensure(self, *specs)


def _wrong_name(refusal: Any, self: Capabilities, capability: Any, what: str) -> Any:
    error = refusal(self, capability, what)
    error.capability = "SOMETHING_ELSE"
    return error


def _never_dry(reset: Any, self: Admin, group: str, topic: Any, to: Any, *, dry_run: bool = True) -> Any:
    return reset(self, group, topic, to, dry_run=False)


# --- consumers


def _waits_its_turn(enter: Any, self: BaseConsumer[Any]) -> None:
    self._polling.acquire()


def _nothing_given_back(run: Any, self: BaseConsumer[Any], kind: Any, fn: Any, timeout: float = 30.0) -> None:
    run(self, kind, fn, timeout)


def _deaf_for_settled(fan_out: Any, listeners: Any, name: str) -> Any:
    return None if name == "settled" else fan_out(listeners, name)


def _marks_forgotten(close: Any, self: QueueConsumer[Any], timeout: float = 30.0) -> None:
    """What was settled and not yet told is given back."""
    for page in self._pages:
        page.told[:] = b"\x01" * len(page.told)
    close(self, timeout)


def _released_is_acked(release: Any, self: QueueConsumer[Any], delivery: Any, delay_s: float) -> None:
    """What a run has not begun when it stops is acked."""
    delivery.ack()


def _second_verb_taken(take: Any, self: QueueConsumer[Any], delivery: Any, verb: Any) -> None:
    delivery._page.marks[delivery._index] = 0
    take(self, delivery, verb)


def _loss_not_told(lose: Any, self: QueueConsumer[Any], reason: str) -> None:
    """A consumer that closes does not tell its deliveries."""
    self._pages.clear()
    lose(self, reason)


def _released_is_settled(release: Any, self: TopicConsumer[Any], delivery: Any, delay_s: float) -> None:
    """What is released is delivered again, and its place is given up at once."""
    hold = self._hold(delivery)
    hold.finish()
    self._schedule(hold, delay_s)


def _refused_commit_hidden(commit: Any, self: TopicConsumer[Any], timeout: float = 30.0) -> None:
    with contextlib.suppress(mq.LeaseLost):
        commit(self, timeout)


def _dies_without_a_trace(die: Any, self: TopicConsumer[Any], delivery: Any, reason: str, error: Any) -> None:
    self._hold(delivery).finish()


def _settled_unconfirmed(die: Any, self: TopicConsumer[Any], delivery: Any, reason: str, error: Any) -> None:
    die(self, delivery, reason, error)
    for _, redelivery in self._burials:
        redelivery.finish()


def _settled_when_acked(hand_out: Any, self: TopicConsumer[Any], *args: Any) -> Any:
    asked, self._ack = self._ack, "explicit"
    try:
        return hand_out(self, *args)
    finally:
        self._ack = asked


BREACHES: list[Breach] = [
    (
        "refusals",
        "refuses after it was made",
        Admin,
        "ensure",
        _refused_after_it_was_made,
        "shows after .* was refused",
    ),
    ("refusals", "names another capability", Capabilities, "refusal", _wrong_name, "SOMETHING_ELSE"),
    ("closed-objects", "works when closed", Bus, "_check_open", _nothing, "by a closed bus"),
    ("bad-specifications", "drops a routing key", Producer, "_extras", _routing_key_dropped, "for a queue: no error"),
    ("too-large", "has no limit", Producer, "__init__", _no_limit, "whose value is too large"),
    ("unseen-failures", "keeps them to itself", Producer, "_raise_unobserved", _nothing, "failures unseen: no error"),
    ("group-reset", "resets on a dry run", Admin, "reset_offsets", _never_dry, "what a dry run plan"),
    (
        "partition-by-key",
        "has a hash of its own",
        partitioners,
        "murmur2",
        lambda murmur2, key: sum(key) + len(key),
        "the partitions of the key",
    ),
    ("concurrent-use", "lets a second wait", BaseConsumer, "_enter", _waits_its_turn, "what a second thread is told"),
    ("escape-hatch", "gives nothing back", BaseConsumer, "run_on_client", _nothing_given_back, "gives back None"),
    ("hooks", "tells nobody of settling", hooks, "_fan_out", _deaf_for_settled, "the hook heard"),
    (
        "order-under-failing-handlers",
        "goes on with the key of what failed",
        Dispatcher,
        "_lane_key",
        lambda lane_key, self, delivery: id(delivery),
        "what was begun for",
    ),
    ("close-flushes", "forgets at its end", QueueConsumer, "close", _marks_forgotten, "after the consumer was closed"),
    ("close-from-another-thread", "does not", QueueConsumer, "close", _nothing, "after its consumer was closed"),
    (
        "run-drains",
        "acks what it did not begin",
        QueueConsumer,
        "_release",
        _released_is_acked,
        "after run.. was stopped",
    ),
    ("double-settle", "takes a second verb", QueueConsumer, "_take", _second_verb_taken, "after ack: no error"),
    ("lease-lost", "does not tell it", QueueConsumer, "_lose", _loss_not_told, "consumer was closed: no error"),
    (
        "order-under-retry",
        "gives up a place",
        TopicConsumer,
        "_release",
        _released_is_settled,
        "settled prefix with one",
    ),
    (
        "order-under-retry",
        "does not count an attempt",
        Redelivery,
        "failed",
        lambda failed, self: self,
        "attempt number, redelivered",
    ),
    (
        "stalled-member-fenced",
        "hides a refused commit",
        TopicConsumer,
        "commit",
        _refused_commit_hidden,
        "settled a message after its lease was lost|no error",
    ),
    ("settle-once-on-a-topic", "settles twice", Page, "refuse", _nothing, "after ack\\(\\): no error"),
    (
        "settle-once-on-a-topic",
        "does not wait",
        TopicConsumer,
        "_schedule",
        lambda schedule, self, redelivery, delay_s: schedule(self, redelivery, 0.0),
        "delay-early|released for 0.3 s",
    ),
    ("topic-dead-letter", "drops it", TopicConsumer, "_die", _dies_without_a_trace, "the dead-letter topic: found"),
    (
        "topic-dead-letter",
        "does not say the error",
        DeadLetters,
        "bury",
        lambda bury, self, delivery, reason, error: bury(self, delivery, reason, None),
        "key, reason, attempts and error",
    ),
    (
        "topic-dead-letter-unconfirmed",
        "settles before it is confirmed",
        TopicConsumer,
        "_die",
        _settled_unconfirmed,
        "with a dead letter that nobody took",
    ),
    ("ack-before", "waits for the ack", TopicConsumer, "_hand_out", _settled_when_acked, "0 is committed where"),
    ("ack-auto", "commits what is acked", BaseConsumer, "_seen", _nothing, "what is committed by the clock: still"),
]


@pytest.mark.parametrize(
    ("name", "owner", "function", "change", "words"),
    [pytest.param(name, *rest, id=f"{name}: {what}") for name, what, *rest in BREACHES],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_broken_library_fails(
    name: str, owner: Any, function: str, change: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict is FAIL, never UNKNOWN or green, and the reason names what is broken."""
    original = getattr(owner, function)

    @functools.wraps(original)
    def changed(*args: Any, **options: Any) -> Any:
        return change(original, *args, **options)

    (target,) = targets_for("memory")
    with target:
        monkeypatch.setattr(owner, function, changed)
        result, _ = run_scenario(SCENARIOS[name], target, patience_s=PATIENCE_S)
        monkeypatch.undo()
    assert result.verdict is Verdict.FAIL, f"{result.verdict} {result.reason}"
    assert re.search(words, result.reason, re.DOTALL), result.reason
