"""Questions about groups, in a process of their own: `python -m mqbridge_kafka.group_process`.

The rule of this room: nothing is known here but the client. The first line of the input is its configuration, which
holds passwords and therefore is on no command line; each further line is a question, and gets one line back. The
process ends with its input. It may also be ended by the client at any moment: what the AdminClient (librdkafka 2.16)
asks of a group's coordinator ends the process when the coordinator is loading or the connection breaks (its issue 4605,
and assertions of `rd_kafka_admin_response_parse`). That is why it is not the application's process.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO

from confluent_kafka import ConsumerGroupState, ConsumerGroupType, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

TRY_S: Final = 5.0
STATES: Final = {
    ConsumerGroupState.STABLE: "stable",
    ConsumerGroupState.EMPTY: "empty",
    ConsumerGroupState.PREPARING_REBALANCING: "rebalancing",
    ConsumerGroupState.COMPLETING_REBALANCING: "rebalancing",
}
NO_GROUP: Final = (KafkaError.GROUP_ID_NOT_FOUND, KafkaError._UNKNOWN_GROUP)


def names(client: AdminClient) -> list[str]:
    """The groups that consume topics, sorted; not those that share queues."""
    types = {ConsumerGroupType.CLASSIC, ConsumerGroupType.CONSUMER}
    found = client.list_consumer_groups(types=types, request_timeout=TRY_S).result(TRY_S + 1.0)
    for error in found.errors or ():
        raise error if isinstance(error, KafkaException) else KafkaException(error)
    return sorted(item.group_id for item in found.valid)


def describe(client: AdminClient, *groups: str) -> list[dict[str, Any] | None]:
    """What each of these groups is; None where there is none."""
    if not groups:
        return []
    futures = client.describe_consumer_groups(list(groups), request_timeout=TRY_S)
    return [_described(futures[group]) for group in groups]


def delete(client: AdminClient, group: str) -> None:
    client.delete_consumer_groups([group], request_timeout=TRY_S)[group].result(TRY_S + 1.0)


ASKED: Final[dict[str, Callable[..., Any]]] = {"names": names, "describe": describe, "delete": delete}


def _described(future: Any) -> dict[str, Any] | None:
    try:
        found = future.result(TRY_S + 1.0)
    except KafkaException as error:
        if error.args[0].code() in NO_GROUP:
            return None
        raise
    if found.state == ConsumerGroupState.DEAD:
        return None
    return {
        "state": STATES.get(found.state, "unknown"),
        "protocol": _protocol(found),
        "members": [_member(member) for member in found.members],
    }


def _protocol(found: Any) -> str | None:
    """The group's way to rebalance, in the words of `consumer(rebalance=...)`."""
    if found.type == ConsumerGroupType.CONSUMER:
        return "server"
    if not found.partition_assignor:
        return None
    return "cooperative" if "cooperative" in found.partition_assignor else "eager"


def _member(member: Any) -> tuple[str, str | None, list[tuple[str, int]]]:
    places = member.assignment.topic_partitions if member.assignment is not None else ()
    return member.member_id, member.group_instance_id or None, [(place.topic, place.partition) for place in places]


def answer_to(client: AdminClient, what: str, *arguments: str) -> dict[str, Any]:
    """The answer, or the error by its code and text."""
    try:
        return {"answer": ASKED[what](client, *arguments)}
    except KafkaException as error:
        native = error.args[0]
        return {"error": [native.code(), native.str()]}
    except TimeoutError:
        return {"error": [KafkaError._TIMED_OUT, "no answer from the brokers in time"]}


def main(questions: TextIO, answers: TextIO) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the application's, and reaches all of its terminal
    client = AdminClient(json.loads(questions.readline()))
    for line in questions:
        answers.write(json.dumps(answer_to(client, *json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
