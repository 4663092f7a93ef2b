"""Other parties of a scenario: worker programs in processes of their own, or, in memory, on threads with a connection.

The rule: the scenario talks to both in the same way, by commands and events, and every wait has a deadline. A process
is killed by SIGKILL. A thread cannot be killed, so its connection is ended without a good-bye, which is all that a
broker in the same process could ever notice; whoever does that says so in the evidence.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol, cast

import mqbridge as mq
from mqbridge_conformance import recording
from mqbridge_conformance.history import Recorder
from mqbridge_conformance.opening import open_bus
from mqbridge_conformance.results import CannotTell, CheckFailed

__all__ = ["Ended", "Inbox", "Link", "Party", "ProcessParty", "ThreadParty", "pack", "unpack"]

END_WAIT_S = 10.0


class Ended(Exception):
    """The scenario is over, or this party was killed: the program ends."""


class _Abrupt(Protocol):
    """What a connection in memory has inside that can be ended without a good-bye."""

    def close(self, clean: bool = True) -> None: ...


def pack(message: dict[str, Any]) -> str:
    """One line of JSON; bytes as an object of their hex digits, under a name that no destination can have."""
    return json.dumps(message, default=lambda value: {"$hex": value.hex()})


def unpack(line: str) -> dict[str, Any]:
    def bytes_again(value: dict[str, Any]) -> Any:
        return bytes.fromhex(value["$hex"]) if value.keys() == {"$hex"} else value

    return cast(dict[str, Any], json.loads(line, object_hook=bytes_again))


class Inbox:
    """Messages by name, taken in the order in which they came; thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._items: list[dict[str, Any]] = []
        self.closed = False

    def put(self, item: dict[str, Any]) -> None:
        with self._condition:
            self._items.append(item)
            self._condition.notify_all()

    def close(self) -> None:
        with self._condition:
            self.closed = True
            self._condition.notify_all()

    def take(self, *names: str, timeout_s: float | None) -> dict[str, Any] | None:
        """The first message of one of these names; None when it did not come in time or will not come any more."""
        give_up_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._condition:
            while True:
                for item in self._items:
                    if item["name"] in names:
                        self._items.remove(item)
                        return item
                left_s = None if give_up_s is None else give_up_s - time.monotonic()
                if self.closed or (left_s is not None and left_s <= 0):
                    return None
                self._condition.wait(left_s)


class Link(ABC):
    """What a worker program has: its way to the scenario, and its connections."""

    def __init__(self) -> None:
        self.commands = Inbox()
        self.killed = False
        self.run = ""
        """The run that payloads say they belong to."""
        self.recorder: Recorder | None = None
        """Where this party's history goes; None for a party that is none of the run's, as an observer."""
        self._buses: list[mq.Bus] = []

    @abstractmethod
    def emit(self, name: str, **facts: Any) -> None:
        """Tell the scenario."""

    def wait(self, name: str) -> dict[str, Any]:
        """The next command of that name; `Ended` when there will be none."""
        found = self.commands.take(name, timeout_s=None)
        if found is None:
            raise Ended
        return found

    def asked(self, name: str) -> bool:
        """Has that command come? `Ended` when the party is to end."""
        if self.commands.take(name, timeout_s=0.0) is not None:
            return True
        self.check()
        return False

    def check(self) -> None:
        """`Ended` when the party is to end: what a loop that waits for something else calls."""
        if self.commands.closed:
            raise Ended

    @contextlib.contextmanager
    def connect(self, url: str) -> Iterator[mq.Bus]:
        """A connection of this party's own, closed at the end; one that was killed has nothing left to close. A party
        that is none of the run's is never sabotaged."""
        bus = mq.connect(url) if self.recorder is None else open_bus(url, recorder=self.recorder)
        self._buses.append(bus)
        try:
            yield recording.connect(bus, self.recorder)
        finally:
            try:
                bus.close()
            except mq.MqbridgeError:
                if not self.killed:
                    raise

    def kill(self) -> None:
        """End the connections without a good-bye."""
        self.killed = True
        for bus in self._buses:
            cast(_Abrupt, bus.unwrap(object)).close(clean=False)
        self.commands.close()


class Party(ABC):
    """A worker program, as the scenario sees it."""

    kind: str = ""
    killed_by: str = ""

    def __init__(self, program: str, proc: str = "") -> None:
        self.program = program
        self.proc = proc or program
        """Its name in the history."""
        self.events = Inbox()

    def expect(self, name: str, timeout_s: float) -> dict[str, Any]:
        """The next event of that name; `CheckFailed` with what the program failed with, or that it did not come."""
        event = self.events.take(name, "failed", timeout_s=timeout_s)
        if event is None:
            if self.events.closed:
                raise CannotTell(f"the {self.kind} {self.program!r} ended without a word: {self.last_words()}")
            raise CheckFailed(f"the {self.kind} {self.program!r} did not say {name!r} within {timeout_s:g} s")
        if event["name"] == "failed":
            raise CheckFailed(f"the {self.kind} {self.program!r} failed: {event['error']}")
        return event

    @abstractmethod
    def command(self, name: str, **facts: Any) -> None:
        """Tell the program."""

    @abstractmethod
    def kill(self) -> None:
        """End it as a crash would; returns when it has ended."""

    @abstractmethod
    def stop(self, timeout_s: float) -> None:
        """Have it end by itself, closing what it has; harmless when it has ended."""

    def last_words(self) -> str:
        return "nothing was written to its standard error"


class ThreadParty(Party):
    """A program on a thread, with connections of its own."""

    kind = "thread"
    killed_by = "its connection was ended without a good-bye: a thread of a process cannot be killed alone"

    def __init__(self, program: str, args: dict[str, Any]) -> None:
        super().__init__(program, args.get("proc", ""))
        self._link = _ThreadLink(self.events)
        self._thread = threading.Thread(target=self._run, args=(args,), name=f"conformance-{program}", daemon=True)
        self._thread.start()

    def _run(self, args: dict[str, Any]) -> None:
        from mqbridge_conformance.workers import perform

        try:
            perform(self._link, self.program, args)
        finally:
            self.events.close()

    def command(self, name: str, **facts: Any) -> None:
        self._link.commands.put(unpack(pack({"name": name, **facts})))

    def kill(self) -> None:
        self._link.kill()
        self._join(END_WAIT_S)

    def stop(self, timeout_s: float) -> None:
        self._link.commands.close()
        self._join(timeout_s)

    def _join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise CannotTell(f"the thread {self.program!r} did not end within {timeout_s:g} s")


class _ThreadLink(Link):
    def __init__(self, events: Inbox) -> None:
        super().__init__()
        self._events = events

    def emit(self, name: str, **facts: Any) -> None:
        # Through the same packing as between processes, so that a program cannot come to rely on the difference.
        self._events.put(unpack(pack({"name": name, **facts})))


class ProcessParty(Party):
    """A program in a process of its own; commands by standard input, events by standard output."""

    kind = "process"
    killed_by = "SIGKILL"

    def __init__(self, program: str, args: dict[str, Any]) -> None:
        super().__init__(program, args.get("proc", ""))
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # closed in _finish: it lives as long as the process
        command = [sys.executable, "-m", "mqbridge_conformance.workers", program, pack(args)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                encoding="utf-8",
                env={**os.environ, "PYTHONPATH": _python_path()},
            )
        except OSError as error:
            self._errors.close()
            raise CannotTell(f"a process for {program!r} could not be started: {error}") from error
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, name=f"conformance-{program}-events", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.events.put(unpack(line))
        self.events.close()

    def command(self, name: str, **facts: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(pack({"name": name, **facts}) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise CannotTell(
                f"the process {self.program!r} does not listen any more ({error}): {self.last_words()}"
            ) from error

    def kill(self) -> None:
        self._process.kill()
        self._finish(END_WAIT_S)

    def stop(self, timeout_s: float) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended already, and with it whoever would have read this
            self._process.stdin.close()
        try:
            self._finish(timeout_s)
        except CannotTell:
            self._process.kill()
            self._finish(END_WAIT_S)
            raise

    def _finish(self, timeout_s: float) -> None:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise CannotTell(f"the process {self.program!r} did not end within {timeout_s:g} s") from None
        self._reader.join(END_WAIT_S)
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # a command that nobody will read any more is still in its buffer
                if stream is not None:
                    stream.close()
        self._errors.close()

    def last_words(self) -> str:
        if self._errors.closed:
            return super().last_words()
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()[-1000:] or super().last_words()


def _python_path() -> str:
    """Where this library and this suite are, for a process that may start anywhere."""
    here = Path(__file__).resolve().parent.parent
    library = Path(mq.__file__).resolve().parent.parent
    return os.pathsep.join(dict.fromkeys([str(library), str(here), *filter(None, [os.environ.get("PYTHONPATH")])]))
