"""The shop: its services with their stated service times, its orders, and events read from a file.

The rule of this room: it knows no broker. What an order costs is decided by `price`, here alone, and a worker that
cannot price an order raises what `price` raised.
"""

from __future__ import annotations

import base64
import codecs
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import Any, BinaryIO

import mqbridge as mq

__all__ = [
    "BURST",
    "KEY_HEADER",
    "MAX_ATTEMPTS",
    "SAVE_S",
    "SERVICES",
    "SERVICE_BY_NAME",
    "SYNCHRONOUS_S",
    "Event",
    "Feed",
    "Service",
    "generate",
    "price",
    "read_feed",
    "with_poison",
    "worker_scale",
]

KEY_HEADER = "idempotency-key"
"""The front gives each order it accepts one key; whoever repeats the order repeats the key (IETF idempotency-key
draft)."""
MAX_ATTEMPTS = 3
SAVE_S = 0.050
BURST = 50
"""Orders that come as single requests, each timed. What a file holds beyond that is sent as a stream."""
MAX_LINE_BYTES = 256 << 10
MAX_FILE_BYTES = 64 << 20
HANDLING_BUDGET_S = 4.0
"""Service time that a file's events may take in the slowest service, so that the demo stays within its 20 seconds."""
_FLAT_PRICE = Decimal("1.00")
_MAX_PRICE = Decimal(10) ** 9


@dataclass(frozen=True, slots=True)
class Service:
    """`service_time_s` is the one the documents state; the demo really waits it."""

    name: str
    label: str
    service_time_s: float
    processes: int
    threads: int


SERVICES = (
    Service("payment", "payment", 0.200, 2, 4),
    Service("inventory", "inventory", 0.100, 1, 4),
    Service("email", "e-mail", 0.300, 1, 8),
    Service("sms", "SMS", 0.250, 1, 6),
    Service("analytics", "analytics", 0.100, 1, 4),
)
SERVICE_BY_NAME = {service.name: service for service in SERVICES}
SYNCHRONOUS_S = SAVE_S + sum(service.service_time_s for service in SERVICES)


@dataclass(frozen=True, slots=True)
class Event:
    """One order as it goes out: `key` is its idempotency key, `lane` the message key, `cents` None for a poison
    order."""

    key: str
    lane: str
    body: bytes
    cents: int | None

    @property
    def digest(self) -> str:
        return sha256(self.body).hexdigest()


@dataclass(frozen=True, slots=True)
class Feed:
    """The events of a run, and what of a file was left out."""

    events: tuple[Event, ...]
    source: str | None = None
    too_long: int = 0
    cut: bool = False


def price(order: Any) -> int:
    """The amount in cents; ValueError says why there is none.

    An order without an amount costs 1.00. The traps are real: ``float("NaN")`` succeeds, and NaN compares with nothing.
    """
    amount = order.get("amount", _FLAT_PRICE) if isinstance(order, dict) else _FLAT_PRICE
    if isinstance(amount, bool) or not isinstance(amount, int | float | str | Decimal):
        raise ValueError(f"amount {_short(amount)} is not a price")
    try:
        value = Decimal(str(amount))
        if not value.is_finite() or not 0 <= value <= _MAX_PRICE:
            raise ValueError(f"amount {_short(amount)} is not a price")
        return int(value.quantize(Decimal("0.01")) * 100)
    except InvalidOperation:
        raise ValueError(f"amount {_short(amount)} is not a price") from None


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."


_CUSTOMERS = (
    "ada", "barbara", "donald", "edsger", "frances", "grace", "jim", "leslie", "margaret", "niklaus", "radia", "tony",
)  # fmt: skip
_ITEMS = ("teapot", "lamp", "atlas", "kettle", "bicycle bell", "umbrella", "chess set")


def generate(count: int) -> tuple[Event, ...]:
    """`count` good orders, the same in every run."""
    return tuple(
        _event(
            f"order-{number:04}",
            _CUSTOMERS[number * 5 % len(_CUSTOMERS)],
            {
                "id": number,
                "customer": _CUSTOMERS[number * 5 % len(_CUSTOMERS)],
                "item": _ITEMS[number % len(_ITEMS)],
                "amount": f"{5 + number * 37 % 90}.{number * 13 % 100:02}",
            },
        )
        for number in range(1, count + 1)
    )


def with_poison(events: Sequence[Event]) -> tuple[Event, ...]:
    """The events and one that payment cannot process, three quarters through what comes as single requests."""
    order = {"id": 666, "customer": "mallory", "item": "umbrella", "amount": "NaN"}
    place = max(1, min(len(events), 40) * 3 // 4)
    return (*events[:place], _event("order-poison", "mallory", order), *events[place:])


def _event(key: str, lane: str, order: Any) -> Event:
    body = mq.codecs.json.encode(order)
    try:
        cents: int | None = price(order)
    except ValueError:
        cents = None
    return Event(key, lane, body, cents)


def read_feed(file: BinaryIO, source: str, max_events: int) -> Feed:
    """Each line that is not blank becomes an event, up to `max_events`.

    A JSON object goes as it is. Anything else is wrapped: ``{"id": line number, "text": ...}``, and a line that is not
    UTF-8 as ``"base64"``, so that its bytes are kept. The idempotency key is the line's number: two equal lines are two
    orders. A line above 256 KiB is left out and counted; after 64 MiB reading ends.
    """
    events: list[Event] = []
    too_long = 0
    read_bytes = 0
    for number, line in _lines(file):
        if line is None:
            too_long += 1
            continue
        read_bytes += len(line)
        line = line.rstrip(b"\r\n")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            continue
        if len(events) == max_events or read_bytes > MAX_FILE_BYTES:
            return Feed(tuple(events), source, too_long, cut=True)
        events.append(_line_event(number, line))
    return Feed(tuple(events), source, too_long)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """(line number, line), None for one that is too long; never more than one limit's worth in memory."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) <= MAX_LINE_BYTES:
            yield number, line
            continue
        skipped = 0
        while line and not line.endswith(b"\n") and skipped <= MAX_FILE_BYTES:
            skipped += len(line)
            line = file.readline(MAX_LINE_BYTES)
        yield number, None
        if skipped > MAX_FILE_BYTES:
            return


def _line_event(number: int, line: bytes) -> Event:
    key = f"line-{number}"
    order = _json_object(line)
    if order is not None:
        customer = order.get("customer")
        return _event(key, customer[:200] if isinstance(customer, str) and customer else key, order)
    try:
        return _event(key, key, {"id": number, "text": line.decode()})
    except UnicodeDecodeError:
        return _event(key, key, {"id": number, "base64": base64.b64encode(line).decode()})


def _json_object(line: bytes) -> dict[str, Any] | None:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        value = json.loads(line)
        # An infinity or a lone surrogate is JSON for a lenient reader and not for the codec: it goes as text.
        mq.codecs.json.encode(value)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def worker_scale(events: Sequence[Event]) -> float:
    """By what the workers' service times are multiplied so that a long file stays within the budget; 1.0 for few
    events.

    What counts is the longest lane (one customer's orders are handled one after another) or all events over the
    threads, in the slowest service.
    """
    longest_lane = max(Counter(event.lane for event in events).values(), default=0)
    slowest_s = max(
        service.service_time_s * max(longest_lane, len(events) / (service.threads * service.processes))
        for service in SERVICES
    )
    return min(1.0, HANDLING_BUDGET_S / slowest_s) if slowest_s else 1.0
