"""One interleaved run of mqbridge's native engine beside what Python programs use instead of it.

The rule: every contender does the same work on the same payloads in every round, what came out is compared with what
went in, and each figure is printed with its spread and its conditions. README.md says what each row does.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree, not an installed one

import mqbridge
from benchmarks.environment import Environment, look

VALUE_BYTES = 100
KEY_BYTES = 8
POOL = 1000
BASE = "sqlite3 WAL, batches of 1000"
PHASES = {
    "in": "IN: send, insert, put",
    "out": "OUT: consume with ack, take and delete, pop and done",
    "round trip": "ROUND TRIP: in and then out",
}


@dataclass(frozen=True)
class Taken:
    """What one phase took: wall seconds, CPU seconds of all threads, messages."""

    seconds: float
    cpu_s: float
    count: int

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.count * 1e6


@dataclass
class Case:
    """A contender. `run` gets a fresh folder and the messages, and returns what "in" and "out" took."""

    name: str
    durable: bool
    count: int
    run: Callable[[Path, list[bytes]], tuple[Taken, Taken]]
    rounds: list[dict[str, Taken]] = field(default_factory=list)
    missing: str | None = None


class Wrong(Exception):
    """What came out is not what went in: the figures would mean nothing."""


class _Watch:
    def __init__(self) -> None:
        self._cpu_s = time.process_time()
        self._start_s = time.perf_counter()

    def stop(self, count: int) -> Taken:
        return Taken(time.perf_counter() - self._start_s, time.process_time() - self._cpu_s, count)


def _check(case: str, got: Sequence[bytes | None], values: Sequence[bytes]) -> None:
    if got != values:
        raise Wrong(f"{case}: {len(got)} messages came out for {len(values)} that went in, or others, or in disorder")


# --- the native engine -------------------------------------------------------------------------------------------


def native(destination: mqbridge.Topic[bytes] | mqbridge.Queue[bytes], in_folder: bool, keyed: bool) -> Any:
    """A case's `run` for a topic of one partition, or a queue."""

    def run(folder: Path, values: list[bytes]) -> tuple[Taken, Taken]:
        keys = [b"key-%04d" % number for number in range(POOL)]
        with mqbridge.connect(f"native:{folder / 'broker'}" if in_folder else "native:") as bus:
            bus.admin.ensure(destination)
            with bus.producer() as producer:
                send = producer.send
                watch = _Watch()
                if keyed:
                    for number, value in enumerate(values):
                        send(destination, value, key=keys[number % POOL])
                else:
                    for value in values:
                        send(destination, value)
                producer.flush()
                sent = watch.stop(len(values))
            with _consumer(bus, destination) as consumer:
                got: list[bytes | None] = []
                put = got.append
                watch = _Watch()
                for delivery in islice(consumer.stream(idle_timeout_s=10.0), len(values)):
                    put(delivery.value)
                    delivery.ack()
                consumer.commit()
                consumed = watch.stop(len(values))
                _check(str(destination), got, values)
                _check_settled(bus, consumer, destination, len(values))
        return sent, consumed

    return run


def _consumer(bus: mqbridge.Bus, source: mqbridge.Topic[bytes] | mqbridge.Queue[bytes]) -> Any:
    if isinstance(source, mqbridge.Queue):
        return bus.consumer(source)
    consumer = bus.consumer(source, group="benchmark", start=mqbridge.EARLIEST)
    consumer.wait_assigned(10.0)
    return consumer


def _check_settled(bus: mqbridge.Bus, consumer: Any, source: Any, count: int) -> None:
    if isinstance(source, mqbridge.Queue):
        left = bus.admin.depth(source)
        if left:
            raise Wrong(f"{source}: {left} messages are left after all were acked")
    elif consumer.committed() != {(source.name, 0): count}:
        raise Wrong(f"{source}: committed is {consumer.committed()} after {count} were acked")


# --- the others --------------------------------------------------------------------------------------------------


def simple_queue(_folder: Path, values: list[bytes]) -> tuple[Taken, Taken]:
    queue: SimpleQueue[bytes] = SimpleQueue()
    put, get = queue.put, queue.get
    watch = _Watch()
    for value in values:
        put(value)
    went_in = watch.stop(len(values))
    got: list[bytes | None] = []
    keep = got.append
    watch = _Watch()
    for _ in range(len(values)):
        keep(get())
    came_out = watch.stop(len(values))
    _check("SimpleQueue", got, values)
    return went_in, came_out


def sqlite(batch: int) -> Callable[[Path, list[bytes]], tuple[Taken, Taken]]:
    """A table as a queue: a transaction inserts, or takes and deletes, `batch` rows."""

    def run(folder: Path, values: list[bytes]) -> tuple[Taken, Taken]:
        connection = sqlite3.connect(folder / "queue.db", isolation_level=None)
        execute = connection.execute
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        execute("CREATE TABLE queue (id INTEGER PRIMARY KEY, value BLOB NOT NULL)")
        watch = _Watch()
        for rows in _batches(values, batch):
            execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO queue (value) VALUES (?)", ((value,) for value in rows))
            execute("COMMIT")
        went_in = watch.stop(len(values))
        got: list[bytes | None] = []
        keep = got.append
        watch = _Watch()
        while len(got) < len(values):
            execute("BEGIN IMMEDIATE")
            taken = execute("SELECT id, value FROM queue ORDER BY id LIMIT ?", (batch,)).fetchall()
            for _, value in taken:
                keep(value)
            execute("DELETE FROM queue WHERE id <= ?", (taken[-1][0],))
            execute("COMMIT")
        came_out = watch.stop(len(values))
        (left,) = execute("SELECT count(*) FROM queue").fetchone()
        connection.close()
        if left:
            raise Wrong(f"sqlite3: {left} rows are left")
        _check("sqlite3", got, values)
        return went_in, came_out

    return run


def _batches(values: list[bytes], size: int) -> Iterator[list[bytes]]:
    for low in range(0, len(values), size):
        yield values[low : low + size]


def litequeue(folder: Path, values: list[bytes]) -> tuple[Taken, Taken]:
    queue = importlib.import_module("litequeue").LiteQueue(str(folder / "litequeue.db"))
    texts = [value.decode("latin-1") for value in values]  # its messages are text
    watch = _Watch()
    for text in texts:
        queue.put(text)
    went_in = watch.stop(len(values))
    got: list[bytes | None] = []
    watch = _Watch()
    for _ in texts:
        message = queue.pop()
        got.append(message.data.encode("latin-1"))
        queue.done(message.message_id)
    came_out = watch.stop(len(values))
    queue.conn.close()
    _check("litequeue", got, values)
    return went_in, came_out


def all_cases(scale: float) -> list[Case]:
    topic: mqbridge.Topic[bytes] = mqbridge.Topic("benchmark", partitions=1)
    queue: mqbridge.Queue[bytes] = mqbridge.Queue("benchmark")
    made: list[Case] = []
    for what, destination, count in (("topic", topic, 120_000), ("queue", queue, 60_000)):
        for where, in_folder in (("folder", True), ("memory", False)):
            for key, keyed in (("", False), (", keys", True)):
                run = native(destination, in_folder, keyed)
                made.append(Case(f"native {what}, {where}{key}", in_folder, int(count * scale), run))
    made.append(Case("queue.SimpleQueue", False, int(200_000 * scale), simple_queue))
    made += [Case(f"sqlite3 WAL, batches of {n}", True, int(60_000 * scale), sqlite(n)) for n in (100, 1000)]
    lite = Case("litequeue", True, int(1_500 * scale), litequeue)
    if importlib.util.find_spec("litequeue") is None:
        lite.missing = "not installed; `pip install litequeue` adds it to this table"
    return [*made, lite]


# --- running and reporting ---------------------------------------------------------------------------------------


def run_all(cases: Sequence[Case], rounds: int, parent: Path) -> None:
    """A short round that is thrown away, then `rounds` rounds, every other one in the opposite order."""
    pool = [random.Random(number).randbytes(VALUE_BYTES) for number in range(POOL)]
    present = [case for case in cases if case.missing is None]
    for number in range(-1, rounds):
        if hasattr(os, "sync"):
            os.sync()  # what the round before left to write is not this one's to pay for
        for case in present if number % 2 else reversed(present):
            count = max(1, case.count if number >= 0 else case.count // 20)
            values = [pool[index % POOL] for index in range(count)]
            gc.collect()
            with tempfile.TemporaryDirectory(prefix="mqbridge-bench-", dir=parent) as folder:
                went_in, came_out = case.run(Path(folder), values)
            if number >= 0:
                both = Taken(went_in.seconds + came_out.seconds, went_in.cpu_s + came_out.cpu_s, count)
                case.rounds.append({"in": went_in, "out": came_out, "round trip": both})
        if number >= 0:
            print(f"round {number + 1} of {rounds}", file=sys.stderr)


def ratios(case: Case, base: Case, phase: str) -> list[float]:
    """How many times the rate of `base` in the same round; empty for what does not keep messages as it does."""
    if not case.durable:
        return []
    return [mine[phase].rate / its[phase].rate for mine, its in zip(case.rounds, base.rounds, strict=True)]


def report(cases: Sequence[Case], environment: Environment) -> None:
    for name, text in environment.lines():
        print(f"{name:<12} {text}")
    base = next(case for case in cases if case.name == BASE)
    for phase, title in PHASES.items():
        print(f"\n{title}")
        print(f"{'':<30} {'k msg/s':>8} {'min-max':>13} {'CPU us/msg':>11}   {'x sqlite3':<9} min-max")
        for case in cases:
            if case.missing is not None:
                print(f"{case.name:<30} {case.missing}")
                continue
            rates = [taken[phase].rate / 1000 for taken in case.rounds]
            cpu_us = median(taken[phase].cpu_us for taken in case.rounds)
            times = ratios(case, base, phase)
            beside = f"{median(times):<9.2f} {min(times):.2f}-{max(times):.2f}" if times else "-"
            spread = f"{min(rates):.0f}-{max(rates):.0f}" if max(rates) >= 100 else f"{min(rates):.1f}-{max(rates):.1f}"
            middle = f"{median(rates):.0f}" if median(rates) >= 100 else f"{median(rates):.1f}"
            print(f"{case.name:<30} {middle:>8} {spread:>13} {cpu_us:>11.2f}   {beside}")
    print(f"\nx sqlite3: the rate over that of {BASE}, of the same round; only for what is on disk, as that is.")


def as_json(cases: Sequence[Case], environment: Environment, rounds: int) -> dict[str, Any]:
    base = next(case for case in cases if case.name == BASE)
    rows: list[dict[str, Any]] = []
    for case in cases:
        row: dict[str, Any] = {"name": case.name, "durable": case.durable, "missing": case.missing}
        for phase in PHASES if case.missing is None else ():
            taken = [by_phase[phase] for by_phase in case.rounds]
            row[phase] = {
                "messages": case.count,
                "rate_median": median(item.rate for item in taken),
                "cpu_us_median": median(item.cpu_us for item in taken),
                "seconds": [item.seconds for item in taken],
                "cpu_s": [item.cpu_s for item in taken],
                "ratio_to_sqlite3": ratios(case, base, phase),
            }
        rows.append(row)
    facts = {"value_bytes": VALUE_BYTES, "key_bytes": KEY_BYTES, "rounds": rounds, "ratio_base": BASE}
    return {"environment": dict(environment.lines()), **facts, "rows": rows}


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the native engine beside SimpleQueue, sqlite3 and litequeue.")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds; 5 by default")
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of messages of every row")
    parser.add_argument("--folder", type=Path, help="where the fresh folders are made; the temporary folder by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures there too")
    given = parser.parse_args()
    if given.rounds < 1 or given.scale <= 0:
        parser.error("--rounds must be 1 or more, --scale above 0")
    parent = given.folder or Path(tempfile.gettempdir())
    environment = look(parent)
    cases = all_cases(given.scale)
    run_all(cases, given.rounds, parent)
    environment.finish()
    report(cases, environment)
    if given.json is not None:
        given.json.write_text(json.dumps(as_json(cases, environment, given.rounds), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
