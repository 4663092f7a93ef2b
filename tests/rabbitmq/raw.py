"""RabbitMQ seen from outside the code under test: raw pika and the management API."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pika

from mqbridge.urls import parse_url


@contextmanager
def channel(url: str) -> Iterator[Any]:
    """A channel of pika's own blocking connection."""
    parsed = parse_url(url)
    host, port = parsed.hosts[0]
    credentials = pika.PlainCredentials(parsed.username or "guest", parsed.password or "guest")
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(
            host=host, port=port or 5672, virtual_host=parsed.path[1:] or "/", credentials=credentials
        )
    )
    try:
        yield connection.channel()
    finally:
        if connection.is_open:
            connection.close()


def ready(url: str, queue: str) -> int:
    """Messages that are ready, as a passive declare tells."""
    with channel(url) as one:
        return int(one.queue_declare(queue, passive=True).method.message_count)


def drain(url: str, queue: str) -> list[tuple[Any, Any, bytes]]:
    """Take all that is ready: (method, properties, body)."""
    found: list[tuple[Any, Any, bytes]] = []
    with channel(url) as one:
        count = one.queue_declare(queue, passive=True).method.message_count
        if count:
            for method, properties, body in one.consume(queue, auto_ack=True, inactivity_timeout=10):
                assert method is not None, f"{len(found)} of {count} ready messages came"
                found.append((method, properties, body))
                if len(found) == count:
                    break
    return found


def api(url: str, method: str, path: str, body: Any = None) -> Any:
    """The management API's answer."""
    parsed = parse_url(url)
    token = base64.b64encode(f"{parsed.username or 'guest'}:{parsed.password or 'guest'}".encode()).decode()
    request = urllib.request.Request(
        parsed.query["management"] + path,
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Basic {token}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def queue_facts(url: str, queue: str) -> dict[str, Any]:
    facts: dict[str, Any] = api(url, "GET", f"/api/queues/%2F/{quote(queue, safe='')}")
    return facts


def drop_connections(url: str, client: str) -> int:
    """Have the broker close all connections whose client-given name begins with `client`; how many there were."""
    found = [
        one["name"]
        for one in api(url, "GET", "/api/connections")
        if str(one.get("client_properties", {}).get("connection_name", "")).startswith(client)
    ]
    for name in found:
        api(url, "DELETE", f"/api/connections/{quote(name, safe='')}")
    return len(found)
