"""From URL and options to the client's configuration."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge import spi
from mqbridge.errors import ConfigurationError
from mqbridge.urls import parse_url
from mqbridge_kafka.member_client import member_config
from mqbridge_kafka.outlet import producer_config
from mqbridge_kafka.settings import OWNED, Settings, read_settings


def settings(url: str, **options: Any) -> Settings:
    parsed = parse_url(url)
    merged = {**parsed.query, **options}
    return read_settings(spi.ConnectRequest(parsed, merged, "allow", 5.0, lambda _state, _reason: None))


def sender(**changes: Any) -> spi.SenderSpec:
    given: dict[str, Any] = {
        "acks": "all",
        "idempotent": None,
        "linger_s": 0.005,
        "batch_bytes": 1 << 18,
        "compression": None,
        "delivery_timeout_s": 120.0,
        "max_in_flight_bytes": 1 << 26,
        "on_unknown": "fail",
    }
    return spi.SenderSpec(**{**given, **changes})


def member(**changes: Any) -> spi.TopicSubscriptionSpec:
    given: dict[str, Any] = {
        "topics": (),
        "group": "g",
        "start": spi.Start("earliest"),
        "isolation": "read_committed",
        "rebalance": "cooperative",
        "instance_id": None,
        "session_timeout_s": 10.0,
        "max_poll_interval_s": 300.0,
        "on_gap": "fail",
    }
    return spi.TopicSubscriptionSpec(**{**given, **changes})


@pytest.mark.parametrize(
    ("url", "protocol", "mechanism"),
    [
        ("kafka://h", "PLAINTEXT", None),
        ("kafkas://h", "SSL", None),
        ("kafka://u:p@h", "SASL_PLAINTEXT", "PLAIN"),
        ("kafkas://u:p@h?sasl=scram-sha-512", "SASL_SSL", "SCRAM-SHA-512"),
    ],
)
def test_scheme_and_user_decide_the_protocol(url: str, protocol: str, mechanism: str | None) -> None:
    """The scheme says whether there is TLS, a user whether there is SASL; nothing is sent in the clear by accident."""
    config = settings(url).config("x")
    assert config["security.protocol"] == protocol
    assert config.get("sasl.mechanism") == mechanism


def test_hosts_keep_their_order_ports_and_brackets() -> None:
    """Several brokers are one bootstrap list; a port left out is 9092; IPv6 keeps its brackets."""
    assert settings("kafka://a,b:1,[::1]:2").bootstrap == "a:9092,b:1,[::1]:2"


def test_a_password_is_only_in_the_configuration() -> None:
    """What shows settings shows no password; one that the URL would show is refused, and not repeated."""
    found = settings("kafkas://u:s3cret@h?cert=c&key=k", key_password="s3cret")
    assert found.config("x")["sasl.password"] == found.config("x")["ssl.key.password"] == "s3cret"
    assert "s3cret" not in repr(found)
    for url in ("kafkas://h?cert=c&key=k&key_password=s3cret", "kafkas://h?librdkafka=ssl.keystore.password=s3cret"):
        with pytest.raises(ConfigurationError, match="options=") as refused:
            settings(url)
        assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("kafka:", "no broker"),
        ("kafka://h/vhost", "/vhost"),
        ("kafka://h?ca=x", "kafkas"),
        ("kafka://h?sasl=PLAIN", "needs a user"),
        ("kafka://u@h", "no password"),
        ("kafka://u:p@h?sasl=GSSAPI", "SCRAM-SHA-256"),
        ("kafkas://h?cert=x", "belong together"),
        ("kafkas://h?verify=perhaps", "verify"),
        ("kafka://h?metadata_s=0", "metadata_s"),
        ("kafka://h?buffer_bytes=many", "buffer_bytes"),
        ("kafka://h?librdkafka=nonsense", "nonsense"),
        ("kafka://h?librdkafka=enable.auto.commit=true", "enable.auto.commit"),
        ("kafka://h?librdkafka=reconnect.backoff.max.ms=60000", "reconnect.backoff.max.ms"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(url: str, word: str) -> None:
    """Each contradiction is refused before any I/O, and the text names the culprit."""
    with pytest.raises(ConfigurationError, match=word):
        settings(url)


def test_other_properties_reach_every_client() -> None:
    """The escape hatch takes text or a mapping, and ends in the configuration of each role."""
    assert settings("kafka://h?librdkafka=debug=cgrp;socket.keepalive.enable=true").config("x")["debug"] == "cgrp"
    assert settings("kafka://h", librdkafka={"client.dns.lookup": "x"}).config("x")["client.dns.lookup"] == "x"


def test_what_the_promises_rest_on_is_owned() -> None:
    """Nothing that this engine sets for its promises can be overridden through the escape hatch."""
    found = settings("kafka://h")
    reserved = set(producer_config(found, sender(), 1 << 20)) | set(member_config(found, member(instance_id="i")))
    tunable = {
        "batch.num.messages",
        "batch.size",
        "fetch.error.backoff.ms",
        "heartbeat.interval.ms",
        "max.in.flight.requests.per.connection",
        "message.max.bytes",
        "message.send.max.retries",
        "queue.buffering.max.messages",
        "queued.min.messages",
        "topic.metadata.propagation.max.ms",
        "topic.metadata.refresh.interval.ms",
    }
    assert reserved - tunable <= OWNED


def test_acks_decide_idempotence() -> None:
    """Idempotence is taken with acks=all; without it one batch is in flight, and nothing is sent twice unasked."""
    found = settings("kafka://h")
    assert producer_config(found, sender(), 1 << 20)["enable.idempotence"] is True
    leader = producer_config(found, sender(acks="leader"), 1 << 20)
    assert (leader["acks"], leader["enable.idempotence"]) == (1, False)
    assert leader["max.in.flight.requests.per.connection"] == 1
    assert leader["message.send.max.retries"] == 0
    assert "message.send.max.retries" not in producer_config(found, sender(acks="leader", on_unknown="resend"), 1 << 20)


def test_bytes_bound_the_buffer_and_topics_are_never_made() -> None:
    """The producer's buffer is bounded by bytes alone, and neither producer nor consumer makes topics."""
    found = settings("kafka://h")
    config = producer_config(found, sender(max_in_flight_bytes=1 << 20), 1 << 20)
    assert (config["queue.buffering.max.kbytes"], config["queue.buffering.max.messages"]) == (1024, 0)
    assert config["allow.auto.create.topics"] is False
    assert member_config(found, member())["allow.auto.create.topics"] is False


def test_nothing_is_read_or_committed_by_default() -> None:
    """A member never commits by itself, never jumps by itself, and says which isolation it means."""
    config = member_config(settings("kafka://h"), member())
    assert config["enable.auto.commit"] is False
    assert config["auto.offset.reset"] == "error"
    assert config["isolation.level"] == "read_committed"


def test_the_consumer_protocol_leaves_the_session_to_the_broker() -> None:
    """With rebalance='server' the client refuses a session timeout, an assignor and a heartbeat interval of ours."""
    config = member_config(settings("kafka://h"), member(rebalance="server"))
    assert config["group.protocol"] == "consumer"
    assert not {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"} & set(config)
