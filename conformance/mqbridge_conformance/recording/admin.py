"""Administration, as far as it changes what a checker may expect.

The rule: what makes, removes or moves is written down; what only looks is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import mqbridge as mq
from mqbridge_conformance.history import Recorder
from mqbridge_conformance.recording.describing import plain, specification

__all__ = ["RecordedAdmin"]

T = TypeVar("T")


class RecordedAdmin:
    """Stands for an `Admin`; what is not here is the admin's own."""

    def __init__(self, admin: mq.Admin, recorder: Recorder) -> None:
        self._admin = admin
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._admin, name)

    def _doing(self, f: str, call: Callable[[], T], **facts: Any) -> T:
        op = self._recorder.invoke(f, **facts)
        try:
            found = call()
        except BaseException as error:
            self._recorder.failed(f, op, error, **facts)
            raise
        more = {**facts.pop("more", {}), **({"count": found} if isinstance(found, int) else {})}
        self._recorder.write("ok", f, op=op, **facts, more=more)
        return found

    def ensure(self, *specs: Any) -> None:
        self._admin.ensure(*specs)
        for spec in specs:
            dest, told = specification(spec)
            if isinstance(spec, mq.Queue) and spec.dead_letter is not None:
                self._recorder.write("ok", "declare", dest=str(spec.dead_letter), more={})
            self._recorder.write("ok", "declare", dest=dest, more=told)

    def bind(self, binding: mq.Binding) -> None:
        self.ensure(binding)

    def unbind(self, binding: mq.Binding) -> None:
        dest, told = specification(binding)
        self._doing("unbind", lambda: self._admin.unbind(binding), dest=dest, more=told)

    def add_partitions(self, topic: Any, partitions: int) -> None:
        self._doing(
            "add_partitions",
            lambda: self._admin.add_partitions(topic, partitions),
            dest=str(topic),
            more={"partitions": partitions},
        )

    def delete(self, destination: Any) -> None:
        self._doing("delete", lambda: self._admin.delete(destination), dest=str(destination))

    def delete_group(self, group: str) -> None:
        self._doing("delete", lambda: self._admin.delete_group(group), group=group)

    def delete_records(self, topic: Any, before: Mapping[int, int]) -> None:
        more = {"before": plain(before)}
        self._doing("delete_records", lambda: self._admin.delete_records(topic, before), dest=str(topic), more=more)

    def purge(self, queue: Any) -> int:
        return self._doing("purge", lambda: self._admin.purge(queue), dest=str(queue))

    def redrive(self, source: Any, **options: Any) -> int:
        return self._doing("redrive", lambda: self._admin.redrive(source, **options), dest=str(source))

    def reset_offsets(self, group: str, topic: Any, to: Any, *, dry_run: bool = True) -> Any:
        if dry_run:
            return self._admin.reset_offsets(group, topic, to)
        more = {"to": plain(to)}
        return self._doing(
            "reset",
            lambda: self._admin.reset_offsets(group, topic, to, dry_run=False),
            group=group,
            dest=str(topic),
            more=more,
        )
