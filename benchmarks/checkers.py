"""How long the conformance suite's checkers take over a history: a rough measure, not a test.

The rule: the history is one that a run leaves in which all goes well: a producer whose sends are confirmed, a group of
two that settles and commits, a replay, and observers' looks; and, for a third of it, a queue with a consumer. The size
counts sends, polls, acks and commits; all checkers judge it, one after the other, after it was saved and loaded as a
run's history is.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mqbridge import Capability
from mqbridge_conformance.checkers import Profile
from mqbridge_conformance.checkers.catalogue import ALL
from mqbridge_conformance.history import Event, History, Payload, load

TOPIC, QUEUE = "topic:orders", "queue:emails"
PARTITIONS, PER_POLL = 6, 100
CLAIMED = Profile(engine="none", claims={str(capability): "direct" for capability in Capability})


class Writer:
    """Events of one process, a microsecond apart."""

    t = 0

    def __init__(self, proc: str) -> None:
        self.proc = proc
        self.seq = 0

    def write(self, kind: Any, f: str, **fields: Any) -> Event:
        Writer.t += 1000
        self.seq += 1
        return Event(self.seq, Writer.t, self.proc, kind, f, **fields)

    def operation(self, f: str, **fields: Any) -> Iterator[Event]:
        invoke = self.write("invoke", f, **fields)
        yield invoke
        yield self.write("ok", f, op=invoke.seq, **fields)


def made(operations: int) -> Iterator[Event]:
    """About so many operations: a send and an ack each for half of them, of which a third goes through a queue."""
    main, members = Writer("main"), [Writer("one"), Writer("two")]
    yield main.write("ok", "run", more={"run": "bench"})
    yield main.write("ok", "declare", dest=TOPIC, more={"partitions": PARTITIONS})
    yield main.write("ok", "open", client="p", more={"role": "producer", "acks": "all", "on_unknown": "fail"})
    facts: dict[str, Any] = {"client": "c", "group": "g", "dest": TOPIC}
    options = {"role": "topic-consumer", "start": {"name": "EARLIEST"}, "ack": "explicit", "sources": [TOPIC]}
    for member in members:
        yield member.write("ok", "open", **facts, more=options)
        yield from member.operation("poll", **facts)
    log: list[list[tuple[str, str]]] = [[] for _ in range(PARTITIONS)]
    at = [0] * PARTITIONS
    yield from worked(main, operations // 6)
    for number in range(operations // 3):
        part = number % PARTITIONS
        key = f"customer-{number % 60}"
        value = Payload("bench", TOPIC, key, "p", number).encode().decode()
        invoke = main.write("invoke", "send", client="p", dest=TOPIC, key=key, val=value)
        yield invoke
        log[part].append((key, value))
        yield main.write("ok", "send", op=invoke.seq, part=part, off=len(log[part]) - 1)
        if number % (PER_POLL * PARTITIONS) == PER_POLL * PARTITIONS - 1:
            for part in range(PARTITIONS):
                yield from consumed(members[part % 2], facts, part, log[part], at)
    yield from looked(main, log)
    yield from replayed(main, log)
    look = main.write("invoke", "committed", group="g")
    yield look
    for part in range(PARTITIONS):
        yield main.write("ok", "committed", op=look.seq, group="g", dest=TOPIC, part=part, off=at[part])
    yield main.write("ok", "committed", op=look.seq, group="g")


def worked(main: Writer, number: int) -> Iterator[Event]:
    """So many messages through a queue, each settled and committed."""
    worker, facts = Writer("worker"), {"client": "w", "dest": QUEUE}
    yield main.write("ok", "declare", dest=QUEUE, more={"type": "quorum", "max_attempts": 3})
    yield worker.write("ok", "open", **facts, more={"role": "queue-consumer", "prefetch": PER_POLL, "ack": "explicit"})
    for first in range(0, number, PER_POLL):
        values = [Payload("bench", QUEUE, "-", "p", n).encode().decode() for n in range(first, first + PER_POLL)]
        for value in values:
            yield from main.operation("send", client="p", dest=QUEUE, val=value)
        poll = worker.write("invoke", "poll", **facts)
        yield poll
        told = [{**facts, "tag": first + n, "val": value} for n, value in enumerate(values)]
        for one in told:
            yield worker.write("ok", "deliver", op=poll.seq, **one, attempt=1, redelivered=False)
        yield worker.write("ok", "poll", op=poll.seq, **facts, more={"count": len(values)})
        for one in told:
            yield from worker.operation("ack", **one)
        yield from worker.operation("commit", **facts)
    yield from worker.operation("close", **facts)
    yield main.write("ok", "drained", dest=QUEUE)


def replayed(main: Writer, log: list[list[tuple[str, str]]]) -> Iterator[Event]:
    facts: dict[str, Any] = {"client": "r", "dest": TOPIC}
    options = {"role": "replay", "start": {"name": "EARLIEST"}, "end": {"name": "NOW"}, "asked_t": Writer.t + 1}
    yield main.write("ok", "open", **facts, more=options)
    for part, records in enumerate(log):
        for off, (key, value) in enumerate(records):
            yield main.write("ok", "deliver", **facts, part=part, off=off, key=key, val=value, attempt=1)
    yield main.write("ok", "read_out", **facts)


def consumed(
    member: Writer, facts: dict[str, Any], part: int, log: list[tuple[str, str]], at: list[int]
) -> Iterator[Event]:
    """One poll of all there is, settled and committed."""
    poll = member.write("invoke", "poll", **facts)
    yield poll
    place: dict[str, Any] = {**facts, "part": part, "lease": part + 1}
    shown = range(at[part], len(log))
    if not at[part]:
        yield member.write("ok", "assigned", **place)
    for off in shown:
        key, value = log[off]
        yield member.write("ok", "deliver", op=poll.seq, **place, off=off, key=key, val=value, attempt=1)
    yield member.write("ok", "poll", op=poll.seq, **facts, more={"count": len(shown)})
    for off in shown:
        yield from member.operation("ack", **place, off=off, val=log[off][1])
    at[part] = len(log)
    yield from member.operation("commit", **facts)


def looked(main: Writer, log: list[list[tuple[str, str]]]) -> Iterator[Event]:
    look = main.write("invoke", "looked", dest=TOPIC)
    yield look
    for part, records in enumerate(log):
        for off, (key, value) in enumerate(records):
            yield main.write("ok", "stored", op=look.seq, dest=TOPIC, part=part, off=off, key=key, val=value)
    yield main.write("ok", "looked", op=look.seq, dest=TOPIC)


def measured(operations: int) -> None:
    history = History(made(operations))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        history.save(path)
        size = path.stat().st_size
        began_s = time.process_time()
        history = load(path)
        loaded_s = time.process_time() - began_s
    print(f"{operations:,} operations, {len(history):,} events, {size / 1e6:.0f} MB: loaded in {loaded_s:.2f} s of CPU")
    total_s = 0.0
    for checker in ALL:
        began_s = time.process_time()
        judgement = checker(history, CLAIMED)
        took_s = time.process_time() - began_s
        total_s += took_s
        print(f"  {judgement.checker:26} {took_s:8.2f} s  {judgement.outcome}, {len(judgement.findings)} findings")
    print(f"  {'all':26} {total_s:8.2f} s, {operations / total_s:,.0f} operations a second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="*", type=int, default=[10_000, 1_000_000], metavar="OPERATIONS")
    for size in parser.parse_args().sizes:
        measured(size)


if __name__ == "__main__":
    main()
