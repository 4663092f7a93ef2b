"""Another process with a session, led by lines of JSON: `python -m tests.native.runtime.peer FOLDER OPTIONS`.

Commands: ["call", id, op, args, values], ["close"], ["sync"], ["fork"]. What happens comes out as lines:
["open", role, epoch], ["refused", code, text], ["state", state, epoch, role], ["note", note], ["done", id,
reply, error code, outcome], ["synced"], ["forked", pid], ["closed"].
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

from mqbridge.errors import MqbridgeError
from mqbridge.native.runtime.clock import RealClock
from mqbridge.native.runtime.rooms import Settings
from mqbridge.native.runtime.session import Folder, Session, SessionOptions
from mqbridge.native.storage.batches import RecordBatch
from tests.native.runtime.fakes import DEADLINE_S, batch

ROOT = Path(__file__).resolve().parents[3]


class Peer:
    """The test's end: starts the process and waits for what it says."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.native.runtime.peer", str(folder), json.dumps(options)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said: list[list[Any]] = []
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, *command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def call(self, number: int, op: str, args: dict[str, Any], *values: str) -> None:
        self.tell("call", number, op, args, values)

    def wait_for(self, *start: Any) -> list[Any]:
        """The first line that begins so; fails at the deadline, or when the process has ended without it."""

        def find() -> list[Any] | None:
            return next((line for line in self.said if tuple(line[: len(start)]) == start), None)

        with self._news:
            self._news.wait_for(lambda: find() or self._ended, DEADLINE_S)
            found = find()
        assert found is not None, f"waiting for {start}, it said {self.said}"
        return found

    def all(self, *start: Any) -> list[list[Any]]:
        with self._news:
            return [line for line in self.said if tuple(line[: len(start)]) == start]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        """SIGSTOP, and wait until each of its threads stands: the signal alone is only asked for."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def end(self) -> None:
        """Kill it, if it is there, and let go of it."""
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.said.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


_out = threading.Lock()


def say(*line: Any) -> None:
    with _out:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def say_done(
    number: int, reply: dict[str, Any] | None, batches: list[RecordBatch], error: MqbridgeError | None
) -> None:
    say("done", number, reply, error and error.code, error and error.outcome)


def fork() -> None:
    """A child that does nothing, as a careless program makes one."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    say("forked", pid)


def main(folder: str, options: str) -> None:
    sessions: list[Session] = []
    given = json.loads(options)
    given["settings"] = Settings(**given.get("settings", {}))

    def on_state(state: str, epoch: int) -> None:
        say("state", state, epoch, sessions[0].role if sessions else None)

    try:
        sessions.append(
            Session.open(
                Folder(Path(folder)),
                RealClock(),
                partial(say, "note"),
                on_state,
                SessionOptions(**given),
            )
        )
    except MqbridgeError as error:
        say("refused", error.code, str(error))
        return
    session = sessions[0]
    say("open", session.role, session.session_epoch)
    for line in sys.stdin:
        name, *rest = json.loads(line)
        if name == "call":
            number, op, args, values = rest
            batches = [batch(*(value.encode() for value in values))] if values else []
            session.call(op, args, batches, partial(say_done, number))
        elif name == "sync":
            say("synced")
        elif name == "fork":
            fork()
        elif name == "close":
            break
    session.close()
    say("closed")


if __name__ == "__main__":
    main(*sys.argv[1:])
