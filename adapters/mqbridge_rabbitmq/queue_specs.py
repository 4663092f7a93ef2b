"""Queues, exchanges and bindings as AMQP declares them, and back. The rule: what is written is read back the same; what
the broker has no argument for is taken from who asks. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from mqbridge.errors import InvalidSpec, Mismatch, Unsupported
from mqbridge.topology import Binding, Exchange, HeaderMatch, Queue
from mqbridge_rabbitmq import naming
from mqbridge_rabbitmq.errors import ENGINE

DEFAULT_DELIVERY_LIMIT: Final = 20
"""Of quorum queues since RabbitMQ 4.0, where a queue does not say."""
TOP_PRIORITY: Final = 31
"""Quorum queues have 32 levels since 4.3, always."""
_OVERFLOW: Final = {"reject": "reject-publish", "drop-head": "drop-head"}
_INEQUIVALENT: Final = re.compile(r"inequivalent arg '([^']+)' for .*: received (.*) but current is (.*)")
_POLICY: Final = {
    "dead-letter-exchange": "x-dead-letter-exchange",
    "dead-letter-routing-key": "x-dead-letter-routing-key",
    "delivery-limit": "x-delivery-limit",
    "message-ttl": "x-message-ttl",
    "expires": "x-expires",
    "max-length": "x-max-length",
    "max-length-bytes": "x-max-length-bytes",
    "overflow": "x-overflow",
}
_SMALLER_WINS: Final = frozenset({"x-message-ttl", "x-expires", "x-max-length", "x-max-length-bytes"})
_FIELDS: Final = {
    "x-queue-type": "type",
    "x-delivery-limit": "max_attempts",
    "x-dead-letter-exchange": "dead_letter",
    "x-dead-letter-routing-key": "dead_letter",
    "x-dead-letter-strategy": "dead_letter",
    "x-message-ttl": "message_ttl_s",
    "x-expires": "expires_s",
    "x-max-length": "max_length",
    "x-max-length-bytes": "max_bytes",
    "x-overflow": "overflow",
    "x-max-priority": "max_priority",
    "x-single-active-consumer": "single_active",
    "alternate-exchange": "alternate",
}


def queue_arguments(queue: Queue[Any]) -> dict[str, Any]:
    """The arguments of queue.declare; refuses what this queue type cannot do."""
    quorum = queue.type == "quorum"
    if not quorum and queue.max_attempts is not None:
        raise Unsupported(
            f"{queue} with max_attempts={queue.max_attempts} and type='classic': classic queues count no attempts. "
            "Nothing was made; use type='quorum'.",
            capability="MAX_ATTEMPTS",
            engine=ENGINE,
            instead="type='quorum'",
        )
    if quorum and (queue.max_priority or 0) > TOP_PRIORITY:
        raise InvalidSpec(
            f"{queue} with max_priority={queue.max_priority}: a quorum queue has the priorities 0 to {TOP_PRIORITY}. "
            "Nothing was made; ask for less, or use type='classic'.",
            field="max_priority",
            engine=ENGINE,
        )
    arguments: dict[str, Any] = {"x-queue-type": queue.type, "x-overflow": _OVERFLOW[queue.overflow]}
    if quorum:
        # No limit must be asked for: the default drops, or dead-letters, after 20.
        arguments["x-delivery-limit"] = -1 if queue.max_attempts is None else queue.max_attempts - 1
    elif queue.max_priority is not None:
        arguments["x-max-priority"] = queue.max_priority
    if queue.dead_letter is not None:
        arguments["x-dead-letter-exchange"] = ""
        arguments["x-dead-letter-routing-key"] = naming.queue_name(queue.dead_letter)
        if quorum and queue.overflow == "reject":
            arguments["x-dead-letter-strategy"] = "at-least-once"
    for name, seconds in (("x-message-ttl", queue.message_ttl_s), ("x-expires", queue.expires_s)):
        if seconds is not None:
            arguments[name] = max(round(seconds * 1000), 1 if name == "x-expires" else 0)
    for name, count in (("x-max-length", queue.max_length), ("x-max-length-bytes", queue.max_bytes)):
        if count is not None:
            arguments[name] = count
    if queue.single_active:
        arguments["x-single-active-consumer"] = True
    return arguments


def read_queue(
    name: str, arguments: Mapping[str, Any], policy: Mapping[str, Any] | None, asked: Queue[Any] | None
) -> Queue[Any]:
    """The queue that stands there. Of a limit both in a policy and an argument the smaller counts, else the argument
    does; of a limit of attempts without a dead-letter queue, which drops, a `Queue` cannot tell. `Mismatch` for one
    that no `Queue` describes, as with x-max-length 0."""
    found = {argument: policy[key] for key, argument in _POLICY.items() if policy and key in policy}
    for argument, value in arguments.items():
        lower = argument in _SMALLER_WINS and argument in found
        found[argument] = min(value, found[argument]) if lower else value
    quorum = found.get("x-queue-type", "classic") == "quorum"
    target = found.get("x-dead-letter-routing-key") if found.get("x-dead-letter-exchange") == "" else None
    dead_letter = None if not target else _dead_letter(str(target), asked)
    limit = int(found.get("x-delivery-limit", DEFAULT_DELIVERY_LIMIT)) if quorum else -1
    ttl, expires = found.get("x-message-ttl"), found.get("x-expires")
    max_priority = found.get("x-max-priority")
    if quorum and asked is not None:
        max_priority = asked.max_priority  # always there, never said
    try:
        return Queue(
            name,
            max_attempts=limit + 1 if limit >= 0 and dead_letter is not None else None,
            dead_letter=dead_letter,
            message_ttl_s=None if ttl is None else ttl / 1000,
            expires_s=None if expires is None else expires / 1000,
            max_length=found.get("x-max-length"),
            max_bytes=found.get("x-max-length-bytes"),
            overflow="drop-head" if found.get("x-overflow", "drop-head") == "drop-head" else "reject",
            max_priority=max_priority,
            single_active=bool(found.get("x-single-active-consumer")),
            type="quorum" if quorum else "classic",
            physical_name=None if asked is None else asked.physical_name,
        )
    except InvalidSpec as error:
        raise _not_portable(name, found, asked, error) from error


def _not_portable(name: str, found: Mapping[str, Any], asked: Queue[Any] | None, error: InvalidSpec) -> Mismatch:
    field = error.field or "arguments"
    there = [value for argument, value in found.items() if _FIELDS.get(argument) == field]
    return Mismatch(
        f"queue {name} exists, made by others in a way that a Queue cannot say: {error} Nothing was changed. Choose "
        "another name, or delete it (with its messages) and ensure it again.",
        engine=ENGINE,
        differences=((field, getattr(asked, field, None), there[0] if there else dict(found)),),
    )


def _dead_letter(target: str, asked: Queue[Any] | None) -> Queue[Any] | None:
    """The dead-letter queue, by the name that the program gives it."""
    wanted = None if asked is None else asked.dead_letter
    if wanted is not None and naming.queue_name(wanted) == target:
        return wanted
    return Queue(target, dead_letter=None) if _portable(target) else None


def _portable(name: str) -> bool:
    try:
        Queue(name, dead_letter=None)
    except InvalidSpec:
        return False
    return True


def portable_queue(name: str, arguments: Mapping[str, Any], policy: Mapping[str, Any] | None) -> Queue[Any] | None:
    """The queue, if an application of mqbridge can name it and say what it is."""
    if not naming.is_portable_queue(name) or arguments.get("x-queue-type") == "stream" or not _portable(name):
        return None
    try:
        return read_queue(name, arguments, policy, None)
    except Mismatch:
        return None


# --- exchanges and bindings


def exchange_arguments(exchange: Exchange) -> dict[str, Any]:
    if exchange.alternate is None:
        return {}
    return {"alternate-exchange": naming.exchange_name(exchange.alternate)}


def read_exchange(name: str, found: Mapping[str, Any], asked: Exchange | None) -> Exchange | None:
    """The exchange that stands there; None for a type that the portable API does not know."""
    kind = found.get("type")
    if kind not in ("direct", "fanout", "topic", "headers"):
        return None
    alternate = (found.get("arguments") or {}).get("alternate-exchange")
    try:
        return Exchange(
            name,
            type=kind,
            alternate=None if not alternate else Exchange(str(alternate)),
            physical_name=None if asked is None else asked.physical_name,
        )
    except InvalidSpec:
        return None


def binding_arguments(binding: Binding) -> dict[str, Any]:
    if binding.exchange.type != "headers" and binding.headers is None:
        return {}
    return {"x-match": binding.match, **(binding.headers or {})}


def read_binding(exchange: Exchange, found: Mapping[str, Any]) -> Binding | None:
    """A binding as the management API shows it; None if it leads where the portable API does not."""
    name = str(found.get("destination", ""))
    to_queue = found.get("destination_type") == "queue"
    if not (naming.is_portable_queue(name) if to_queue else naming.is_portable_exchange(name)):
        return None
    arguments = dict(found.get("arguments") or {})
    match = str(arguments.pop("x-match", "all"))
    try:
        return Binding(
            exchange,
            Queue(name) if to_queue else Exchange(name),
            key=str(found.get("routing_key", "")),
            # JSON has no void: the API writes it as this word.
            headers={name: None if value == "undefined" else str(value) for name, value in arguments.items()} or None,
            match=cast(HeaderMatch, match),
        )
    except InvalidSpec:
        return None


# --- refusals


def mismatch(what: str, text: str) -> Mismatch:
    """A declare that met something else (406): the first difference, which is all that the broker tells."""
    found = _INEQUIVALENT.search(text)
    differences: tuple[tuple[str, Any, Any], ...] = ()
    if found is not None:
        argument, wanted, current = found.groups()
        differences = ((_FIELDS.get(argument, argument), wanted, current),)
    fields = "".join(f"{field}: " for field, _, _ in differences)
    return Mismatch(
        f"{what} exists, but not as specified: {fields}{text}. Nothing was changed. Specify what is there, choose "
        "another name, or "
        "delete it (with its messages) and ensure it again.",
        engine=ENGINE,
        differences=differences,
    )
