"""What a queue is: its specification as a value, read from the wire and written back to it.

The rule: a specification that gets past `read` can be carried out; nothing behind this room checks it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mqbridge.errors import InvalidSpec
from mqbridge.native.core.queues.records import LONGEST_MS
from mqbridge.semantics.backoff import RetryPolicy

MAX_PRIORITY = 255
_BACKOFF_FIELDS = ("first_delay_s", "multiplier", "max_delay_s")


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """One queue's limits and policies. Durations are seconds; None is without.

    `max_attempts` counts the first delivery. `max_length` and `max_bytes` (bytes of values, as RabbitMQ counts them)
    bound what is not at a consumer. `type` is kept and has no effect: this engine has one kind of queue.
    """

    max_attempts: int | None = None
    dead_letter: str | None = None
    message_ttl_s: float | None = None
    expires_s: float | None = None
    max_length: int | None = None
    max_bytes: int | None = None
    overflow: str = "reject"
    max_priority: int | None = None
    single_active: bool = False
    retry_backoff: RetryPolicy | None = None
    type: str = "quorum"

    @property
    def ttl_ms(self) -> int | None:
        return None if self.message_ttl_s is None else min(round(self.message_ttl_s * 1000), LONGEST_MS)

    @property
    def limited(self) -> bool:
        return self.max_length is not None or self.max_bytes is not None

    @classmethod
    def read(cls, queue: str, spec: Mapping[str, Any]) -> QueueSpec:
        """The specification that `spec` says, defaults filled in; `InvalidSpec` naming the field otherwise."""
        known = {field.name for field in fields(cls)}
        for name in spec:
            if name not in known:
                raise InvalidSpec(f"queue {queue!r}: a queue has no field {name!r}; nothing was done", field=str(name))
        said = {name: value for name, value in spec.items() if value is not None}
        for name in ("max_attempts", "max_length", "max_bytes", "max_priority"):
            _whole(queue, name, said.get(name))
        _seconds(queue, "message_ttl_s", said.get("message_ttl_s"), zero=True)
        _seconds(queue, "expires_s", said.get("expires_s"), zero=False)
        _one_of(queue, "overflow", said.get("overflow", "reject"), ("reject", "drop-head"))
        _one_of(queue, "type", said.get("type", "quorum"), ("quorum", "classic"))
        if said.get("max_priority", 1) > MAX_PRIORITY:
            raise _wrong(queue, "max_priority", f"at most {MAX_PRIORITY}", said["max_priority"])
        if not isinstance(said.get("single_active", False), bool):
            raise _wrong(queue, "single_active", "true or false", said["single_active"])
        target = said.get("dead_letter")
        if target is not None and not isinstance(target, str):
            raise _wrong(queue, "dead_letter", "the name of a queue", target)
        if target == queue:
            raise _wrong(queue, "dead_letter", "another queue than the queue itself", target)
        if "max_attempts" in said and target is None:
            raise InvalidSpec(
                f"queue {queue!r} has max_attempts={said['max_attempts']} and no dead_letter: a message past the limit "
                "would be dropped. Name a dead-letter queue or leave max_attempts out; nothing was done",
                field="dead_letter",
            )
        if "retry_backoff" in said:
            said["retry_backoff"] = _backoff(queue, said["retry_backoff"])
        return cls(**said)

    def as_dict(self) -> dict[str, Any]:
        """The whole specification, defaults included, as `read` takes it."""
        out = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.retry_backoff is not None:
            out["retry_backoff"] = {name: getattr(self.retry_backoff, name) for name in _BACKOFF_FIELDS}
        return out


def _backoff(queue: str, value: object) -> RetryPolicy:
    if not isinstance(value, Mapping) or set(value) - set(_BACKOFF_FIELDS):
        raise _wrong(queue, "retry_backoff", f"an object of {', '.join(_BACKOFF_FIELDS)}", value)
    try:
        # Without jitter: this room draws no random number, and a queue hands out one message at a time anyway.
        return RetryPolicy(max_attempts=None, jitter=0.0, **value)
    except ValueError as error:
        raise InvalidSpec(
            f"queue {queue!r}: retry_backoff: {error} Nothing was done.", field="retry_backoff"
        ) from error


def _whole(queue: str, name: str, value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise _wrong(queue, name, "a whole number of at least 1", value)


def _seconds(queue: str, name: str, value: object, *, zero: bool) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise _wrong(queue, name, "a finite number of seconds", value)
    if value == 0 and not zero:
        raise _wrong(queue, name, "above zero", value)


def _one_of(queue: str, name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise _wrong(queue, name, f"one of {', '.join(allowed)}", value)


def _wrong(queue: str, name: str, wanted: str, value: object) -> InvalidSpec:
    return InvalidSpec(f"queue {queue!r}: {name} must be {wanted}, not {value!r}; nothing was done", field=name)
