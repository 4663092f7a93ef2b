"""What the bad-input tests on real brokers share: users with few rights, and how an error is read."""

from __future__ import annotations

import secrets
import traceback
from collections.abc import Callable
from typing import Any, Final

import mqbridge as mq
from mqbridge_conformance.brokers import settings
from mqbridge_conformance.brokers.secured import KafkaSite, RabbitMQSite, Site
from mqbridge_conformance.brokers.servers import SecuredKafka

PASSWORD: Final = settings.NEW_USERS_PASSWORD
WRONG: Final = "wr0ng-Word-of-Tests"
SECRETS: Final = (PASSWORD, WRONG, settings.KAFKA_ADMIN[1], settings.KAFKA_STRANGER[1])

Source = mq.Topic[bytes] | mq.Queue[bytes]
Anything = mq.Topic[bytes] | mq.Queue[bytes] | mq.Exchange


def secured_kafka_site(broker: SecuredKafka) -> Site:
    return KafkaSite(broker)


def rabbitmq_site(url: str) -> Site:
    return RabbitMQSite(url)


def fresh(word: str) -> str:
    """A name of its own."""
    return f"{word}-{secrets.token_hex(4)}"


def told(error: BaseException | None, kind: type[mq.MqbridgeError], engine: str, *words: str) -> mq.MqbridgeError:
    """That it is such an error of that engine, that nothing was applied, and that its text says so and has `words`."""
    assert type(error) is kind, f"{error!r}"
    assert isinstance(error, mq.MqbridgeError)
    text = str(error)
    assert error.engine == engine
    assert error.outcome == "not_applied", text
    assert "Nothing was " in text or "not stored" in text, text
    for word in words:
        assert word in text, f"no {word!r} in: {text}"
    shown = "".join(traceback.format_exception(error)) + repr(error)
    assert not [secret for secret in SECRETS if secret in shown]
    return error


def failure(call: Callable[[], Any]) -> mq.MqbridgeError | None:
    """The error that a call ends with; that of the receipt, if it gives one."""
    try:
        result = call()
    except mq.MqbridgeError as error:
        return error
    return result.exception(15) if isinstance(result, mq.Receipt) else None


def received(bus: mq.Bus, source: Source, timeout_s: float = 10.0) -> list[bytes | None]:
    """What a consumer of its own is given at first, and settles."""
    consumer: Any
    if isinstance(source, mq.Topic):
        consumer = bus.consumer(source, group=fresh("group"), start=mq.EARLIEST)
    else:
        consumer = bus.consumer(source)
    with consumer:
        found = consumer.poll(10, timeout=timeout_s)
        for delivery in found:
            delivery.ack()
    return [delivery.raw for delivery in found]
