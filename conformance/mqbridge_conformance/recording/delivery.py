"""A delivery whose verbs are written down.

The rule: it is the delivery in everything but the four verbs, which it records around the real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mqbridge as mq
from mqbridge_conformance.history import Recorder
from mqbridge_conformance.recording.describing import place_of

__all__ = ["RecordedDelivery"]


class RecordedDelivery:
    """Stands for a `Delivery`; `who` says whose it is: client, and group where there is one."""

    __slots__ = ("_delivery", "_recorder", "_who")

    def __init__(self, delivery: mq.Delivery[Any], recorder: Recorder, who: dict[str, Any]) -> None:
        self._delivery = delivery
        self._recorder = recorder
        self._who = who

    def __getattr__(self, name: str) -> Any:
        return getattr(self._delivery, name)

    def ack(self) -> None:
        self.settle("ack", self._delivery.ack)

    def release(self, delay_s: float = 0.0) -> None:
        self.settle("release", lambda: self._delivery.release(delay_s), delay_s=delay_s)

    def retry(self, delay_s: float = 0.0, error: BaseException | str | None = None) -> None:
        self.settle("retry", lambda: self._delivery.retry(delay_s, error), delay_s=delay_s)

    def reject(self, reason: str = "rejected by the application") -> None:
        self.settle("reject", lambda: self._delivery.reject(reason), reason=reason)

    def settle(self, verb: str, call: Callable[[], None], **more: Any) -> None:
        """One verb: invoke, and whether it was taken."""
        facts = {**self._who, **place_of(self._delivery)}
        op = self._recorder.invoke(verb, **facts, more=more)
        try:
            call()
        except BaseException as error:
            self._recorder.failed(verb, op, error, **facts)
            raise
        self._recorder.write("ok", verb, op=op, **facts, more=more)

    def __str__(self) -> str:
        return str(self._delivery)

    def __repr__(self) -> str:
        return repr(self._delivery)
