"""An observer whose looks are written down, for they are the last word on what is there.

The rule: it looks exactly as the observer that it stands for, and what that one cannot tell is not written. Groups of
`others` are not seen: a broker lets go of an idle one when it likes (Kafka with the last topic of its offsets), so
whether they are still there tells nothing about this run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mqbridge_conformance.history import Recorder, identify
from mqbridge_conformance.observers.seen import Counts, Letter, Names, Observer, Record

__all__ = ["RecordedObserver"]


class RecordedObserver(Observer):
    """See the module."""

    def __init__(self, observer: Observer, recorder: Recorder, others: Iterable[str] = ()) -> None:
        self._observer = observer
        self._recorder = recorder
        self._others = frozenset(others)
        self.how = observer.how
        self.takes_to_look = observer.takes_to_look

    def names(self) -> Names:
        found = self._observer.names()
        return found._replace(groups=[group for group in found.groups if group not in self._others])

    def records(self, topic: str) -> list[Record]:
        op = self._recorder.invoke("looked", dest=f"topic:{topic}")
        found = self._observer.records(topic)
        self._stored(f"topic:{topic}", op, found)
        return found

    def messages(self, queue: str) -> list[Record] | None:
        op = self._recorder.invoke("looked", dest=f"queue:{queue}")
        found = self._observer.messages(queue)
        if found is not None:
            self._stored(f"queue:{queue}", op, found)
        return found

    def _stored(self, dest: str, op: int, found: list[Record]) -> None:
        for record in found:
            self._recorder.write(
                "ok",
                "stored",
                op=op,
                dest=dest,
                part=record.partition,
                off=record.offset,
                key=identify(record.key),
                val=identify(record.value),
            )
        self._recorder.write("ok", "looked", op=op, dest=dest)

    def counts(self, queue: str) -> Counts:
        op = self._recorder.invoke("left", dest=f"queue:{queue}")
        found = self._observer.counts(queue)
        told = {name: number for name, number in found._asdict().items() if number is not None}
        self._recorder.write("ok", "left", op=op, dest=f"queue:{queue}", more=told)
        return found

    def held(self, queue: str) -> int | None:
        return self._observer.held(queue)

    def committed(self, group: str) -> dict[str, int] | None:
        op = self._recorder.invoke("committed", group=group)
        found = self._observer.committed(group)
        if found is None:
            return None
        for place, offset in found.items():
            topic, _, partition = place.rpartition("/")
            self._recorder.write(
                "ok", "committed", op=op, group=group, dest=f"topic:{topic}", part=int(partition), off=offset
            )
        self._recorder.write("ok", "committed", op=op, group=group)
        return found

    def letters(self, queue: str) -> list[Letter]:
        dest = f"queue:{queue}"
        op = self._recorder.invoke("letters", dest=dest)
        found = self._observer.letters(queue)
        for letter in found:
            self._recorder.write(
                "ok",
                "letter",
                op=op,
                dest=dest,
                val=identify(letter.value),
                attempt=letter.attempts,
                more={"reason": letter.reason},
            )
        self._recorder.write("ok", "letters", op=op, dest=dest)
        return found

    def snapshot(self) -> dict[str, Any]:
        return self._observer.snapshot()

    def close(self) -> None:
        self._observer.close()
