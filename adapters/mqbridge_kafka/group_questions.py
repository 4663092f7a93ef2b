"""Asking the process that asks about groups.

The rule of this room: whatever happens to that process, ours goes on. It is started when first needed and kept; one
question at a time. When it ends under a question, that is a lost connection: nothing was applied by looking, and what
became of a change is not known. The next question starts another one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from mqbridge.errors import Closed, ConnectionLost, Outcome
from mqbridge.spi import Completion
from mqbridge_kafka.errors import ENGINE, applied

# -P: what lies in the current directory is not imported (Python 3.11).
COMMAND: Final = (sys.executable, "-P", "-m", "mqbridge_kafka.group_process")
ANSWER_S: Final = 20.0
"""A process that gives no answer for so long has hung, and is ended; its own questions wait for a few seconds."""


class GroupQuestions:
    """Asks; a part of its connection. `config` is the client's, and holds passwords."""

    def __init__(self, config: Mapping[str, Any], command: Sequence[str] = COMMAND) -> None:
        self._config = {name: value for name, value in config.items() if isinstance(value, str | int | float)}
        self._command = tuple(command)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._ended = False

    def ask(self, what: str, *arguments: str, changes: bool = False) -> Any:
        """The answer; raises the client's error, or ConnectionLost when the process ended. Waits; any thread."""
        with self._lock:
            if self._ended:
                raise Closed("the connection is closed. Nothing was applied.", engine=ENGINE)
            try:
                process = self._running()
            except OSError as error:
                raise _lost(f"the process that asks about groups cannot be started: {error}", "not_applied") from error
            line = self._exchange(process, json.dumps([what, *arguments]))
            if not line:
                code = self._stop(process)
                raise _lost(
                    f"the process that asks about groups ended with {code}", "unknown" if changes else "not_applied"
                )
        answer = json.loads(line)
        if "error" in answer:
            code, text = answer["error"]
            raise KafkaException(KafkaError(code, text))
        return answer["answer"]

    def _running(self) -> subprocess.Popen[str]:
        if self._process is not None:
            if self._process.poll() is None:
                return self._process
            self._stop(self._process)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="ascii",  # as JSON is written here
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        )
        self._tell(self._process, json.dumps(self._config))  # one that ended already shows with the question
        return self._process

    def _exchange(self, process: subprocess.Popen[str], question: str) -> str:
        """The line that comes back; empty when the process ended."""
        assert process.stdout is not None, "opened as a pipe"
        if not self._tell(process, question):
            return ""
        watchdog = threading.Timer(ANSWER_S, process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            return process.stdout.readline()
        finally:
            watchdog.cancel()

    def _tell(self, process: subprocess.Popen[str], line: str) -> bool:
        assert process.stdin is not None, "opened as a pipe"
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        except OSError:
            return False
        return True

    def _stop(self, process: subprocess.Popen[str]) -> int:
        self._process = None
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was not written goes with it
                    continue
        return code

    def close(self, done: Completion[None]) -> None:
        """End the process; who waits for it hears that it ended."""
        self._ended = True
        process = self._process
        if process is not None:
            process.kill()
        with self._lock:
            if self._process is not None:
                self._stop(self._process)
        done(None, None)

    def abandon(self) -> None:
        """After a fork: it is the parent's child, and the lock may be held by a thread that is not here."""
        self._ended = True
        self._process = None
        self._lock = threading.Lock()


def _lost(why: str, outcome: Outcome) -> ConnectionLost:
    return ConnectionLost(f"{why}. {applied(outcome)}", outcome=outcome, engine=ENGINE)
