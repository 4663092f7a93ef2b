"""How a broken engine gets between a program of the suite and its broker.

The rule: without a saboteur this is `mqbridge.connect` and nothing else. Which saboteur it is stands in the
environment, so that spawned processes run the same: ``MQBRIDGE_SABOTEUR=M02:p=0.01:seed=7``, with
``MQBRIDGE_SABOTEUR_TOLD`` naming the file where strikes are told.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import mqbridge as mq
from mqbridge import spi
from mqbridge.testing.embedding import decorated
from mqbridge_conformance.history import Recorder
from mqbridge_conformance.opening import VARIABLE
from mqbridge_conformance.saboteurs.catalogue import SABOTEURS
from mqbridge_conformance.saboteurs.misconfigured import MISCONFIGURED
from mqbridge_conformance.saboteurs.passing import PassingChannel
from mqbridge_conformance.saboteurs.saboteur import Saboteur
from mqbridge_conformance.saboteurs.strikes import EVERY, Draws, Plan, Scout, Strikes

if TYPE_CHECKING:
    from mqbridge.topology import Destination

__all__ = ["TOLD", "SabotagedEngine", "check_environment", "in_force", "open_bus"]

T = TypeVar("T")
TOLD: Final = "MQBRIDGE_SABOTEUR_TOLD"

_draws: dict[tuple[Plan, type[Draws]], Draws] = {}
_lock = threading.Lock()


def open_bus(url: str, *, plan: Plan | None = None, recorder: Recorder | None = None, **options: Any) -> mq.Bus:
    """A bus under test: what `mqbridge.connect` gives, broken as `plan` or the environment says. `recorder` hears of
    the strikes, as ``sabotage``; `options` are those of `connect`."""
    plan = plan or _in_environment()
    if plan is None:
        return mq.connect(url, **options)
    if plan.code == EVERY:
        every = [(one, Strikes(_drawn(replace(plan, code=code), Scout))) for code, one in SABOTEURS.items()]
        return decorated(partial(_surrounded, every), url, **options)
    saboteur = SABOTEURS.get(plan.code) or MISCONFIGURED[plan.code]
    return decorated(partial(_surrounded, [(saboteur, Strikes(_drawn(plan, Draws), recorder))]), url, **options)


def _drawn(plan: Plan, kind: type[Draws]) -> Draws:
    with _lock:  # one process, one series of opportunities
        return _draws.setdefault((plan, kind), kind(plan))


def _surrounded(by: Sequence[tuple[Saboteur, Strikes]], engine: spi.Engine) -> spi.Engine:
    for saboteur, strikes in by:
        engine = SabotagedEngine(engine, saboteur, strikes)
    return engine


def _in_environment() -> Plan | None:
    text, told = os.environ.get(VARIABLE), os.environ.get(TOLD)
    if not text:
        return None
    return replace(Plan.parse(text), told=Path(told) if told else None)


def check_environment() -> None:
    """`ValueError`, as a sentence, if what stands in the environment is no saboteur."""
    try:
        plan = _in_environment()
    except ValueError as error:
        raise ValueError(f"{VARIABLE}: {error}") from error
    if plan is not None and plan.code not in {EVERY, *SABOTEURS, *MISCONFIGURED}:
        known = ", ".join([*SABOTEURS, *MISCONFIGURED])
        raise ValueError(f"{VARIABLE}: there is no saboteur {plan.code!r}; there are {known}")


@contextlib.contextmanager
def in_force(plan: Plan) -> Iterator[None]:
    """What is opened by `open_bus` in this process, and in those that it starts, is broken as `plan` says. Its
    opportunities are counted from the beginning."""
    mine = {VARIABLE: str(plan), **({TOLD: str(plan.told)} if plan.told is not None else {})}
    before = {name: os.environ.pop(name, None) for name in (VARIABLE, TOLD)}
    _draws.clear()
    os.environ.update(mine)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class SabotagedEngine:
    """An engine one promise of which is broken."""

    def __init__(self, engine: spi.Engine, saboteur: Saboteur, strikes: Strikes) -> None:
        self._engine = engine
        self._saboteur = saboteur
        self._strikes = strikes
        self.name = engine.name
        self.schemes = engine.schemes
        self.spi_version = engine.spi_version
        self.options = engine.options

    def connect(self, request: spi.ConnectRequest, done: spi.Completion[spi.Connection]) -> None:
        pieces = self._saboteur.pieces
        if pieces.request is not None:
            request = pieces.request(request, self._strikes)

        def connected(connection: spi.Connection | None, error: mq.MqbridgeError | None) -> None:
            if connection is None:
                done(None, error)
                return
            if pieces.connection is not None:
                connection = cast(spi.Connection, pieces.connection(connection, self._strikes))
            done(_Connection(connection, self._saboteur, self._strikes), None)

        self._engine.connect(request, connected)


class _Connection:
    def __init__(self, inner: spi.Connection, saboteur: Saboteur, strikes: Strikes) -> None:
        self._inner = inner
        self._pieces = saboteur.pieces
        self._strikes = strikes
        self.capabilities = inner.capabilities
        self.limits = inner.limits
        self.clock = inner.clock
        admin = self._pieces.admin
        self.admin = inner.admin if admin is None else cast(spi.Admin, admin(inner.admin, strikes, inner))

    def open_sender(self, spec: spi.SenderSpec) -> spi.Sender:
        if self._pieces.sender is not None:
            spec = self._pieces.sender(spec, self._strikes)
        sender = self._inner.open_sender(spec)
        channel = self._pieces.channel
        return sender if channel is None else _Sender(sender, channel, self._strikes, self._inner)

    def subscribe(self, spec: spi.TopicSubscriptionSpec, ready: Callable[[], None]) -> spi.TopicSubscription:
        if self._pieces.topic is None:
            return self._inner.subscribe(spec, ready)
        kind = self._pieces.topic
        member = kind(lambda asked: self._inner.subscribe(asked, ready), spec, self._strikes, self._inner)
        member.ready = ready
        return member

    def subscribe_queue(self, spec: spi.QueueSubscriptionSpec, ready: Callable[[], None]) -> spi.QueueSubscription:
        if self._pieces.queue is None:
            return self._inner.subscribe_queue(spec, ready)
        return self._pieces.queue(
            lambda asked: self._inner.subscribe_queue(asked, ready), spec, self._strikes, self._inner
        )

    def replay(self, topic: mq.Topic[Any], ready: Callable[[], None]) -> spi.ReplaySource:
        source = self._inner.replay(topic, ready)
        return source if self._pieces.replay is None else self._pieces.replay(source, topic, self._strikes)

    def unwrap(self, kind: type[T]) -> T | None:
        return self._inner.unwrap(kind)

    def close(self, timeout_s: float, done: spi.Completion[None]) -> None:
        self._inner.close(timeout_s, done)

    def abandon(self) -> None:
        self._inner.abandon()


class _Sender:
    def __init__(
        self, inner: spi.Sender, kind: type[PassingChannel], strikes: Strikes, connection: spi.Connection
    ) -> None:
        self._inner = inner
        self._kind = kind
        self._strikes = strikes
        self._connection = connection
        self._channels: list[PassingChannel] = []

    def channel(
        self,
        destination: Destination,
        partitioner: spi.Partitioner | None,
        reports: spi.Reports,
        done: spi.Completion[spi.Channel],
    ) -> None:
        outer = self._kind(destination, reports, self._strikes, self._connection)

        def opened(inner: spi.Channel | None, error: mq.MqbridgeError | None) -> None:
            if inner is None:
                done(None, error)
                return
            outer.inner = inner
            outer.siblings = self._channels
            self._channels.append(outer)
            outer.opened()
            done(outer, None)

        outer.opening(lambda: self._inner.channel(destination, outer.partitioner(partitioner), outer, opened))

    def close(self, done: spi.Completion[None]) -> None:
        for channel in self._channels:
            channel.closing()
        self._inner.close(done)

    def unwrap(self, kind: type[T]) -> T | None:
        return self._inner.unwrap(kind)
