"""SIGKILL at random moments under load, and what must be true afterwards.

``python -m mqbridge_conformance.kills --kills 200`` starts producers, group workers, queue workers and a standing
host on one folder, kills one of them after another (half of the time the one that hosts), starts a new one in its
place, then drains and judges:

- no confirmed message is lost, from topic or queue;
- no offset is used twice: what was confirmed at an offset is what is read there;
- the records of one producer stand in its order in each partition;
- the group handled every confirmed message, and its committed offsets reached the end;
- while a partition is one worker's, its offsets rise.

The rule: every program writes down what it knows before it goes on (one line, one write), and the judge reads only
those lines, and the topic through a fresh process. Standard library alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mqbridge as mq
from mqbridge.spi import QueueDescription

TOPIC = mq.Topic("kills-log", partitions=4)
QUEUE = mq.Queue("kills-work")
GROUP = "kills-group"
KEYS = 16
SESSION_S = 2.0
BURST = 50
ENDED = (0, -signal.SIGTERM)
"""In good order, or asked to end before it had begun."""


# --- the programs that are killed --------------------------------------------------------------------------------


class Diary:
    """One line, one write: what a process did before it was killed is there to be read."""

    def __init__(self, folder: Path, name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(folder / f"{name}-{os.getpid()}.jsonl", flags, 0o644)
        self._lock = threading.Lock()

    def write(self, **facts: Any) -> None:
        data = json.dumps(facts, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            os.write(self._file, data)


def produce(url: str, diary: Diary, stop: mq.Stop) -> None:
    """Bursts to the topic and the queue; each outcome is written down."""
    identity = str(os.getpid())
    number = 0
    with mq.connect(url) as bus, bus.producer(delivery_timeout_s=20.0) as producer:
        while not stop.is_set():
            burst: list[tuple[str, int, mq.Receipt]] = []
            for _ in range(BURST):
                number += 1
                value = f"{identity} {number}".encode()
                burst.append(("t", number, producer.send(TOPIC, value, key=str(number % KEYS))))
                if number % 5 == 0:
                    burst.append(("q", number, producer.send(QUEUE, value)))
            for kind, item, receipt in burst:
                error = receipt.exception(30.0)
                if error is not None:
                    diary.write(f="failed", kind=kind, p=identity, n=item, outcome=error.outcome, code=error.code)
                    continue
                place = receipt.result()
                diary.write(f="confirmed", kind=kind, p=identity, n=item, part=place.partition, off=place.offset)


def work_topic(url: str, diary: Diary, stop: mq.Stop) -> None:
    """A member of the group: write down, then ack."""
    with (
        mq.connect(url) as bus,
        bus.consumer(
            TOPIC, group=GROUP, start=mq.EARLIEST, session_timeout_s=SESSION_S, drain_timeout_s=1.0
        ) as consumer,
    ):
        consumer.on_assigned(lambda partitions: diary.write(f="assigned", partitions=partitions))
        while not stop.is_set():
            for delivery in consumer.poll(max_messages=100, timeout=0.2):
                diary.write(
                    f="handled",
                    kind="t",
                    v=(delivery.raw or b"").decode(),
                    part=delivery.partition,
                    off=delivery.offset,
                    lease=delivery._block.lease,
                )
                try:
                    delivery.ack()
                except mq.LeaseLost:
                    diary.write(f="lease_lost", part=delivery.partition, off=delivery.offset)


def work_queue(url: str, diary: Diary, stop: mq.Stop) -> None:
    """A competing consumer: write down, then ack."""
    with mq.connect(url) as bus, bus.consumer(QUEUE, prefetch=20) as consumer:
        while not stop.is_set():
            for delivery in consumer.poll(max_messages=20, timeout=0.2):
                diary.write(f="handled", kind="q", v=(delivery.raw or b"").decode(), attempt=delivery.attempt)
                try:
                    delivery.ack()
                except mq.LeaseLost:
                    diary.write(f="lease_lost")


def stand(url: str, diary: Diary, stop: mq.Stop) -> None:
    """A process that only has the folder open, and so may come to host it."""
    with mq.connect(url) as bus:
        diary.write(f="open", **bus.admin.health())
        while not stop.is_set():
            time.sleep(0.05)  # nothing to wait for but the signal


ROLES: dict[str, Callable[[str, Diary, mq.Stop], None]] = {
    "producer": produce,
    "group": work_topic,
    "queue": work_queue,
    "stand": stand,
}


def be(role: str, url: str, diaries: Path) -> None:
    """The body of a killed program."""
    stop = mq.stop_on_signals()
    diary = Diary(diaries, role)
    try:
        ROLES[role](url, diary, stop)
    except mq.MqbridgeError as error:
        diary.write(f="died", error=type(error).__name__, text=str(error))
        raise


# --- the run -----------------------------------------------------------------------------------------------------


@dataclass
class Report:
    """What a run of kills found; `violations` is empty when all that was promised held."""

    seed: int
    kills: int = 0
    host_kills: int = 0
    seconds: float = 0.0
    confirmed_topic: int = 0
    confirmed_queue: int = 0
    failed_unknown: int = 0
    failed_not_applied: int = 0
    records_in_log: int = 0
    handled_topic: int = 0
    redelivered_topic: int = 0
    handled_queue: int = 0
    redelivered_queue: int = 0
    epochs: int = 0
    violations: list[str] = field(default_factory=list)


class Crew:
    """The running programs; a dead one is replaced."""

    def __init__(self, url: str, diaries: Path, roles: list[str]) -> None:
        self._url = url
        self._diaries = diaries
        self.members: list[tuple[str, subprocess.Popen[bytes]]] = []
        for role in roles:
            self.hire(role)

    def hire(self, role: str) -> None:
        command = [sys.executable, "-m", "mqbridge_conformance.kills", "--be", role, self._url, str(self._diaries)]
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


def run(kills: int, seed: int, folder: Path, *, say: Callable[[str], None] = lambda _text: None) -> Report:
    """Do `kills` kills in `folder` and judge. Deterministic in whom and when it kills, not in what that meets."""
    rng = random.Random(seed)
    report = Report(seed)
    url = f"native:{folder / 'broker'}"
    diaries = folder / "diaries"
    diaries.mkdir(parents=True, exist_ok=True)
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
    _judge(url, diaries, report)
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
        seen = {line["f"] for line in _lines(diaries)}
        if {"confirmed", "handled"} <= seen:
            return
        time.sleep(0.1)
    raise TimeoutError(f"no work was seen within {timeout_s:g} s; look into {diaries}")


def _drain(url: str, report: Report, timeout_s: float = 90.0) -> None:
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


# --- the judge ---------------------------------------------------------------------------------------------------


def _lines(diaries: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(diaries.glob("*.jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):  # the last line of a killed process may be torn
                yield {"who": path.stem, **json.loads(line)}


def _judge(url: str, diaries: Path, report: Report) -> None:
    log: dict[tuple[int, int], str] = {}
    with mq.connect(url) as bus:
        for delivery in bus.replay(TOPIC, mq.EARLIEST):
            log[delivery.partition or 0, delivery.offset or 0] = (delivery.raw or b"").decode()
    report.records_in_log = len(log)
    lines = list(_lines(diaries))
    confirmed_queue = _judge_log(lines, log, report)
    _judge_handled(lines, log, confirmed_queue, report)
    for line in lines:
        if line["f"] == "died":
            report.violations.append(f"{line['who']} died of {line['error']}: {line['text']}")


def _judge_log(lines: list[dict[str, Any]], log: dict[tuple[int, int], str], report: Report) -> set[str]:
    """What was confirmed is there, where it was confirmed, in its producer's order."""
    confirmed_queue: set[str] = set()
    claimed: dict[tuple[int, int], str] = {}
    for line in lines:
        if line["f"] == "failed":
            if line["outcome"] == "unknown":
                report.failed_unknown += 1
            else:
                report.failed_not_applied += 1
        if line["f"] != "confirmed":
            continue
        value = f"{line['p']} {line['n']}"
        if line["kind"] == "q":
            confirmed_queue.add(value)
            continue
        report.confirmed_topic += 1
        place = (line["part"], line["off"])
        if place in claimed:
            report.violations.append(f"offset {place} was confirmed for {claimed[place]!r} and for {value!r}")
        claimed[place] = value
        if log.get(place) != value:
            report.violations.append(f"{value!r} was confirmed at {place}, where {log.get(place)!r} is read")
    report.confirmed_queue = len(confirmed_queue)
    last: dict[tuple[str, int], int] = {}
    for (partition, offset), value in sorted(log.items()):
        producer, _, number = value.partition(" ")
        if int(number) <= last.get((producer, partition), 0):
            report.violations.append(
                f"partition {partition}: {value!r} at {offset} stands behind number {last[producer, partition]}"
            )
        last[producer, partition] = int(number)
    offsets: dict[int, list[int]] = defaultdict(list)
    for partition, offset in sorted(log):
        offsets[partition].append(offset)
    for partition, found in offsets.items():
        if found != list(range(len(found))):
            report.violations.append(f"partition {partition} has gaps in its offsets")
    return confirmed_queue


def _judge_handled(
    lines: list[dict[str, Any]], log: dict[tuple[int, int], str], confirmed_queue: set[str], report: Report
) -> None:
    """Everything was handled, and in order while a partition was one worker's."""
    seen_topic: Counter[str] = Counter()
    seen_queue: Counter[str] = Counter()
    highest: dict[tuple[str, int, int], int] = {}
    for line in lines:
        if line["f"] != "handled":
            continue
        if line["kind"] == "q":
            seen_queue[line["v"]] += 1
            continue
        seen_topic[line["v"]] += 1
        if log.get((line["part"], line["off"])) != line["v"]:
            place = f"{line['part']}/{line['off']}"
            report.violations.append(f"{line['who']} read {line['v']!r} at {place}: not what is there")
        lease = (line["who"], line["part"], line["lease"])
        if line["off"] <= highest.get(lease, -1):
            report.violations.append(f"{line['who']} read {line['part']}/{line['off']} after {highest[lease]}")
        highest[lease] = line["off"]
    for value in log.values():
        if value not in seen_topic:
            report.violations.append(f"{value!r} is in the log, and the group has committed past it unhandled")
    for value in confirmed_queue - set(seen_queue):
        report.violations.append(f"{value!r} was confirmed by the queue and never handled")
    report.handled_topic = len(seen_topic)
    report.redelivered_topic = sum(seen_topic.values()) - len(seen_topic)
    report.handled_queue = len(seen_queue)
    report.redelivered_queue = sum(seen_queue.values()) - len(seen_queue)


# --- the command -------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 when nothing was violated."""
    parser = argparse.ArgumentParser(prog="python -m mqbridge_conformance.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--folder", type=Path, default=None, help="keep everything here; default: a temporary folder")
    parser.add_argument("--results", type=Path, default=None, help="append the report to this file, as a line of JSON")
    parser.add_argument("--be", nargs=3, metavar=("ROLE", "URL", "DIARIES"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.be:
        be(chosen.be[0], chosen.be[1], Path(chosen.be[2]))
        return 0
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1 << 32)
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="mqbridge-kills-"))
    report = run(chosen.kills, seed, folder, say=lambda text: print(text, file=sys.stderr))  # noqa: T201 - a command
    line = json.dumps(asdict(report))
    print(line)  # noqa: T201 - the command's result
    if chosen.results is not None:
        with open(chosen.results, "a") as results:
            results.write(line + "\n")
    if report.violations:
        print(f"{len(report.violations)} violations; all is kept in {folder}", file=sys.stderr)  # noqa: T201 - a command
        return 1
    if chosen.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
