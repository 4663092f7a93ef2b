"""Saboteurs of specifications: what a queue, an exchange or a subscription was asked to be and is not.

The rule: each leaves one thing out of what is asked of the engine, and answers as if it had been asked for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Final

import mqbridge as mq
from mqbridge import spi
from mqbridge_conformance.saboteurs.passing import PassingAdmin, PassingTopicSubscription

__all__ = [
    "ForgetsAlternates",
    "ForgetsExpiry",
    "ForgetsLength",
    "ForgetsOverflow",
    "ForgetsRetention",
    "ForgetsSingleActive",
    "HoldsSilentMembers",
    "MergesGroups",
    "ReadsOneTopic",
    "WaitsForEver",
]

DAY_S: Final = 86_400.0
LONG_SESSION_S: Final = 300.0
"""Longer than any scenario waits, and no longer than brokers allow."""


class _Forgets(PassingAdmin):
    """What is specified of `unless` is as in there, and so it is not kept. Only what asks for something else is an
    opportunity."""

    unless: ClassVar[dict[str, Any]]

    def create_topic(self, topic: mq.Topic[Any], done: spi.Completion[mq.Topic[Any]]) -> None:
        self.inner.create_topic(*self._forgotten(topic, done))

    def create_queue(self, queue: mq.Queue[Any], done: spi.Completion[mq.Queue[Any]]) -> None:
        self.inner.create_queue(*self._forgotten(queue, done))

    def create_exchange(self, exchange: mq.Exchange, done: spi.Completion[mq.Exchange]) -> None:
        self.inner.create_exchange(*self._forgotten(exchange, done))

    def _forgotten(self, wanted: Any, done: spi.Completion[Any]) -> tuple[Any, spi.Completion[Any]]:
        asked = {name: getattr(wanted, name) for name in (*wanted.fields, "physical_name")}
        forgotten = {name: value for name, value in self.unless.items() if asked.get(name, value) != value}
        if not forgotten or not self.strikes.here(wanted, **{name: str(asked[name]) for name in forgotten}):
            return wanted, done

        def made(found: Any, error: mq.MqbridgeError | None) -> None:
            done(None if found is None else wanted, error)

        return type(wanted)(wanted.name, **{**asked, **forgotten}), made


class ForgetsLength(_Forgets):
    """S59: a queue that is to be bounded is not."""

    unless: ClassVar = {"max_length": None, "max_bytes": None}


class ForgetsOverflow(_Forgets):
    """S60: a full queue that is to drop its oldest refuses what is sent."""

    unless: ClassVar = {"overflow": "reject"}


class ForgetsExpiry(_Forgets):
    """S61: a queue that nobody uses stays."""

    unless: ClassVar = {"expires_s": None}


class ForgetsSingleActive(_Forgets):
    """S62: of the consumers of a queue that is to serve one all are served."""

    unless: ClassVar = {"single_active": False}


class ForgetsAlternates(_Forgets):
    """S63: what no binding takes goes nowhere."""

    unless: ClassVar = {"alternate": None}


class ForgetsRetention(_Forgets):
    """S64: of a topic that is to be bounded everything stays."""

    unless: ClassVar = {"retention": None}


class MergesGroups(PassingTopicSubscription):
    """S65: all groups of a topic are one."""

    def specified(self, spec: spi.TopicSubscriptionSpec) -> spi.TopicSubscriptionSpec:
        if self.strikes.here(f"group {spec.group}"):
            return replace(spec, group=f"{spec.topics[0].name}-readers")
        return spec


class ReadsOneTopic(PassingTopicSubscription):
    """S73: of several topics a member reads the first one."""

    def specified(self, spec: spi.TopicSubscriptionSpec) -> spi.TopicSubscriptionSpec:
        if len(spec.topics) > 1 and self.strikes.here(f"group {spec.group}"):
            return replace(spec, topics=spec.topics[:1])
        return spec


class WaitsForEver(PassingTopicSubscription):
    """S66: a member that does not poll keeps its partitions."""

    def specified(self, spec: spi.TopicSubscriptionSpec) -> spi.TopicSubscriptionSpec:
        if spec.max_poll_interval_s < DAY_S and self.strikes.here(f"group {spec.group}"):
            return replace(spec, max_poll_interval_s=DAY_S)
        return spec


class HoldsSilentMembers(PassingTopicSubscription):
    """S76: a member of which nothing is heard any more is taken for alive."""

    def specified(self, spec: spi.TopicSubscriptionSpec) -> spi.TopicSubscriptionSpec:
        if spec.session_timeout_s < LONG_SESSION_S and self.strikes.here(f"group {spec.group}"):
            return replace(spec, session_timeout_s=LONG_SESSION_S)
        return spec
