"""Writing a history down: one file a process, one line an event, on the disk's side of this process before anything
goes on.

The rule: a line is one write to a file opened for appending, so that a process that is killed leaves whole lines, and
all of those that came before what it was killed in. Thread-safe.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from mqbridge import MqbridgeError
from mqbridge_conformance.history.events import OUTCOMES, Error, Event, Kind, pack_event

__all__ = ["Recorder", "error_of"]


def error_of(error: BaseException) -> Error:
    """An error as an event tells it; one that is not the library's says nothing of its outcome, so: maybe."""
    if isinstance(error, MqbridgeError):
        return Error(error.code, OUTCOMES[error.outcome], str(error)[:300])
    return Error(type(error).__name__, "maybe_applied", str(error)[:300])


class Recorder:
    """The history of one process: ``FOLDER/PROC.jsonl``."""

    def __init__(self, folder: Path, proc: str) -> None:
        self.folder = folder
        self.proc = proc
        self._lock = threading.Lock()
        self._seq = 0
        self._clients: dict[str, int] = {}
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file: int | None = os.open(folder / f"{proc}.jsonl", flags, 0o644)

    def client(self, role: str) -> str:
        """A name for one more producer or consumer of this process."""
        with self._lock:
            number = self._clients[role] = self._clients.get(role, 0) + 1
        return f"{role}-{number}"

    def write(self, kind: Kind, f: str, **fields: Any) -> int:
        """Write one event; its number, which the events that belong to it name as `op`. Fields are those of `Event`."""
        with self._lock:
            self._seq += 1
            event = Event(self._seq, time.monotonic_ns(), self.proc, kind, f, **fields)
            if self._file is not None:
                os.write(self._file, pack_event(event).encode() + b"\n")
            return self._seq

    def invoke(self, f: str, **fields: Any) -> int:
        """An operation begins."""
        return self.write("invoke", f, **fields)

    def failed(self, f: str, op: int, error: BaseException, **fields: Any) -> None:
        """It ended with an error: `fail` if nothing was applied, else `info`."""
        told = error_of(error)
        self.write("fail" if told.outcome == "not_applied" else "info", f, op=op, err=told, **fields)

    def close(self) -> None:
        """What is written afterwards, by threads that end late, is dropped."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
