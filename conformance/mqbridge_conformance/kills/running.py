"""A run of kills: programs at work, one of them killed after another, then drained and judged.

The rule: the first kill meets work under way.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import mqbridge as mq
from mqbridge.spi import QueueDescription
from mqbridge_conformance.kills.judging import KillReport, judge, lines_of
from mqbridge_conformance.kills.programs import GROUP, QUEUE, TOPIC

__all__ = ["DIARIES", "run"]

DIARIES: Final = "diaries"
"""In the folder of a run: what its programs write down."""
ENDED = (0, -signal.SIGTERM)
"""In good order, or asked to end before it had begun."""


class Crew:
    """The running programs; a dead one is replaced."""

    def __init__(self, url: str, diaries: Path, roles: list[str]) -> None:
        self._url = url
        self._diaries = diaries
        self.members: list[tuple[str, subprocess.Popen[bytes]]] = []
        for role in roles:
            self.hire(role)

    def hire(self, role: str) -> None:
        command = [sys.executable, "-m", "mqbridge_conformance.kills.programs", role, self._url, str(self._diaries)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with open(self._diaries / f"{role}.stderr", "ab") as errors:
            self.members.append((role, subprocess.Popen(command, env=environment, stderr=errors)))

    def kill(self, victim: tuple[str, subprocess.Popen[bytes]]) -> None:
        self.members.remove(victim)
        victim[1].kill()
        victim[1].wait()
        self.hire(victim[0])

    def stop(self, role: str, timeout_s: float = 60.0) -> list[int]:
        """End the programs of a role in good order; their exit codes."""
        leaving = [member for member in self.members if member[0] == role]
        for _, process in leaving:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(timeout_s) for _, process in leaving]
        self.members = [member for member in self.members if member[0] != role]
        return codes

    def end(self) -> None:
        for _, process in self.members:
            process.kill()
            process.wait()
        self.members.clear()


def run(kills: int, seed: int, folder: Path, *, say: Callable[[str], None] = lambda _text: None) -> KillReport:
    """Do `kills` kills in `folder`, where no other run was, and judge. Deterministic in whom and when it kills, not in
    what that meets."""
    rng = random.Random(seed)
    report = KillReport(seed)
    url = f"native:{folder / 'broker'}"
    diaries = folder / DIARIES
    diaries.mkdir(parents=True)
    began_s = time.monotonic()
    with mq.connect(url) as bus:
        bus.admin.ensure(TOPIC, QUEUE)
    crew = Crew(url, diaries, ["stand", "producer", "producer", "group", "group", "queue", "queue"])
    try:
        _wait_for_work(diaries)
        while report.kills < kills:
            time.sleep(rng.uniform(0.02, 0.35))  # the random moment is the point
            host = _host_pid(folder / "broker")
            hosting = [member for member in crew.members if member[1].pid == host]
            victim = hosting[0] if hosting and rng.random() < 0.5 else rng.choice(crew.members)
            crew.kill(victim)
            report.kills += 1
            report.host_kills += victim in hosting
            if report.kills % 20 == 0:
                say(f"{report.kills} kills, {report.host_kills} of them of the host")
        say("draining")
        for code in crew.stop("producer"):
            if code not in ENDED:
                report.violations.append(f"a producer ended with exit code {code}")
        _drain(url, report)
        for role in ("group", "queue", "stand"):
            for code in crew.stop(role):
                if code not in ENDED:
                    report.violations.append(f"a {role} worker ended with exit code {code}")
    finally:
        crew.end()
    judge(url, diaries, report)
    report.seconds = round(time.monotonic() - began_s, 1)
    return report


def _host_pid(broker: Path) -> int | None:
    try:
        return int((broker / "mqbridge.lock").read_text())
    except (OSError, ValueError):
        return None


def _wait_for_work(diaries: Path, timeout_s: float = 60.0) -> None:
    """The first kill must meet work under way: something was confirmed and something handled."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        seen = {line["f"] for line in lines_of(diaries)}
        if {"confirmed", "handled"} <= seen:
            return
        time.sleep(0.1)
    raise TimeoutError(f"no work was seen within {timeout_s:g} s; look into {diaries}")


def _drain(url: str, report: KillReport, timeout_s: float = 90.0) -> None:
    """Wait until the group has committed to the end and the queue is empty."""
    deadline = time.monotonic() + timeout_s
    left = "nothing was looked at"
    with mq.connect(url) as bus:
        report.epochs = int(bus.admin.health()["epoch"])
        while time.monotonic() < deadline:
            ends = {("kills-log", p): o.end for p, o in bus.admin.offsets(TOPIC).items()}
            committed = bus.admin.describe_group(GROUP).committed
            queue = bus.admin.describe(QUEUE)
            assert isinstance(queue, QueueDescription)
            waiting = (queue.ready or 0) + (queue.unsettled or 0) + (queue.delayed or 0)
            if committed == ends and waiting == 0:
                return
            left = f"committed {committed}, ends {ends}, in the queue {waiting}"
            time.sleep(0.1)
    report.violations.append(f"not drained within {timeout_s:g} s: {left}")
