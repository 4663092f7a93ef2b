"""The management client, against a scripted HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mqbridge.errors import Denied, MqbridgeError, NotFound, Rejected, Unreachable
from mqbridge.spi import Completion, ConnectRequest
from mqbridge.urls import parse_url
from mqbridge.waiting import wait
from mqbridge_rabbitmq.management import Management
from mqbridge_rabbitmq.settings import read_settings


class Server:
    """Answers each path with (status, body), writes the paths down, and may hang up behind an answer."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.paths: list[str] = []
        self.hang_up = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.paths.append(self.path)
                status, body = server.answers[self.path]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = server.hang_up  # without saying so in a header

            def log_message(self, *_words: Any) -> None:
                return

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def json(self, path: str, body: Any) -> None:
        self.answers[path] = (200, json.dumps(body).encode())

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def ask(server: Server) -> Iterator[Callable[[Callable[[Management], Any]], Any]]:
    url = parse_url("amqp://me:s3cr3t@h/a%2Fb")
    api = Management(
        read_settings(ConnectRequest(url, {"management": server.url}, "allow", 5.0, lambda _state, _why: None))
    )

    def asked(question: Callable[[Management], Any]) -> Any:
        def submit(done: Completion[Any]) -> None:
            api.ask("asking", question, done)

        return wait(submit, 10, "asking")

    yield asked
    api.close()


def test_a_virtual_host_and_a_name_are_quoted(server: Server, ask: Callable[..., Any]) -> None:
    """A slash in either would name something else."""
    server.json("/api/queues/a%2Fb/x%2Fy%20z", {"name": "x/y z"})
    assert ask(lambda api: api.queue("x/y z")) == {"name": "x/y z"}


def test_all_pages_are_read(server: Server, ask: Callable[..., Any]) -> None:
    """More queues than one page has."""
    for page in (1, 2, 3):
        path = f"/api/queues/a%2Fb?page={page}&page_size=500&pagination=true"
        server.json(path, {"page_count": 3, "items": [{"name": str(page)}]})
    assert [one["name"] for one in ask(lambda api: api.queues())] == ["1", "2", "3"]


def test_a_connection_that_died_meanwhile_is_made_anew(server: Server, ask: Callable[..., Any]) -> None:
    """The broker closes idle ones."""
    server.json("/api/overview", {"node": "rabbit@a"})
    server.hang_up = True
    for _ in range(3):
        assert ask(lambda api: api.overview()) == {"node": "rabbit@a"}
    assert len(server.paths) == 3


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"{}", Denied),
        (404, b"{}", NotFound),
        (500, b"oops", Rejected),
        (200, b"<html>", Unreachable),
    ],
)
def test_a_bad_answer_is_an_error_without_the_password(
    server: Server, ask: Callable[..., Any], status: int, body: bytes, kind: type[MqbridgeError]
) -> None:
    """Refused, missing, broken, or not RabbitMQ at all."""
    server.answers["/api/overview"] = (status, body)
    with pytest.raises(kind) as caught:
        ask(lambda api: api.overview())
    assert "s3cr3t" not in str(caught.value)


def test_an_answer_that_nobody_thought_of_is_an_error_and_the_next_is_asked(
    server: Server, ask: Callable[..., Any]
) -> None:
    """An exception would end the thread, and whoever waits would wait for ever."""
    server.json("/api/queues/a%2Fb/x", {"arguments": None})
    server.json("/api/overview", {"node": "rabbit@a"})
    with pytest.raises(Rejected, match="KeyError") as caught:
        ask(lambda api: api.queue("x")["name"])
    assert isinstance(caught.value.__cause__, KeyError)
    assert ask(lambda api: api.overview()) == {"node": "rabbit@a"}


def test_nobody_there_says_how_to_enable_it(server: Server, ask: Callable[..., Any]) -> None:
    """And is remembered for a while, for those who can do without."""
    server.close()
    with pytest.raises(Unreachable, match="rabbitmq-plugins enable rabbitmq_management"):
        ask(lambda api: api.overview())
    assert ask(lambda api: api.away)
