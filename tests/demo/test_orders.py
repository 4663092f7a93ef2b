"""Orders, their prices, and events read from any file."""

from __future__ import annotations

import base64
import io
import json
import os
from typing import Any

import pytest

from mqbridge.demo import orders
from mqbridge.demo.orders import Event, generate, price, read_feed, with_poison, worker_scale


def _read(data: bytes, max_events: int = 1000) -> orders.Feed:
    return read_feed(io.BytesIO(data), "a file", max_events)


def _value(event: Event) -> Any:
    return json.loads(event.body)


@pytest.mark.parametrize(
    ("amount", "cents"), [("12.34", 1234), (7, 700), (0.1, 10), ("1e2", 10000), (0, 0), ("1e-999999", 0)]
)
def test_an_amount_is_read_as_cents(amount: Any, cents: int) -> None:
    """Numbers and decimal strings cost what they say, without binary rounding."""
    assert price({"amount": amount}) == cents


@pytest.mark.parametrize(
    "amount", ["NaN", "Infinity", -1, "-0.01", "free", "", None, True, [1], {}, "1e10", "1e999999", "1_000 EUR"]
)
def test_an_amount_that_is_no_price_is_refused(amount: Any) -> None:
    """float() would take NaN and infinity, and bool is an int: none of them can be charged."""
    with pytest.raises(ValueError, match="is not a price"):
        price({"amount": amount})


def test_the_refusal_does_not_repeat_what_moves_a_cursor() -> None:
    """The reason travels to the dead letter and to the terminal: control characters are escaped, and it is short."""
    with pytest.raises(ValueError) as caught:
        price({"amount": "\x1b[2J" + "x" * 500})
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 80


def test_made_up_orders_are_good_and_have_keys_of_their_own() -> None:
    """Two orders with one key would be charged once."""
    made = generate(1500)
    assert len({event.key for event in made}) == 1500
    assert all(event.cents is not None for event in made)
    assert made == generate(1500)


@pytest.mark.parametrize("count", [1, 2, 40, 1500])
def test_exactly_one_poison_order_is_added_and_it_is_not_the_first(count: int) -> None:
    """The run needs a good order to kill a worker over, and one that payment cannot process."""
    events = with_poison(generate(count))
    assert len(events) == count + 1
    assert [event.key for event in events if event.cents is None] == ["order-poison"]
    assert events[0].cents is not None


def test_json_objects_go_as_they_are_and_text_is_wrapped() -> None:
    """Blank lines are skipped, the id is the line's number, and the customer is the message key."""
    feed = _read(b'\xef\xbb\xbf{"customer":"ada","amount":3}\r\n\r\n  \nhello \xc3\xa4\n[1,2]\nlast')
    assert [_value(event) for event in feed.events] == [
        {"customer": "ada", "amount": 3},
        {"id": 4, "text": "hello ä"},
        {"id": 5, "text": "[1,2]"},
        {"id": 6, "text": "last"},
    ]
    assert [(event.key, event.lane) for event in feed.events][:2] == [("line-1", "ada"), ("line-4", "line-4")]
    assert not feed.cut


def test_bytes_that_are_not_text_are_kept() -> None:
    """A line that is not UTF-8 can be had back, byte by byte."""
    line = bytes(byte for byte in range(256) if byte not in b"\n\r")
    (event,) = _read(line + b"\n").events
    assert base64.b64decode(_value(event)["base64"]) == line


def test_equal_lines_are_two_orders() -> None:
    """The key is the line's number: a customer may order the same thing twice."""
    assert len({event.key for event in _read(b'{"amount":1}\n{"amount":1}\n').events}) == 2


@pytest.mark.parametrize(
    "line",
    [
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":"\\ud800"}',
        b"{",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_json_that_no_codec_would_take_is_text(line: bytes) -> None:
    """What only a lenient reader takes for JSON, or what is nested beyond reason, ends neither the reading nor the
    run."""
    (event,) = _read(line + b"\n").events
    assert _value(event)["text"] == line.decode()


def test_random_bytes_are_events_and_no_crash() -> None:
    """Any file is a file of events."""
    feed = _read(os.urandom(200_000))
    assert feed.events
    assert all(json.loads(event.body) for event in feed.events)


def test_a_line_that_is_too_long_is_left_out_and_counted() -> None:
    """The lines around it are read, and their numbers are right."""
    feed = _read(b"one\n" + b"x" * (600 << 10) + b"\nthree\n")
    assert [event.key for event in feed.events] == ["line-1", "line-3"]
    assert feed.too_long == 1


def test_no_more_than_the_maximum_is_read() -> None:
    """And it is said that there was more; a file of exactly that many lines is not cut."""
    assert _read(b"a\nb\nc\n", 2).cut
    assert len(_read(b"a\nb\nc\n", 2).events) == 2
    assert not _read(b"a\nb\n\n", 2).cut


def test_few_orders_take_their_stated_times_and_many_are_scaled() -> None:
    """A file of thousands of lines, or of one customer alone, must not take minutes."""
    assert worker_scale(with_poison(generate(40))) == 1.0
    assert worker_scale(generate(5000)) < 0.1
    one_customer = tuple(Event(f"line-{n}", "ada", b"{}", 100) for n in range(200))
    assert 200 * 0.3 * worker_scale(one_customer) <= orders.HANDLING_BUDGET_S * 1.001
