"""Clients that have lost their brokers for good are told from brokers that are away."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from mqbridge.testing import wait_until
from mqbridge_kafka import cut_off
from mqbridge_kafka.cut_off import Lifeline, let_go

QUIET: dict[str, Any] = {"log_level": 0, "error_cb": lambda _: None}


class Lone:
    """A peer that speaks Kafka as far as metadata: one broker, which at will does not name itself any more."""

    def __init__(self) -> None:
        self.named = True
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        with suppress(ConnectionError), peer, peer.makefile("rb") as stream:  # a client that is let go hangs up
            while len(head := stream.read(4)) == 4:
                request = stream.read(struct.unpack(">i", head)[0])
                key, version, correlation = struct.unpack(">hhi", request[:8])
                answer = struct.pack(">i", correlation) + self._answer(key, version)
                peer.sendall(struct.pack(">i", len(answer)) + answer)

    def _answer(self, key: int, version: int) -> bytes:
        if key == 18 and version >= 3:  # ApiVersions: say which, in the body of version 0 (KIP-511)
            return struct.pack(">hi", 35, 1) + struct.pack(">hhh", 18, 0, 0)
        if key == 18:
            return struct.pack(">hi", 0, 2) + struct.pack(">hhh", 3, 0, 1) + struct.pack(">hhh", 18, 0, 0)
        host = b"127.0.0.1"
        broker = struct.pack(">ih", 1, len(host)) + host + struct.pack(">ih", self.port, -1)
        brokers = struct.pack(">i", 1) + broker if self.named else struct.pack(">i", 0)
        partition = struct.pack(">hii", 0, 0, 1) + struct.pack(">ii", 1, 1) * 2
        topic = struct.pack(">hh", 0, 1) + b"t" + struct.pack(">?i", False, 1) + partition
        return brokers + struct.pack(">i", 1) + struct.pack(">i", 1) + topic

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def lone() -> Iterator[Lone]:
    made = Lone()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut_off, "CHECK_S", 0.0)


def test_a_client_that_forgot_its_brokers_is_cut_off(lone: Lone) -> None:
    """A broker that names none while it shuts down is forgotten; the client does not find it when it is back. (Without
    a second bootstrap it always ends like this; with one it does when the answer comes in between.)"""
    config = {"bootstrap.servers": f"127.0.0.1:{lone.port}", **QUIET}
    client = AdminClient({**config, "metadata.recovery.strategy": "none"})
    lifeline = Lifeline(lambda: config)
    assert not lifeline.cut_off(client, "t")
    lone.named = False
    client.list_topics("t", timeout=10)
    lone.named = True
    wait_until(lambda: lifeline.cut_off(client, "t"), 20.0)
    let_go(held := [client])
    wait_until(lambda: not held)


class Scripted:
    """A client that raises what it is told to."""

    def __init__(self, *codes: int | None) -> None:
        self._codes = iter(codes)

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        code = next(self._codes)
        if code is not None:
            raise KafkaException(KafkaError(code))


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ([KafkaError._TRANSPORT] * 2, [KafkaError._TRANSPORT] * 2),
        ([KafkaError._TIMED_OUT] * 2, [None, None]),
        ([KafkaError._TRANSPORT, None, KafkaError._TRANSPORT], [None, None]),
    ],
    ids=["brokers that are away", "a broker that is slow", "one that was connecting"],
)
def test_what_may_come_back_is_not_cut_off(
    own: list[int | None], other: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a new client finds nobody either, or the own one is answered in between, it is left alone."""
    another = Scripted(*other)
    monkeypatch.setattr(Lifeline, "_new", lambda _lifeline: another)
    client, lifeline = Scripted(*own), Lifeline(dict)
    assert not any(lifeline.cut_off(client, "t") for _ in own)
