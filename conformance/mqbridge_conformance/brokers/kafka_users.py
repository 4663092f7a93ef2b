"""Users of a secured Kafka, made for a test; they are forgotten with its container."""

from __future__ import annotations

import secrets
from typing import Any, Final

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
from mqbridge_conformance.brokers.servers import SecuredKafka
from mqbridge_conformance.brokers.settings import NEW_USERS_PASSWORD

__all__ = ["kafka_user"]

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
    made = UserScramCredentialUpsertion(name, ScramCredentialInfo(kind, 4096), NEW_USERS_PASSWORD.encode())
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
    url = f"{broker.url_of(name, NEW_USERS_PASSWORD)}?sasl={mechanism}"
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
