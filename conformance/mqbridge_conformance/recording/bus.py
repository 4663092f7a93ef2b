"""A connection whose producers, consumers, replays and administration are written down.

The rule: the real API runs underneath, unchanged, and what a program does is the same with and without a recorder.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, cast

import mqbridge as mq
from mqbridge_conformance.history import Recorder
from mqbridge_conformance.recording.admin import RecordedAdmin
from mqbridge_conformance.recording.consumer import RecordedConsumer, RecordedReplay
from mqbridge_conformance.recording.producer import RecordedProducer

__all__ = ["connect"]

_DEFAULTS: Final = {
    kind: {
        name: parameter.default
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    for kind, method in (
        ("producer", mq.Bus.producer),
        ("queue", mq.Bus._queue_consumer),
        ("topic", mq.Bus._topic_consumer),
    )
}
"""What an option is that nobody gave: a history says what a client was, not what its maker wrote."""


def connect(bus: mq.Bus, recorder: Recorder | None) -> mq.Bus:
    """The bus, recorded; itself where there is no recorder."""
    return bus if recorder is None else cast(mq.Bus, _RecordedBus(bus, recorder))


class _RecordedBus:
    """Stands for a `Bus`; what is not here is the bus's own."""

    def __init__(self, bus: mq.Bus, recorder: Recorder) -> None:
        self._bus = bus
        self._recorder = recorder
        self._clients: list[RecordedConsumer | RecordedProducer] = []
        self.admin = RecordedAdmin(bus.admin, recorder)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    def producer(self, **options: Any) -> RecordedProducer:
        told = {**_DEFAULTS["producer"], **options}
        self._clients.append(RecordedProducer(self._bus.producer(**options), self._recorder, told))
        return cast(RecordedProducer, self._clients[-1])

    def consumer(self, source: Any, **options: Any) -> RecordedConsumer:
        sources = list(source) if isinstance(source, list | tuple) else [source]
        facts = {"dest": str(sources[0]), "group": options.get("group")}
        kind = "queue" if isinstance(source, mq.Queue) else "topic"
        told = {**_DEFAULTS[kind], **options, "sources": sources, "asked_t": time.monotonic_ns()}
        self._clients.append(RecordedConsumer(self._bus.consumer(source, **options), self._recorder, facts, told))
        return cast(RecordedConsumer, self._clients[-1])

    def replay(self, topic: Any, start: Any, end: Any = mq.NOW) -> RecordedReplay:
        options = {"start": start, "end": end, "asked_t": time.monotonic_ns()}
        return RecordedReplay(self._bus.replay(topic, start, end), self._recorder, {"dest": str(topic)}, options)

    def __enter__(self) -> _RecordedBus:
        self._bus.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending(lambda: self._bus.__exit__(kind, error, trace))

    def close(self, timeout: float = 30.0) -> None:
        self._ending(lambda: self._bus.close(timeout))

    def _ending(self, call: Callable[[], None]) -> None:
        """Clients that are still open end with their bus, and are told as if each had been closed."""
        ends = [client.ending() for client in self._clients if not client.ended]
        try:
            call()
        except BaseException as error:
            for end in ends:
                end(error)
            raise
        for end in ends:
            end(None)

    def __repr__(self) -> str:
        return repr(self._bus)
