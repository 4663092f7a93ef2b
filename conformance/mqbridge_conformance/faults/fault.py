"""A fault in force, and what the history is told of it.

The rule: a fault is told before it is tried and when it is there, and its end likewise, so that what happened meanwhile
can be found by the times alone. What could not be brought about is told as failed and never passes for a fault. What
does not belong here: how any fault is brought about, and whether it had an effect (`effects`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from mqbridge_conformance.history import Recorder

__all__ = ["Fault", "inject"]


class Fault:
    """What is out of order until `heal`, which happens once however often it is asked for; also a context manager.

    `what` is the kind of fault, `at` a process of the history, ``broker`` or ``link``.
    """

    def __init__(self, recorder: Recorder, what: str, at: str, undo: Callable[[], Mapping[str, Any] | None]) -> None:
        self.what = what
        self.at = at
        self._recorder = recorder
        self._undo = undo
        self._lock = threading.Lock()
        self._healed = False

    @property
    def healed(self) -> bool:
        return self._healed

    def heal(self) -> None:
        """End it, and tell so with what the injector itself saw of it."""
        with self._lock:
            if self._healed:
                return
            told = {"what": self.what, "at": self.at}
            op = self._recorder.invoke("heal", more=told)
            try:
                seen = self._undo() or {}
            except BaseException as error:
                self._recorder.failed("heal", op, error, more=told)
                raise
            self._healed = True
            self._recorder.write("ok", "heal", op=op, more={**told, **seen})

    def __enter__(self) -> Fault:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()


def nothing() -> None:
    """The undoing of what cannot be undone: a killed process stays dead."""


def inject(
    recorder: Recorder,
    what: str,
    at: str,
    do: Callable[[], object],
    undo: Callable[[], Mapping[str, Any] | None] = nothing,
    **more: Any,
) -> Fault:
    """Bring a fault about by `do`; it is in force when this returns, and over when `undo` has returned.

    `undo` may return facts for the history. Errors of `do` are raised, and told as a fault that never was.
    """
    told = {"what": what, "at": at, **more}
    op = recorder.invoke("fault", more=told)
    try:
        do()
    except BaseException as error:
        recorder.failed("fault", op, error, more=told)
        raise
    recorder.write("ok", "fault", op=op, more=told)
    return Fault(recorder, what, at, undo)
