"""Connecting: who is there, who may, and what an error says."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

import mqbridge as mq
from mqbridge_kafka import watching


class Doorman:
    """A peer that speaks Kafka as far as SASL, and lets nobody in."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as stream:
            while len(head := stream.read(4)) == 4:
                request = stream.read(struct.unpack(">i", head)[0])
                key, version, correlation = struct.unpack(">hhi", request[:8])
                answer = struct.pack(">i", correlation) + self._answer(key, version)
                peer.sendall(struct.pack(">i", len(answer)) + answer)

    @staticmethod
    def _answer(key: int, version: int) -> bytes:
        if key == 18 and version >= 3:  # ApiVersions: say which, in the body of version 0 (KIP-511)
            return struct.pack(">hi", 35, 1) + struct.pack(">hhh", 18, 0, 0)
        if key == 18:
            keys = ((3, 0, 1), (17, 0, 1), (18, 0, 0), (36, 0, 0))
            return struct.pack(">hi", 0, len(keys)) + b"".join(struct.pack(">hhh", *item) for item in keys)
        if key == 17:  # SaslHandshake
            return struct.pack(">hi", 0, 1) + struct.pack(">h", 5) + b"PLAIN"
        text = b"go away"
        return struct.pack(">hh", 58, len(text)) + text + struct.pack(">i", 0)  # SaslAuthenticate: failed

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def doorman() -> Iterator[Doorman]:
    made = Doorman()
    yield made
    made.close()


def test_a_wrong_password_is_denied_and_not_shown(doorman: Doorman) -> None:
    """Refused credentials are Denied at once, with the native cause, and the password nowhere."""
    begun_s = time.monotonic()
    with pytest.raises(mq.Denied) as denied:
        mq.connect(f"kafka://alice:s3cret@127.0.0.1:{doorman.port}")
    assert time.monotonic() - begun_s < 5.0
    assert "s3cret" not in f"{denied.value} {denied.value!r} {denied.value.__cause__!r}"
    assert "sasl=" in str(denied.value)
    assert denied.value.__cause__ is not None


def test_nobody_there_is_unreachable_at_once() -> None:
    """A refused connection is Unreachable with advice, without waiting for the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    begun_s = time.monotonic()
    with pytest.raises(mq.Unreachable, match="Check host and port"):
        mq.connect(f"kafka://127.0.0.1:{port}", connect_timeout_s=20)
    assert time.monotonic() - begun_s < 5.0


def test_a_mute_peer_is_unreachable_within_the_timeout() -> None:
    """Something that accepts and says nothing is Unreachable when the connect timeout is over."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        begun_s = time.monotonic()
        with pytest.raises(mq.Unreachable):
            mq.connect(f"kafka://127.0.0.1:{server.getsockname()[1]}", connect_timeout_s=0.5)
    assert time.monotonic() - begun_s < 3.0


def test_tls_on_a_plain_port_says_so(kafka_url: str) -> None:
    """kafkas:// on a port without TLS does not hang, and the error speaks of TLS."""
    with pytest.raises((mq.Unreachable, mq.Denied), match="TLS"):
        mq.connect(kafka_url.replace("kafka://", "kafkas://"))


def test_a_certificate_refused_in_the_first_step_says_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the client speaks of a broken transport, and only its text of TLS. (Once in some hundred connections.)"""
    text = "sasl_ssl://127.0.0.1:1/bootstrap: error:0A000086:SSL routines::certificate verify failed"

    class Hasty(AdminClient):
        def __init__(self, config: dict[str, Any]) -> None:
            super().__init__(config)
            self._told = config["error_cb"]

        def poll(self, timeout: float = -1) -> int:
            self._told(KafkaError(KafkaError._TRANSPORT, text))
            self._told(KafkaError(KafkaError._ALL_BROKERS_DOWN))
            return 2

    monkeypatch.setattr(watching, "AdminClient", Hasty)
    with pytest.raises(mq.Unreachable, match="certificate verify failed") as caught:
        mq.connect("kafkas://127.0.0.1:1")
    assert "ca=" in str(caught.value)
    assert caught.value.outcome == "not_applied"


def test_a_file_that_is_not_there_is_a_configuration_error(kafka_url: str) -> None:
    """A certificate file that cannot be read is the configuration's fault."""
    with pytest.raises(mq.ConfigurationError, match=r"ca\.location|ssl"):
        mq.connect(kafka_url.replace("kafka://", "kafkas://"), options={"ca": "/nonexistent/ca.pem"})


def test_the_message_limit_is_the_brokers(bus: mq.Bus) -> None:
    """max_message_bytes follows the broker's message.max.bytes, with room for a batch's overhead."""
    assert bus.limits.max_message_bytes == 1_048_588 - 1024
    assert isinstance(bus.unwrap(AdminClient), AdminClient)


def test_a_bus_ends_what_is_open_on_it(kafka_url: str) -> None:
    """Closing a bus ends the threads of its senders, members and replays."""
    before = {thread.ident for thread in threading.enumerate()}
    with mq.connect(kafka_url) as bus:
        producer = bus.producer()
        assert producer is not None
    left = [t for t in threading.enumerate() if t.ident not in before and t.name.startswith("mqbridge-kafka")]
    for thread in left:
        thread.join(5)
    assert not [thread for thread in left if thread.is_alive()]
