"""What an application may listen to, and the opt-in propagator of trace context.

The rule of this room: hooks are told per batch and cannot change anything; with none installed nothing is called. The
one hook per message is a `Propagator`, because trace context travels in headers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol, runtime_checkable

from mqbridge.errors import ConfigurationError

__all__ = ["EVENTS", "Propagator"]

EVENTS = ("sent", "received", "settled", "assignment", "error", "closed")
"""The methods a hook object may have, each called on the bus's callback thread, in order, with keyword facts:

``sent(destination, count, failed)``, ``received(destination, partition, count)``, ``settled(destination, count)``,
``assignment(group, assigned, revoked, lost)``, ``error(error, where)``, ``closed(what)``.
"""

log = logging.getLogger("mqbridge.hooks")


@runtime_checkable
class Propagator(Protocol):
    """Carries trace context: `inject` adds headers to a message being sent, `around` surrounds its handling in
    `run`."""

    def inject(self, destination: Any, headers: dict[str, bytes], /) -> None: ...

    def around(self, delivery: Any, /) -> AbstractContextManager[Any]: ...


class HookSet:
    """The installed hooks by event: None where nobody listens, so that a call site is one test of a name per batch."""

    def __init__(self, hooks: Iterable[Any]) -> None:
        hooks = tuple(hooks)
        self.propagator: Propagator | None = None
        for hook in hooks:
            if isinstance(hook, Propagator):
                if self.propagator is not None:
                    raise ConfigurationError("there can be one Propagator: two would write over each other's headers")
                self.propagator = hook
            elif not any(hasattr(hook, name) for name in EVENTS):
                raise ConfigurationError(
                    f"a hook has at least one method of {', '.join(EVENTS)}, or is a Propagator; {hook!r} has none"
                )
        self.sent = _fan_out(hooks, "sent")
        self.received = _fan_out(hooks, "received")
        self.settled = _fan_out(hooks, "settled")
        self.assignment = _fan_out(hooks, "assignment")
        self.error = _fan_out(hooks, "error")
        self.closed = _fan_out(hooks, "closed")

    def run_on(self, submit: Callable[[Callable[[], None]], None]) -> None:
        """Have every call made through `submit`: the bus's callback thread, never one that sends or receives."""
        for name in EVENTS:
            call = getattr(self, name)
            if call is not None:
                setattr(self, name, _submitted(call, submit))


def _submitted(call: Callable[..., None], submit: Callable[[Callable[[], None]], None]) -> Callable[..., None]:
    return lambda **facts: submit(partial(call, **facts))


def _fan_out(hooks: tuple[Any, ...], name: str) -> Callable[..., None] | None:
    methods = [getattr(hook, name) for hook in hooks if hasattr(hook, name)]
    if not methods:
        return None

    def call(**facts: Any) -> None:
        for method in methods:
            try:
                method(**facts)
            except Exception:  # the user's code must not break sending or receiving
                log.exception("hook %s raised", name)

    return call
