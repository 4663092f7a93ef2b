"""amqps:// through a TLS end in front of the run's RabbitMQ, with a certificate of the run's own."""

from __future__ import annotations

import secrets
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge.urls import parse_url
from mqbridge_conformance.brokers.certificates import make_certificates


class TlsEnd:
    """Ends TLS and passes the bytes on, one thread for each way of each connection."""

    def __init__(self, target: tuple[str, int], files: Path) -> None:
        self._target = target
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files / "server.pem", files / "server.key")
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._sockets: list[socket.socket] = []
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            try:
                client = self._context.wrap_socket(plain, server_side=True)
            except OSError:
                plain.close()
                continue
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                thread = threading.Thread(target=self._pass_on, args=(source, sink))
                self._threads.append(thread)
                thread.start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(5)
        for one in self._sockets:
            one.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with server.pem, server.key and the authority that signed, ca.pem."""
    folder = tmp_path_factory.mktemp("tls")
    made = make_certificates()
    for name, text in (("ca.pem", made.authority), ("server.pem", made.certificate), ("server.key", made.key)):
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def tls_url(rabbitmq_url: str, files: Path) -> Iterator[str]:
    parsed = parse_url(rabbitmq_url)
    host, port = parsed.hosts[0]
    end = TlsEnd((host, port or 5672), files)
    yield f"amqps://guest:guest@127.0.0.1:{end.port}/?management={parsed.query['management']}"
    end.close()


def test_a_verified_connection_sends_and_consumes(tls_url: str, files: Path) -> None:
    """With its authority, and a message larger than a TLS record."""
    value = bytes(range(256)) * 1000
    with mq.connect(f"{tls_url}&ca={files / 'ca.pem'}") as bus:
        queue = mq.Queue(f"tls-{secrets.token_hex(4)}", dead_letter=None)
        bus.admin.ensure(queue)
        try:
            with bus.producer() as producer:
                producer.send_many(queue, [value] * 20).result(20)
            with bus.consumer(queue, prefetch=50) as consumer:
                got = 0
                while got < 20:
                    for delivery in consumer.poll(20, timeout=10):
                        assert delivery.value == value
                        delivery.ack()
                        got += 1
        finally:
            bus.admin.delete(queue)


def test_an_unknown_authority_and_a_wrong_name_are_refused(tls_url: str, files: Path) -> None:
    """Both are Unreachable, with what to check; verify=no takes any."""
    with pytest.raises(mq.Unreachable, match="TLS"):
        mq.connect(tls_url, connect_timeout_s=5)
    with pytest.raises(mq.Unreachable, match="TLS"):
        mq.connect(f"{tls_url}&ca={files / 'ca.pem'}&server_name=other", connect_timeout_s=5)
    with mq.connect(f"{tls_url}&verify=no") as bus:
        assert bus.state == "connected"
