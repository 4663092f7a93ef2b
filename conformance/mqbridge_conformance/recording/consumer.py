"""Consumers and replays whose polls, deliveries, commits and assignments are written down.

The rule: what the application is shown is written as it is shown, and in its order. An assignment is read from the
consumer after each call that may have changed it, so it is told a little late and never early; its callbacks run on
another thread and would tell it at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import mqbridge as mq
from mqbridge_conformance.history import Recorder, identify
from mqbridge_conformance.recording.delivery import RecordedDelivery
from mqbridge_conformance.recording.describing import place_of, plain

__all__ = ["RecordedConsumer", "RecordedReplay"]

T = TypeVar("T")


class _Recorded:
    """What consumers and replays have in common."""

    def __init__(self, inner: Any, recorder: Recorder, role: str, facts: dict[str, Any], options: Any) -> None:
        self._inner = inner
        self._recorder = recorder
        self.ended = False
        self._who: dict[str, Any] = {"client": recorder.client(role), **facts}
        recorder.write("ok", "open", **self._who, more={"role": role, **plain(options)})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def poll(self, max_messages: int = 500, timeout: float = 1.0) -> list[Any]:
        op = self._recorder.invoke("poll", **self._who)
        try:
            got = self._inner.poll(max_messages, timeout)
        except BaseException as error:
            self._recorder.failed("poll", op, error, **self._who)
            self._changed()
            raise
        self._changed()
        shown = [self._deliver(delivery, op) for delivery in got]
        self._recorder.write("ok", "poll", op=op, **self._who, more={"count": len(got)})
        return shown

    def _deliver(self, delivery: Any, op: int | None = None, *, handler: bool = False) -> Any:
        facts = {
            **self._who,
            **place_of(delivery),
            "key": identify(delivery.key),
            "attempt": delivery.attempt,
            "redelivered": delivery.redelivered,
        }
        death = delivery.death
        more: dict[str, Any] = {} if death is None else {"death": death.reason, "origin": death.origin}
        if handler:
            more["handler"] = True
        self._recorder.write("ok", "deliver", op=op, **facts, more=more)
        return RecordedDelivery(delivery, self._recorder, self._who)

    def _changed(self) -> None:
        """Tell what has changed since the last call."""

    def _doing(self, f: str, call: Callable[[], T], **facts: Any) -> T:
        told = {**self._who, **facts}
        op = self._recorder.invoke(f, **told)
        try:
            found = call()
        except BaseException as error:
            late = getattr(error, "partitions", None) or getattr(error, "tokens", None)
            self._recorder.failed(f, op, error, **(told | ({"more": {"late": plain(late)}} if late else {})))
            self._changed()
            raise
        self._recorder.write("ok", f, op=op, **told)
        self._changed()
        return found

    def close(self, timeout: float = 30.0) -> None:
        self.ended = True
        self._doing("close", lambda: self._inner.close(timeout))

    def ending(self) -> Callable[[BaseException | None], None]:
        """Its bus begins to close it; what is given back is called with how that ended."""
        self.ended = True
        op = self._recorder.invoke("close", **self._who)

        def end(error: BaseException | None) -> None:
            if error is None:
                self._recorder.write("ok", "close", op=op, **self._who)
            else:
                self._recorder.failed("close", op, error, **self._who)
            self._changed()

        return end

    def __enter__(self) -> Any:
        self._inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended = True
        self._doing("close", lambda: self._inner.__exit__(kind, error, trace))


class RecordedConsumer(_Recorded):
    """Stands for a `TopicConsumer` or a `QueueConsumer`; what is not here is the consumer's own."""

    def __init__(self, inner: Any, recorder: Recorder, facts: dict[str, Any], options: Any) -> None:
        of_topic = isinstance(inner, mq.TopicConsumer)
        role = "topic-consumer" if of_topic else "queue-consumer"
        super().__init__(inner, recorder, role, facts, options)
        self._of_topic = of_topic
        self._owned: dict[tuple[str, int], int] = {}

    def stream(self, idle_timeout_s: float | None = None) -> Iterator[Any]:
        for delivery in self._inner.stream(idle_timeout_s):
            self._changed()
            yield self._deliver(delivery)

    def __iter__(self) -> Iterator[Any]:
        return self.stream()

    def run(self, handler: Callable[[Any], Any], **options: Any) -> Any:
        def recorded(delivery: mq.Delivery[Any]) -> Any:
            shown = self._deliver(delivery, handler=True)
            given = handler(shown)
            if not delivery.settled:
                # run() acks it next, and does not say whether that came in time: an operation without an end.
                self._recorder.invoke("ack", **{**self._who, **place_of(delivery)})
            return given

        stats = self._inner.run(recorded, **options)
        self._changed()
        return stats

    def commit(self, timeout: float = 30.0) -> None:
        self._doing("commit", lambda: self._inner.commit(timeout))

    def seek(self, topic: Any, partition: int, offset: int) -> None:
        where = {"dest": str(topic), "part": partition, "off": offset}
        self._doing("seek", lambda: self._inner.seek(topic, partition, offset), **where)

    def pause(self, partitions: Any = None) -> None:
        self._doing("pause", lambda: self._inner.pause(partitions), more={"places": plain(partitions)})

    def resume(self, partitions: Any = None) -> None:
        self._doing("resume", lambda: self._inner.resume(partitions), more={"places": plain(partitions)})

    def wait_assigned(self, timeout: float = 30.0) -> Any:
        try:
            return self._inner.wait_assigned(timeout)
        finally:
            self._changed()

    def _changed(self) -> None:
        if not self._of_topic:
            return
        now = {place: ledger.lease for place, ledger in list(self._inner._ledgers.items())}
        for place, lease in self._owned.items():
            if now.get(place) != lease:
                self._tell("revoked", place, lease)
        for place, lease in now.items():
            if self._owned.get(place) != lease:
                self._tell("assigned", place, lease)
        self._owned = now

    def _tell(self, f: str, place: tuple[str, int], lease: int) -> None:
        self._recorder.write("ok", f, **{**self._who, "dest": f"topic:{place[0]}", "part": place[1], "lease": lease})


class RecordedReplay(_Recorded):
    """Stands for a `Replay`."""

    def __init__(self, inner: Any, recorder: Recorder, facts: dict[str, Any], options: Any) -> None:
        super().__init__(inner, recorder, "replay", facts, options)
        self._is_read_out = False

    def poll(self, max_messages: int = 500, timeout: float = 1.0) -> list[Any]:
        got = super().poll(max_messages, timeout)
        if self._inner.done and len(got) < max_messages:
            self._read_out()
        return got

    def __iter__(self) -> Iterator[Any]:
        for delivery in self._inner:
            yield self._deliver(delivery)
        self._read_out()

    def _read_out(self) -> None:
        """Told once: it has given all that it will give."""
        if not self._is_read_out:
            self._is_read_out = True
            self._recorder.write("ok", "read_out", **self._who)
