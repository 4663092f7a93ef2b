"""RabbitMQ as an outsider sees it: raw pika and the management API, nothing of the code under test."""

from __future__ import annotations

import base64
import contextlib
import json
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pika


@contextlib.contextmanager
def channel(url: str) -> Iterator[Any]:
    """A blocking channel, with confirms."""
    connection = pika.BlockingConnection(pika.URLParameters(url.split("?")[0]))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel
    finally:
        if connection.is_open:
            connection.close()


def read(url: str, queue: str, count: int, offset: Any = "first") -> list[tuple[int, Any, bytes]]:
    """`count` records of a stream: offset, properties, body."""
    found: list[tuple[int, Any, bytes]] = []
    with channel(url) as ch:
        ch.basic_qos(prefetch_count=100)
        for method, properties, body in ch.consume(queue, arguments={"x-stream-offset": offset}, inactivity_timeout=10):
            if method is None:
                break
            found.append((int(properties.headers["x-stream-offset"]), properties, body))
            ch.basic_ack(method.delivery_tag)
            if len(found) == count:
                break
    return found


def tokens(url: str, queue: str) -> list[dict[str, Any]]:
    """What a token queue holds, given back by closing the channel."""
    with channel(url) as ch:
        found: list[dict[str, Any]] = []
        left = ch.queue_declare(queue, passive=True).method.message_count
        for method, _, body in ch.consume(queue, inactivity_timeout=3):
            if method is None:
                break
            found.append(json.loads(body))
            left -= 1
            if left <= 0:
                break
    return found


def api(url: str, path: str, method: str = "GET") -> Any:
    """The management API; ``%2F`` is the virtual host of the tests."""
    parts = urlsplit(url)
    base = parse_qs(parts.query)["management"][0]
    request = urllib.request.Request(base + path, method=method)
    login = base64.b64encode(f"{parts.username or 'guest'}:{parts.password or 'guest'}".encode()).decode()
    request.add_header("Authorization", f"Basic {login}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        content = answer.read()
    return json.loads(content) if content else None


def vhost(url: str) -> str:
    path = urlsplit(url).path
    return quote(path[1:] or "/", safe="") if path not in ("", "/") else "%2F"
