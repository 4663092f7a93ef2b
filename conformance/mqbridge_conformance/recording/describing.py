"""How destinations, places and options are told in a history.

The rule: plain JSON, by the names that the API has, and nothing that a checker does not need.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import mqbridge as mq
from mqbridge_conformance.history import identify

__all__ = ["encoded", "place_of", "plain", "specification"]


def specification(spec: Any) -> tuple[str, dict[str, Any]]:
    """What was declared: its name in a history, and what it was specified to be."""
    if isinstance(spec, mq.Binding):
        told = {
            "exchange": str(spec.exchange),
            "destination": str(spec.destination),
            "key": spec.key,
            "match": spec.match,
            "headers": {name: plain(value) for name, value in (spec.headers or {}).items()},
        }
        return str(spec.exchange), {"binding": told}
    told = {name: getattr(spec, name) for name in spec.fields if name != "codec"}
    return str(spec), {name: plain(value) for name, value in told.items() if value is not None}


def plain(value: Any) -> Any:
    """A value of an option or of a specification as JSON has it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return identify(value)
    if isinstance(value, mq.Topic | mq.Queue | mq.Exchange):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dt.datetime | dt.timedelta):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return getattr(value, "__name__", None) or repr(value)


def encoded(destination: Any, value: Any) -> str | None:
    """A value as it is told: by the bytes that travel, where its codec can make them."""
    if value is None or isinstance(value, bytes):
        return identify(value)
    codec = getattr(destination, "codec", None)
    try:
        return identify(codec.encode(value)) if codec is not None else repr(value)
    except Exception as error:  # noqa: BLE001 - a codec is anybody's; sending it will say the same, and is judged
        return f"{type(error).__name__} for {value!r}"


def place_of(delivery: Any) -> dict[str, Any]:
    """Where a delivery is from, and what settles it. The lease is the library's own number, which the application
    is not shown."""
    block, index = delivery._block, delivery._index
    queue = delivery.partition is None
    return {
        "dest": str(delivery.destination),
        "part": delivery.partition,
        "off": delivery.offset,
        "tag": block.offset(index) if queue else None,
        "lease": None if queue else block.lease,
        "val": identify(delivery.raw),
    }
