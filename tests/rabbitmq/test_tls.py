"""amqps:// through a TLS end in front of the run's RabbitMQ, with a certificate of the run's own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge.urls import parse_url
from mqbridge_conformance.brokers.certificates import make_certificates
from mqbridge_conformance.brokers.tls_end import TlsEnd


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
