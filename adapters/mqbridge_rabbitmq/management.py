"""RabbitMQ's HTTP API. The rule: it is for looking and for what AMQP cannot ask; messages never go through it.

AMQP 0-9-1 can make and remove, but lists nothing and reads back no argument. Requests run on one thread of this room,
one after the other; completions are called there. Its counts are sampled (every 5 s by default), so what must be exact
is asked over AMQP.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from mqbridge.errors import Denied, MqbridgeError, NotFound, Rejected, Unreachable
from mqbridge.spi import Completion
from mqbridge_rabbitmq.errors import ENGINE, caused
from mqbridge_rabbitmq.settings import Settings

T = TypeVar("T")
TIMEOUT_S = 5.0
AGAIN_S = 10.0
"""How long an API that could not be reached is taken for away by those who can do without it."""
PAGE = 500

ENABLE = (
    "Enable it with rabbitmq-plugins enable rabbitmq_management, give its address with the option "
    "management=http://host:port, and give the user the tag management (rabbitmqctl set_user_tags USER management)."
)


def _unreadable(what: str, address: str, error: Exception) -> MqbridgeError:
    return Rejected(
        f"{what}: what the management API at {address} answered could not be made sense of "
        f"({type(error).__name__}: {error}). Nothing was applied. Look whether it is RabbitMQ's, and of a version that "
        "this adapter knows.",
        engine=ENGINE,
        retryable=False,
    )


class Management:
    """The API of one virtual host."""

    def __init__(self, settings: Settings) -> None:
        parts = urlsplit(settings.management)
        self.address = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.hostname or ""
        self._port = parts.port
        self._prefix = parts.path.rstrip("/")
        self._tls = settings.tls if settings.tls is not None else ssl.create_default_context()
        self._secure = parts.scheme == "https"
        token = base64.b64encode(f"{settings.username}:{settings.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Accept": "application/json"}
        self._username = settings.username
        self.vhost = quote(settings.vhost, safe="")
        self._away_until_s = 0.0
        self._connection: http.client.HTTPConnection | None = None
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    # --- what is asked

    def ask(self, what: str, question: Callable[[Management], T], done: Completion[T]) -> None:
        """Run ``question(self)`` on the API's thread; `done` hears its result or why there is none. Any thread."""

        def job() -> None:
            try:
                result = question(self)
            except MqbridgeError as error:
                done(None, error)
            except Exception as error:  # noqa: BLE001 - whatever an answer holds that no reader of it thought of
                # Uncaught it would end the thread, and whoever waits, now or later, would wait for ever.
                done(None, caused(_unreadable(what, self.address, error), error))
            else:
                done(result, None)

        with self._lock:
            if not self._closed:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._main, name="mqbridge-rabbitmq-http", daemon=True)
                    self._thread.start()
                self._jobs.put(job)
                return
        done(None, Unreachable(f"{what}: the connection is closed. Nothing was applied.", engine=ENGINE))

    @property
    def away(self) -> bool:
        """It could not be reached a moment ago."""
        return time.monotonic() < self._away_until_s

    # --- the questions; on the API's thread only

    def overview(self) -> dict[str, Any]:
        return self._dict("overview", "/api/overview")

    def queue(self, name: str) -> dict[str, Any]:
        """One queue, with its arguments and its effective policy; `NotFound`."""
        return self._dict(f"queue {name}", f"/api/queues/{self.vhost}/{quote(name, safe='')}")

    def queues(self) -> list[dict[str, Any]]:
        return self._pages("queues", f"/api/queues/{self.vhost}")

    def exchange(self, name: str) -> dict[str, Any]:
        return self._dict(f"exchange {name}", f"/api/exchanges/{self.vhost}/{quote(name, safe='')}")

    def exchanges(self) -> list[dict[str, Any]]:
        return self._pages("exchanges", f"/api/exchanges/{self.vhost}")

    def bindings_from(self, exchange: str) -> list[dict[str, Any]]:
        """The bindings that start at an exchange."""
        path = f"/api/exchanges/{self.vhost}/{quote(exchange, safe='')}/bindings/source"
        return self._list(f"the bindings of exchange {exchange}", path)

    def policies(self) -> list[dict[str, Any]]:
        return self._list("policies", f"/api/policies/{self.vhost}")

    def permissions(self) -> dict[str, Any]:
        """What the user may configure, write and read here."""
        path = f"/api/permissions/{self.vhost}/{quote(self._username, safe='')}"
        return self._dict(f"the permissions of {self._username}", path)

    def deprecated_used(self) -> list[dict[str, Any]]:
        return self._list("deprecated features in use", "/api/deprecated-features/used")

    def nodes(self) -> list[dict[str, Any]]:
        return self._list("nodes", "/api/nodes")

    # --- one request

    def get(self, what: str, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The decoded answer to a GET; errors are mqbridge's. A connection that was kept and has died meanwhile is made
        anew once."""
        target = path + (f"?{urlencode(query)}" if query else "")
        for fresh in (False, True):
            if fresh or self._connection is None:
                self._drop()
                self._connection = self._open()
                fresh = True
            try:
                self._connection.request("GET", self._prefix + target, headers=self._headers)
                answer = self._connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                if not fresh:
                    continue
                self._away_until_s = time.monotonic() + AGAIN_S
                raise caused(self._unreachable(what, error), error) from error
            self._away_until_s = 0.0
            return self._decode(what, target, answer.status, content)
        raise AssertionError("the second round returns or raises")

    def _decode(self, what: str, path: str, status: int, content: bytes) -> Any:
        if 200 <= status < 300:
            if not content:
                return None
            try:
                return json.loads(content)
            except ValueError as error:
                raise Unreachable(
                    f"{what}: {self.address} answered something that is no JSON; is it RabbitMQ's management API? "
                    f"{ENABLE}",
                    engine=ENGINE,
                    retryable=False,
                ) from error
        text = content[:300].decode(errors="replace")
        if status in (401, 403):
            raise Denied(
                f"{what}: the management API at {self.address} refused user {self._username!r} ({status}). Nothing was "
                f"applied. {ENABLE}",
                engine=ENGINE,
            )
        if status == 404:
            raise NotFound(f"{what}: not there ({path}). Make it with admin.ensure().", engine=ENGINE)
        raise Rejected(
            f"{what}: the management API at {self.address} answered {status}: {text}. Look at the broker's log.",
            engine=ENGINE,
            retryable=status >= 500,
        )

    def _open(self) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)

    def _unreachable(self, what: str, error: BaseException) -> MqbridgeError:
        return Unreachable(
            f"{what} needs RabbitMQ's management API, and {self.address} cannot be reached: {error}. Nothing was "
            "applied. "
            f"{ENABLE} Sending and consuming work without it.",
            engine=ENGINE,
        )

    def _dict(self, what: str, path: str) -> dict[str, Any]:
        answer = self.get(what, path)
        return answer if isinstance(answer, dict) else {}

    def _list(self, what: str, path: str) -> list[dict[str, Any]]:
        answer = self.get(what, path)
        return answer if isinstance(answer, list) else []

    def _pages(self, what: str, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        page = 1
        while True:
            answer = self.get(what, path, {"page": page, "page_size": PAGE, "pagination": "true"})
            if not isinstance(answer, dict):
                return items
            items += answer.get("items", [])
            if page >= int(answer.get("page_count", 1)):
                return items
            page += 1

    # --- the thread

    def _main(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                self._drop()
                return
            job()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._thread is not None:
                self._jobs.put(None)
