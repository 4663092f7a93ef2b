"""Every error a user can meet, in one small tree ordered by what the caller does about it.

The rule of this room: an error says what happened, what was not applied (or may have been), and what to do next;
the class carries what a program decides by (`code`, `retryable`, `outcome`), the text carries what a person reads.
No engine's own exception ever leaves the library: adapters translate at one edge, with ``raise ... from``, so
the native error is `__cause__`. What does not belong here: logic, and imports of anything else in the house.
"""

from __future__ import annotations

from typing import Any, Literal

Outcome = Literal["not_applied", "unknown", "applied"]

__all__ = [
    "AlreadySettled",
    "Closed",
    "CodecError",
    "ConcurrentUse",
    "ConfigurationError",
    "ConnectionLost",
    "CorruptLog",
    "Denied",
    "Fenced",
    "ForkedProcess",
    "InvalidSpec",
    "LeaseLost",
    "Mismatch",
    "MqbridgeError",
    "NotFound",
    "OffsetLost",
    "OperationTimeout",
    "Outcome",
    "Rejected",
    "SendFailed",
    "Unreachable",
    "Unroutable",
    "Unsupported",
    "UnsupportedOption",
]


class MqbridgeError(Exception):
    """Root of the tree; never raised itself.

    `code` is stable and documented. `retryable` says whether the same call, unchanged, may succeed later.
    `outcome` says what became of the operation: ``not_applied``, ``unknown`` (it may have been applied) or
    ``applied``. `engine` names the engine that reported it, or None. Further facts are attributes named in
    each class. All errors pickle, attributes included.
    """

    code: str = "error"
    retryable: bool = False
    outcome: Outcome = "not_applied"
    engine: str | None = None

    def __init__(
        self,
        message: str,
        *,
        outcome: Outcome | None = None,
        retryable: bool | None = None,
        engine: str | None = None,
        **facts: Any,
    ) -> None:
        if type(self) is MqbridgeError:
            raise TypeError("MqbridgeError is abstract: raise one of its subclasses")
        super().__init__(message)
        if outcome is not None:
            self.outcome = outcome
        if retryable is not None:
            self.retryable = retryable
        if engine is not None:
            self.engine = engine
        self.__dict__.update(facts)

    @property
    def message(self) -> str:
        """The text, as `str` gives it."""
        return str(self.args[0])

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, dict(self.__dict__))


def _rebuild(cls: type[MqbridgeError], message: str, state: dict[str, Any]) -> MqbridgeError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


class ConfigurationError(MqbridgeError, ValueError):
    """The program or its configuration is wrong; nothing was tried. Mend the call."""

    code = "configuration"


class UnsupportedOption(ConfigurationError):
    """An option that this engine does not know. `option`, and `nearest` (the closest known one, or None)."""

    code = "unsupported_option"
    option: str
    nearest: str | None = None


class InvalidSpec(ConfigurationError):
    """A destination or a message is specified in a way that cannot be carried out. `field` names the culprit."""

    code = "invalid_spec"
    field: str | None = None


class ConcurrentUse(ConfigurationError):
    """A second thread used a consumer that another one is polling. Give each thread a consumer of its own."""

    code = "concurrent_use"


class ForkedProcess(ConfigurationError):
    """A bus made before `fork` was used in the child. Connect again in the child."""

    code = "forked_process"


class Unsupported(MqbridgeError):
    """This engine cannot do it, and says so before any I/O. `capability`, and `instead`: what to use."""

    code = "unsupported"
    capability: str
    instead: str | None = None


class NotFound(MqbridgeError, LookupError):
    """The topic, queue, exchange or group does not exist; sending and consuming never create one."""

    code = "not_found"


class Mismatch(MqbridgeError):
    """It exists, but not as specified. `differences` is a tuple of (field, wanted, found)."""

    code = "mismatch"
    differences: tuple[tuple[str, Any, Any], ...] = ()


class Unroutable(MqbridgeError):
    """No binding of the exchange matched, so no queue has the message."""

    code = "unroutable"


class Rejected(MqbridgeError):
    """The engine refused the message: queue full, message too large, no room on the disk, a policy."""

    code = "rejected"


class Denied(MqbridgeError, PermissionError):
    """Authentication or authorization failed. Nothing was applied."""

    code = "denied"


class Unreachable(MqbridgeError):
    """The engine could not be reached at all: wrong address, not running, folder not usable."""

    code = "unreachable"
    retryable = True


class ConnectionLost(MqbridgeError, ConnectionError):
    """The connection broke while the operation was under way; its outcome says whether it may have been applied."""

    code = "connection_lost"
    retryable = True
    outcome: Outcome = "unknown"


class OperationTimeout(MqbridgeError, TimeoutError):
    """The deadline passed. The outcome says whether the operation may still have been applied."""

    code = "timeout"
    retryable = True


class SendFailed(MqbridgeError):
    """Sends failed and nobody had looked at their receipts.

    `count` is how many, `failures` the first 20 errors, `outcomes` a mapping outcome -> count.
    """

    code = "send_failed"
    count: int = 0
    failures: tuple[MqbridgeError, ...] = ()
    outcomes: dict[str, int]


class Fenced(MqbridgeError):
    """Another instance with the same identity took over; this one must stop."""

    code = "fenced"


class LeaseLost(MqbridgeError):
    """The delivery is no longer ours: the partition was revoked, or the queue gave the message to another."""

    code = "lease_lost"


class AlreadySettled(MqbridgeError):
    """A second verb on one delivery. The first one stands."""

    code = "already_settled"


class OffsetLost(MqbridgeError):
    """The committed offset lies before the start of the log: retention removed what was not read yet.

    `topic`, `partition`, `committed`, `start`. `on_gap` decides what a consumer does instead of raising.
    """

    code = "offset_lost"


class CodecError(MqbridgeError, ValueError):
    """A value could not be encoded or decoded; the raw bytes stay at hand in `Delivery.raw`."""

    code = "codec"


class CorruptLog(MqbridgeError):
    """A stored file is damaged. `file` and `offset_bytes` say where. Nothing was cut off or guessed."""

    code = "corrupt_log"
    file: str
    offset_bytes: int


class Closed(MqbridgeError):
    """The bus, producer or consumer is closed."""

    code = "closed"
