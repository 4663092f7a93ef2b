"""Programs that keep a destination busy: one that sends payloads, one that consumes and settles them.

The rule: see `workers`. Both go on until they are told to stop, whatever fails meanwhile: how each send and each
settlement ended is in the history, and what a failure is worth is decided by those who read it.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import mqbridge as mq
from mqbridge_conformance.history import Payload
from mqbridge_conformance.parties import Link

__all__ = ["consume", "position", "send"]

POLL_S: Final = 0.05
END_S: Final = 60.0
"""Longer than any delivery timeout that a scenario asks for."""


def send(
    link: Link,
    url: str,
    destination: str,
    producer: str,
    keys: Sequence[str | None] = (None,),
    options: Mapping[str, Any] | None = None,
    each: Mapping[str, Any] | None = None,
    pad: int = 0,
) -> None:
    """Send payloads, the keys in turn, numbered on from call to call; `each` are arguments of every send.

    ``go`` (count): that many, then wait until each send has ended, and say ``sent``. ``flow`` (burst, every_s): again
    and again, one burst each `every_s` seconds (0: without a pause), at most two of them under way, until ``halt``, and
    then say ``sent``. ``sent`` tells how many ended how: ``confirmed``, ``not_applied``, ``unknown``.
    """
    target = mq.parse(destination)
    number = 0

    def burst(sender: mq.Producer, count: int) -> list[mq.Receipt | mq.MqbridgeError]:
        nonlocal number
        under_way: list[mq.Receipt | mq.MqbridgeError] = []
        for _ in range(count):
            key = keys[number % len(keys)]
            value = Payload(link.run, destination, key or "-", producer, number).encode(pad)
            number += 1
            try:
                under_way.append(sender.send(target, value, key=key, **(each or {})))
            except mq.MqbridgeError as error:
                under_way.append(error)
        return under_way

    with link.connect(url) as bus, bus.producer(**(options or {})) as sender:
        link.emit("ready")
        while True:
            order = link.commands.take("go", "flow", timeout_s=None)
            if order is None:
                return
            ends: Counter[str] = Counter()
            if order["name"] == "go":
                _end(burst(sender, order["count"]), ends)
            else:
                _flow(link, partial(burst, sender, order["burst"]), order.get("every_s", 0.0), ends)
            link.emit("sent", **ends)


def _flow(link: Link, burst: Callable[[], list[Any]], every_s: float, ends: Counter[str]) -> None:
    before: list[Any] = []
    while link.commands.take("halt", timeout_s=every_s) is None:
        link.check()
        now = burst()
        _end(before, ends)
        before = now
    _end(before, ends)


def _end(receipts: Sequence[mq.Receipt | mq.MqbridgeError], ends: Counter[str]) -> None:
    """Wait for each, and count how it ended."""
    for receipt in receipts:
        error = receipt if isinstance(receipt, mq.MqbridgeError) else receipt.exception(END_S)
        ends["confirmed" if error is None else error.outcome] += 1


def position(told: Any) -> Any:
    """A start as JSON has it: ``earliest``, ``latest``, ``{"at": {"0": 5}}``, ``{"since_s": 60}``."""
    if isinstance(told, Mapping):
        if "at" in told:
            return mq.At({int(partition): offset for partition, offset in told["at"].items()})
        return mq.Since(dt.timedelta(seconds=told["since_s"]))
    return {"earliest": mq.EARLIEST, "latest": mq.LATEST}[told]


def consume(
    link: Link,
    url: str,
    sources: Sequence[str],
    options: Mapping[str, Any] | None = None,
    max_messages: int = 50,
    work_s: float = 0.0,
    verbs: Sequence[str] = ("ack",),
    seconds_to_assign: float = 0.0,
) -> None:
    """Consume topics in a group (`options` has ``group`` and ``start``), or a queue; settle what comes by the verbs in
    turn, each after `work_s` of work, until the commands end.

    ``stall``: say ``stalled``, with how many deliveries are ``in_hand``, and stop polling, holding them, until
    ``go``. ``commit``: commit, and say ``committed``, with the error's code if it failed. ``progress``: say it,
    with ``handled``, ``late`` (verbs that were refused) and ``assigned``. ``leave``: close in good order, say
    ``left``, and end. The program says ``ready`` when it has a consumer, and, with `seconds_to_assign`, when it has
    been assigned partitions or that time is over.
    """
    given = dict(options or {})
    if "start" in given:
        given["start"] = position(given["start"])
    found: list[Any] = [mq.parse(source) for source in sources]
    with link.connect(url) as bus:
        consumer: Any = bus.consumer(found[0] if isinstance(found[0], mq.Queue) else found, **given)
        with consumer:
            if seconds_to_assign:
                try:
                    consumer.wait_assigned(seconds_to_assign)
                except mq.OperationTimeout:
                    link.check()
            link.emit("ready", assigned=_assigned(consumer))
            _Worker(link, consumer, max_messages, work_s, verbs).run()
        link.emit("left")


class _Worker:
    def __init__(self, link: Link, consumer: Any, max_messages: int, work_s: float, verbs: Sequence[str]) -> None:
        self._link = link
        self._consumer = consumer
        self._max_messages = max_messages
        self._work_s = work_s
        self._verbs = verbs
        self._in_hand: deque[Any] = deque()
        self._handled = 0
        self._late = 0

    def run(self) -> None:
        """Until ``leave``, or the end of the commands."""
        while not self._link.asked("leave"):
            self._in_hand.extend(self._consumer.poll(self._max_messages, timeout=POLL_S))
            while self._in_hand:
                self._obey()
                self._handle(self._in_hand[0])
                self._in_hand.popleft()
            self._obey()

    def _handle(self, delivery: Any) -> None:
        if self._work_s:
            # Work that hears when the party is to end: commands wait meanwhile, as they would in an application.
            self._link.commands.take("", timeout_s=self._work_s)
            self._link.check()
        try:
            getattr(delivery, self._verbs[self._handled % len(self._verbs)])()
        except (mq.LeaseLost, mq.AlreadySettled):
            self._late += 1
        self._handled += 1

    def _obey(self) -> None:
        while (order := self._link.commands.take("commit", "progress", "stall", timeout_s=0.0)) is not None:
            if order["name"] == "stall":
                self._link.emit("stalled", handled=self._handled, in_hand=len(self._in_hand))
                self._link.wait("go")
            elif order["name"] == "commit":
                self._link.emit("committed", failed=self._commit(), handled=self._handled)
            else:
                told = {"handled": self._handled, "late": self._late, "assigned": _assigned(self._consumer)}
                self._link.emit("progress", **told)
        self._link.check()

    def _commit(self) -> str | None:
        try:
            self._consumer.commit(END_S)
        except mq.MqbridgeError as error:
            return error.code
        return None


def _assigned(consumer: Any) -> list[list[Any]]:
    """The partitions that it has now; a queue has none."""
    return [list(place) for place in consumer.assignment()] if hasattr(consumer, "assignment") else []
