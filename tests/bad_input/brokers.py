"""What the bad-input tests on real brokers share: users with few rights, and how an error is read."""

from __future__ import annotations

import secrets
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

import mqbridge as mq
from mqbridge.testing import wait_until
from mqbridge_conformance.brokers import settings
from mqbridge_conformance.brokers.servers import Management, SecuredKafka

PASSWORD: Final = "pass-Word-of-Tests"
WRONG: Final = "wr0ng-Word-of-Tests"
SECRETS: Final = (PASSWORD, WRONG, settings.KAFKA_ADMIN[1], settings.KAFKA_STRANGER[1])

Source = mq.Topic[bytes] | mq.Queue[bytes]
Anything = mq.Topic[bytes] | mq.Queue[bytes] | mq.Exchange


@dataclass(frozen=True)
class Site:
    """A broker that asks who is there: its super user's URL, and one of a user with these rights: any of "write" and
    "read" for everything, but to make nothing."""

    engine: str
    url: str
    user: Callable[..., str]


def secured_kafka_site(broker: SecuredKafka) -> Site:
    return Site("kafka", broker.url, lambda *rights: kafka_user(broker, *rights))


def rabbitmq_site(url: str) -> Site:
    return Site("rabbitmq", url, lambda *rights: rabbitmq_user(url, *rights))


_KAFKA_RIGHTS: Final = {
    "write": ((ResourceType.TOPIC, AclOperation.WRITE),),
    "read": ((ResourceType.TOPIC, AclOperation.READ), (ResourceType.GROUP, AclOperation.READ)),
    "read topics": ((ResourceType.TOPIC, AclOperation.READ),),
    "registry": ((ResourceType.TOPIC, AclOperation.READ),),
}


def kafka_user(broker: SecuredKafka, *rights: str, mechanism: str = "SCRAM-SHA-256") -> str:
    """The URL of a new user; "registry" lets it find queues and exchanges, which every other right brings along."""
    client, name = AdminClient(broker.client_config), f"user-{secrets.token_hex(4)}"
    kind = ScramMechanism.SCRAM_SHA_256 if mechanism == "SCRAM-SHA-256" else ScramMechanism.SCRAM_SHA_512
    made = UserScramCredentialUpsertion(name, ScramCredentialInfo(kind, 4096), PASSWORD.encode())
    client.alter_user_scram_credentials([made])[name].result(20)
    wanted = [
        AclBinding(
            resource,
            "mqbridge.registry" if right == "registry" else "*",
            ResourcePatternType.LITERAL,
            f"User:{name}",
            "*",
            operation,
            AclPermissionType.ALLOW,
        )
        for right in ({"registry", *rights} if rights else ())
        for resource, operation in _KAFKA_RIGHTS[right]
    ]
    if wanted:
        for future in client.create_acls(wanted).values():
            future.result(20)
        wait_until(lambda: _stand(client, f"User:{name}") == set(wanted))
    url = f"{broker.url_of(name, PASSWORD)}?sasl={mechanism}"
    wait_until(lambda: _lets_in(url))  # the broker learns of a new user from the controller
    return url


def _stand(client: AdminClient, principal: str) -> set[AclBinding]:
    """The rights that the broker goes by."""
    anything: Any = AclBindingFilter
    what = anything(
        ResourceType.ANY, None, ResourcePatternType.ANY, principal, None, AclOperation.ANY, AclPermissionType.ANY
    )
    return set(client.describe_acls(what).result(20))


def _lets_in(url: str) -> bool:
    try:
        mq.connect(url).close()
    except mq.Denied:
        return False
    return True


def rabbitmq_user(url: str, *rights: str) -> str:
    """The URL of a new user, who may ask the management API too; the server forgets it with its container."""
    name, management = f"user-{secrets.token_hex(4)}", Management(url)
    given = {right: ".*" if right in rights else "^$" for right in ("configure", "write", "read")}
    management.ask("PUT", f"/api/users/{name}", {"password": PASSWORD, "tags": "management"})
    management.ask("PUT", f"/api/permissions/{quote(management.vhost, safe='')}/{name}", given)
    return url.replace("guest:guest@", f"{name}:{PASSWORD}@")


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
