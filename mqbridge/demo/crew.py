"""The worker processes, seen from the demo: started, listened to, killed, ended.

The rule of this room: every process that was started is ended here, and every wait has a condition and a deadline. A
worker that ends when nobody asked it to is an error, told with the last lines that it wrote.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import mqbridge as mq
from mqbridge.demo.orders import Service

__all__ = ["Crew", "Member", "News"]

GRACE_S = 30.0
LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class News:
    """One line of a worker, and when it came (monotonic seconds)."""

    at_s: float
    worker: str
    say: str
    facts: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Member:
    """One worker process. `partitions` is what it last said it owns; None before it said anything."""

    name: str
    service: Service
    process: subprocess.Popen[str]
    errors: Path
    partitions: frozenset[int] | None = None
    killed_s: float | None = None
    ending: bool = False
    done: bool = False
    threads: list[threading.Thread] = field(default_factory=list)


class Crew:
    """All workers of a run. A context manager: leaving it ends them, whatever happened."""

    def __init__(self, folder: Path, url: str, arguments: tuple[str, ...]) -> None:
        self._folder = folder
        self._arguments = arguments
        self.members: list[Member] = []
        self.news: list[News] = []
        self._changed = threading.Condition()
        # Processes are started on a thread of their own: what a signal raises comes in the main thread, maybe between a
        # fork and the line that takes note of the process, which would then be nobody's.
        self._starter = ThreadPoolExecutor(1, "demo-starter")
        tree = str(Path(mq.__file__).resolve().parent.parent)
        path = os.pathsep.join(part for part in (tree, os.environ.get("PYTHONPATH", "")) if part)
        # The same tree for the workers, and no module from the working directory in front of the standard library's.
        self._environment = os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "MQBRIDGE_URL": url}

    def start(self, service: Service, name: str, *arguments: str) -> Member:
        """Start a worker process; it is ended with the crew."""
        return self._starter.submit(self._start, service, name, arguments).result()

    def _start(self, service: Service, name: str, arguments: tuple[str, ...]) -> Member:
        errors = self._folder / f"{name}.log"
        command = [
            sys.executable,
            "-m",
            "mqbridge.demo.worker",
            "--folder",
            str(self._folder),
            "--service",
            service.name,
        ]
        command += ["--name", name, *self._arguments, *arguments]
        with errors.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                encoding="utf-8",
                process_group=0,  # Ctrl-C is for the demo, which then ends its workers in order
            )
        member = Member(name, service, process, errors)
        self.members.append(member)
        assert process.stdout is not None
        thread = threading.Thread(target=self._listen, args=(member, process.stdout), name=f"demo-{name}", daemon=True)
        member.threads.append(thread)
        thread.start()
        return member

    def _listen(self, member: Member, lines: IO[str]) -> None:
        for line in lines:
            now_s = time.monotonic()
            try:
                facts = json.loads(line)
                say = str(facts.pop("say"))
            except (ValueError, KeyError, AttributeError):
                continue  # the last line of a killed process may be torn
            with self._changed:
                self._note(member, News(now_s, member.name, say, facts))
                self._changed.notify_all()
        member.process.wait()
        with self._changed:
            self._changed.notify_all()

    def _note(self, member: Member, news: News) -> None:
        owned = member.partitions or frozenset()
        if news.say == "assigned":
            member.partitions = owned | frozenset(news.facts["partitions"])
        elif news.say == "revoked":
            member.partitions = owned - frozenset(news.facts["partitions"])
        elif news.say == "done":
            member.done = True
        self.news.append(news)

    def wait(
        self, what: str, arrived: Callable[[], bool], timeout_s: float, standing: Callable[[], str] | None = None
    ) -> None:
        """Until `arrived()`; looks at each piece of news, and every `LOOK_S`. `OperationTimeout` says `what` did not
        happen and how it was `standing` then."""
        deadline_s = time.monotonic() + timeout_s
        while not arrived():
            self._check_alive()
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                facts = f" ({standing()})" if standing is not None else ""
                raise mq.OperationTimeout(
                    f"{what} within {timeout_s:g} s{facts}. The run was ended; try again with less load on the "
                    f"machine, or with --keep to look at what there is.{self._written()}"
                )
            with self._changed:
                self._changed.wait(min(left_s, LOOK_S))

    def heard_all(self, say: str) -> list[News]:
        """All news that says this, in the order in which it came."""
        with self._changed:
            return [news for news in self.news if news.say == say]

    def heard(self, say: str, **facts: Any) -> News | None:
        """The first piece of news that says this, with these facts."""
        return next((news for news in self.heard_all(say) if facts.items() <= news.facts.items()), None)

    def member(self, name: str) -> Member:
        return next(member for member in self.members if member.name == name)

    def of(self, service: Service) -> list[Member]:
        return [member for member in self.members if member.service is service]

    def kill(self, member: Member, timeout_s: float = 5.0) -> float:
        """SIGKILL, as the kernel's out-of-memory killer would; returns, when the process is gone, at what time it
        was sent."""
        member.killed_s = time.monotonic()
        member.process.kill()
        member.process.wait(timeout_s)
        return member.killed_s

    def _check_alive(self) -> None:
        for member in self.members:
            status = member.process.poll()
            if status is not None and member.killed_s is None and not member.ending:
                raise mq.ConnectionLost(
                    f"worker {member.name} ended by itself ({_how(status)}). The run was ended. It wrote: "
                    f"{_tail(member.errors)}"
                )

    def _written(self) -> str:
        """What workers wrote on standard error, if anything: a handler that always fails explains itself there."""
        tails = {member.name: _tail(member.errors, 300) for member in self.members if member.errors.stat().st_size}
        return "".join(f" {name} wrote: {tail}." for name, tail in tails.items())

    def finish(self) -> None:
        """Let all that live drain, commit and leave; returns when they have. OperationTimeout names who did not."""
        living = [member for member in self.members if member.killed_s is None]
        for member in living:
            member.ending = True
            _close(member)
        deadline_s = time.monotonic() + GRACE_S
        for member in living:
            try:
                status = member.process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise mq.OperationTimeout(
                    f"worker {member.name} did not end within {GRACE_S:g} s of being asked to"
                ) from None
            if status != 0:
                raise mq.ConnectionLost(
                    f"worker {member.name} failed at its end ({_how(status)}). It wrote: {_tail(member.errors)}"
                )
        for member in living:
            for thread in member.threads:
                thread.join(GRACE_S)

    def __enter__(self) -> Crew:
        self._starter.submit(lambda: None).result()  # its thread is there before there is anything to lose
        return self

    def __exit__(self, *_: object) -> None:
        self._starter.shutdown(cancel_futures=True)
        for member in self.members:
            member.ending = True
            _close(member)
            if member.process.poll() is None:
                member.process.terminate()
        deadline_s = time.monotonic() + 2.0
        for member in self.members:
            try:
                member.process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()
        for member in self.members:
            for thread in member.threads:
                thread.join(2.0)
            if member.process.stdout is not None:
                member.process.stdout.close()


def _close(member: Member) -> None:
    if member.process.stdin is not None:
        with contextlib.suppress(OSError):  # it is gone already
            member.process.stdin.close()


def _how(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _tail(path: Path, limit: int = 1000) -> str:
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    return text[-limit:] or "nothing"
