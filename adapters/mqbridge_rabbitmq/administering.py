"""The SPI's admin for RabbitMQ, put together from the rooms of queues and of topics, and the broker's health."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mqbridge.errors import Denied, MqbridgeError
from mqbridge.spi import Completion
from mqbridge.topology import Destination, Exchange, Queue, Topic
from mqbridge_rabbitmq.management import Management
from mqbridge_rabbitmq.queue_administering import QueueAdmin
from mqbridge_rabbitmq.settings import WANTED
from mqbridge_rabbitmq.topic_administering import TopicAdmin

if TYPE_CHECKING:
    from mqbridge_rabbitmq.engine import RabbitConnection


class RabbitAdmin(QueueAdmin, TopicAdmin):
    """The SPI's Admin. Each room brings the calls of its own kind."""

    def __init__(self, connection: RabbitConnection) -> None:
        QueueAdmin.__init__(self, connection)
        TopicAdmin.__init__(self, connection)

    def delete(self, destination: Destination, done: Completion[None]) -> None:
        if isinstance(destination, Topic):
            self.delete_topic(destination, done)
        elif isinstance(destination, Queue):
            self.delete_queue(destination, done)
        else:
            assert isinstance(destination, Exchange), "the portable layer passes one of the three kinds"
            self.delete_exchange(destination, done)

    def health(self, done: Completion[Mapping[str, Any]]) -> None:
        connection = self.connection
        connection.management.ask("health", lambda api: examine(connection, api), done)


def examine(connection: RabbitConnection, api: Management) -> dict[str, Any]:
    """Facts and problems. What cannot be asked is a problem, not an error: a person wants to see the rest."""
    server, version = connection.asking.server, connection.version
    problems: list[dict[str, str]] = []
    facts: dict[str, Any] = {
        "engine": "rabbitmq",
        "product": _text(server.get("product")),
        "version": _text(server.get("version")),
        "node": _text(server.get("cluster_name")),
        "virtual_host": connection.settings.vhost,
        "user": connection.settings.username,
        "hosts": [f"{host}:{port}" for host, port in connection.settings.hosts],
        "wires": {role: "open" if wire.connection else "down" for role, wire in connection.wires.items()},
        "management": api.address,
    }
    if facts["product"] != "RabbitMQ":
        _add(
            problems,
            f"this is {facts['product'] or 'an unknown broker'}, not RabbitMQ",
            "other AMQP brokers were not tried; quorum queues, streams and confirms must behave as RabbitMQ's",
        )
    elif version < WANTED:
        _add(
            problems,
            f"RabbitMQ {facts['version']} is older than {'.'.join(map(str, WANTED))}",
            "upgrade: before 4.3 a release counts as a failed attempt, and retry_backoff is not there",
        )
    try:
        _ask_api(api, facts, problems)
    except MqbridgeError as error:
        _add(problems, f"the management API gives no answer: {error}", "listing and describing need it")
    facts["problems"] = problems
    return facts


def _ask_api(api: Management, facts: dict[str, Any], problems: list[dict[str, str]]) -> None:
    overview = api.overview()
    facts["node"] = overview.get("node", facts["node"])
    facts["cluster"] = overview.get("cluster_name")
    facts["queues"] = overview.get("object_totals", {}).get("queues")
    unseen: list[str] = []
    for what, look in (("permissions", _permissions), ("nodes", _nodes), ("deprecated features", _deprecated)):
        try:
            look(api, facts, problems)
        except Denied:
            unseen.append(what)
    if unseen:
        facts["not shown"] = f"{', '.join(unseen)}: user {facts['user']} lacks the tag monitoring or administrator"


def _permissions(api: Management, facts: dict[str, Any], problems: list[dict[str, str]]) -> None:
    permissions = api.permissions()
    for verb in ("configure", "write", "read"):
        pattern = permissions.get(verb, "")
        if pattern != ".*":
            _add(
                problems,
                f"user {facts['user']} may {verb} only what matches {pattern!r}",
                "what lies outside fails with Denied; rabbitmqctl set_permissions widens it",
            )


def _nodes(api: Management, _facts: dict[str, Any], problems: list[dict[str, str]]) -> None:
    for node in api.nodes():
        for alarm in ("mem_alarm", "disk_free_alarm"):
            if node.get(alarm):
                _add(problems, f"{alarm} on {node.get('name')}: publishers are blocked", "free memory or disk there")
        if node.get("running") is False:
            _add(problems, f"node {node.get('name')} does not run", "start it, or remove it from the cluster")


def _deprecated(api: Management, _facts: dict[str, Any], problems: list[dict[str, str]]) -> None:
    for feature in api.deprecated_used():
        _add(problems, f"deprecated feature in use: {feature.get('name')}", str(feature.get("desc", "")))


def _add(problems: list[dict[str, str]], what: str, advice: str) -> None:
    problems.append({"what": what, "advice": advice})


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
