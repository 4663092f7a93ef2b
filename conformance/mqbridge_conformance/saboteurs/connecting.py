"""Saboteurs of connections: who is let in, what is refused, what a connection says of itself.

The rule: each lets through what is to be refused, or keeps back what is to be had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import mqbridge as mq
from mqbridge import spi
from mqbridge_conformance.saboteurs.passing import (
    PassingConnection,
    PassingQueueSubscription,
    PassingTopicSubscription,
)
from mqbridge_conformance.saboteurs.strikes import Strikes

__all__ = [
    "HidesNatives",
    "HidesNativesOfConsumers",
    "HidesNativesOfMembers",
    "RefusesNothing",
    "emulates_anyway",
    "hides_states",
    "lets_anybody_in",
]

T = TypeVar("T")

_first: dict[tuple[str, tuple[tuple[str, int | None], ...]], spi.ConnectRequest] = {}


def lets_anybody_in(request: spi.ConnectRequest, strikes: Strikes) -> spi.ConnectRequest:
    """S52: who comes to a broker is taken for the first one who came there, in whatever way that one showed who it
    was."""
    url = request.url
    first = _first.setdefault((url.scheme, url.hosts), request)
    same = (url.username, url.password) == (first.url.username, first.url.password)
    if same or not strikes.here(url.text):
        return request
    shown = replace(url, username=first.url.username, password=first.url.password)
    return replace(request, url=shown, options=first.options)


def emulates_anyway(request: spi.ConnectRequest, strikes: Strikes) -> spi.ConnectRequest:
    """S56: what is to be refused as an emulation is emulated."""
    if request.emulation != "forbid" or not strikes.here(request.url.text):
        return request
    return replace(request, emulation="allow")


def hides_states(request: spi.ConnectRequest, strikes: Strikes) -> spi.ConnectRequest:
    """S74: nobody is told that the broker is away."""

    def told(state: spi.State, reason: str) -> None:
        if state != "reconnecting" or not strikes.here(request.url.text, state=state):
            request.on_state(state, reason)

    return replace(request, on_state=told)


class _Lenient(mq.Capabilities):
    def __init__(self, claimed: mq.Capabilities, strikes: Strikes) -> None:
        super().__init__(claimed.engine, claimed, emulation=claimed.emulation)
        self._strikes = strikes

    def need(self, capability: mq.Capability, what: str) -> None:
        unsupported = self[capability].level is mq.Level.UNSUPPORTED
        if not unsupported or not self._strikes.here(what, capability=capability.value):
            super().need(capability, what)


class RefusesNothing(PassingConnection):
    """S38: what the engine does not have is tried all the same."""

    def prepare(self) -> None:
        self.capabilities = _Lenient(self.inner.capabilities, self.strikes)


class HidesNatives(PassingConnection):
    """S53: the native object behind a connection cannot be had."""

    def unwrap(self, kind: type[T]) -> T | None:
        found = self.inner.unwrap(kind)
        return None if found is not None and self.strikes.here(kind.__name__) else found


class HidesNativesOfMembers(PassingTopicSubscription):
    """S53: nor that of a member of a group."""

    def call(self, kind: type[T], fn: Callable[[T], Any], done: spi.Completion[Any]) -> None:
        if self.strikes.here(kind.__name__):
            done(None, mq.InvalidSpec(f"the member has no {kind.__name__} inside", field="kind"))
        else:
            super().call(kind, fn, done)


class HidesNativesOfConsumers(PassingQueueSubscription):
    """S53: nor that of a consumer of a queue."""

    def call(self, kind: type[T], fn: Callable[[T], Any], done: spi.Completion[Any]) -> None:
        if self.strikes.here(kind.__name__):
            done(None, mq.InvalidSpec(f"the consumer has no {kind.__name__} inside", field="kind"))
        else:
            super().call(kind, fn, done)
