"""The observer of Kafka gets in where the library gets in, by what the same URL says."""

from __future__ import annotations

from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge_conformance.brokers import settings
from mqbridge_conformance.brokers.kafka_users import kafka_user
from mqbridge_conformance.brokers.servers import SecuredKafka
from mqbridge_conformance.observers.kafka import KafkaObserver
from mqbridge_conformance.observers.kafka_login import KafkaLogin
from mqbridge_conformance.results import CannotTell, Verdict
from mqbridge_conformance.runner import run
from mqbridge_conformance.scenarios import ALL
from mqbridge_conformance.targets import targets_for


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("kafka://a", {"bootstrap.servers": "a:9092", "security.protocol": "PLAINTEXT"}),
        ("kafka://a:1,[::1]:2", {"bootstrap.servers": "a:1,[::1]:2", "security.protocol": "PLAINTEXT"}),
        (
            "kafka://me:p%40ss@a:1?sasl=scram-sha-512",
            {
                "bootstrap.servers": "a:1",
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": "me",
                "sasl.password": "p@ss",
            },
        ),
        (
            "kafkas://a:1?ca=/ca.pem&cert=/c.pem&key=/k.pem&librdkafka=a.b=c;d=e",
            {
                "bootstrap.servers": "a:1",
                "security.protocol": "SSL",
                "enable.ssl.certificate.verification": True,
                "ssl.endpoint.identification.algorithm": "https",
                "ssl.ca.location": "/ca.pem",
                "ssl.certificate.location": "/c.pem",
                "ssl.key.location": "/k.pem",
                "a.b": "c",
                "d": "e",
            },
        ),
        (
            "kafkas://a:1?verify=no",
            {
                "bootstrap.servers": "a:1",
                "security.protocol": "SSL",
                "enable.ssl.certificate.verification": False,
                "ssl.endpoint.identification.algorithm": "none",
            },
        ),
    ],
)
def test_a_url_says_how_raw_clients_get_in(url: str, wanted: dict[str, object]) -> None:
    """As it says it to the engine."""
    assert KafkaLogin(url).config == wanted


def test_an_exchange_of_rfc_7677_is_spoken_to_the_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's proof is that of the example of RFC 7677, section 3, and a broker that proves nothing is refused."""
    monkeypatch.setattr("secrets.token_hex", lambda _: "rOprNGfwEbeRWgbNEkqO")
    login = KafkaLogin("kafka://user:pencil@a?sasl=SCRAM-SHA-256")
    answers = [
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ]
    said: list[bytes] = []

    def answered(message: bytes) -> bytes:
        said.append(message)
        return answers[len(said) - 1]

    login.authenticate(answered)
    assert said[0] == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert said[1].endswith(b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    with pytest.raises(CannotTell, match="does not know the password itself"):
        login.authenticate(lambda message: answers[0] if message.startswith(b"n,,") else b"v=AAAA")


def test_an_unknown_mechanism_is_a_sentence() -> None:
    """Rather than a request that no broker knows."""
    with pytest.raises(CannotTell, match="does not know the mechanism sasl=GSSAPI"):
        KafkaLogin("kafka://me:pass@a?sasl=GSSAPI").authenticate(lambda message: message)


@pytest.fixture
def ways(secured_kafka_broker: SecuredKafka, tmp_path: Path) -> dict[str, str]:
    """URLs of one broker, each with another way in."""
    (tmp_path / "ca.pem").write_text(secured_kafka_broker.authority)
    return {
        "PLAIN": secured_kafka_broker.url,
        "SCRAM-SHA-256": kafka_user(secured_kafka_broker, "write", "read"),
        "SCRAM-SHA-512": kafka_user(secured_kafka_broker, "write", "read", mechanism="SCRAM-SHA-512"),
        "TLS": f"{secured_kafka_broker.tls_url_of(*settings.KAFKA_ADMIN)}?ca={tmp_path / 'ca.pem'}",
        "TLS, not verified": f"{secured_kafka_broker.tls_url_of(*settings.KAFKA_ADMIN)}?verify=no",
    }


def test_a_secured_broker_is_observed_by_each_way_in(ways: dict[str, str]) -> None:
    """What is read by librdkafka, and what is asked in the protocol itself: a share group and the release."""
    queue: mq.Queue[bytes] = mq.Queue("observed-with-a-password", dead_letter=None)
    with mq.connect(ways["PLAIN"]) as bus:
        bus.admin.ensure(queue)
        try:
            with bus.producer() as producer, bus.consumer(queue) as consumer:
                for number in range(3):
                    producer.send(queue, b"%d" % number).result(30)
                (first, *_) = consumer.poll(max_messages=1, timeout=30)
                first.ack()
            told = {way: KafkaObserver(url) for way, url in ways.items()}
            assert {way: observer.names().queues for way, observer in told.items()} == dict.fromkeys(ways, [queue.name])
            for way in ("PLAIN", "TLS", "TLS, not verified"):
                assert told[way].held(queue.name) == 2
            for way in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                with pytest.raises(CannotTell, match="needs the right ClusterAction"):
                    told[way].held(queue.name)
            assert {observer.versions()["kafka"] for observer in told.values()} == {"4.3"}
        finally:
            bus.admin.delete(queue)


def test_a_wrong_password_is_a_sentence(secured_kafka_broker: SecuredKafka) -> None:
    """Of the protocol's own refusal."""
    wrong = KafkaObserver(secured_kafka_broker.url_of(settings.KAFKA_ADMIN[0], "wrong"))
    with pytest.raises(CannotTell, match="not let in"):
        wrong.versions()


def test_scenarios_run_on_a_secured_broker(ways: dict[str, str]) -> None:
    """Over TLS, with a password: a topic and a queue, seen from outside."""
    wanted = [one for one in ALL if one.name in ("round-trip", "release-retry-reject", "read-committed")]
    (target,) = targets_for(ways["TLS"])
    report = run([target], wanted)
    found = {result.scenario: (result.verdict, result.reason) for result in report.results}
    assert found == {
        "round-trip": (Verdict.PASS, ""),
        "read-committed": (Verdict.PASS, ""),
        "release-retry-reject": (Verdict.PASS_EMULATED, ""),
    }
    assert target.name.startswith("kafka, 127.0.0.1:")
