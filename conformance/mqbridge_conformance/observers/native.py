"""Looking at the native engine: at its files (`native_files`), and at what another process or connection is told.

The rule: `FileObserver` shares no code with the engine; the two others ask through connections of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mqbridge as mq
from mqbridge_conformance.native_files import Folder, Pairs, Row
from mqbridge_conformance.observers.seen import LIBRARY, Counts, Letter, Names, Observer, Record
from mqbridge_conformance.parties import Party
from mqbridge_conformance.results import CheckFailed

__all__ = ["FileObserver", "ProcessObserver", "PublicObserver"]


class PublicObserver(Observer):
    """Asks through a connection of its own."""

    def __init__(self, bus: mq.Bus, how: str = "a second connection") -> None:
        self.how = how
        self._bus = bus

    def names(self) -> Names:
        admin = self._bus.admin
        return Names(
            {topic.name: topic.partitions or 0 for topic in sorted(admin.list_topics(), key=lambda t: t.name)},
            sorted(queue.name for queue in admin.list_queues()),
            sorted(exchange.name for exchange in admin.list_exchanges()),
            sorted(group.group for group in admin.list_groups()),
        )

    def records(self, topic: str) -> list[Record]:
        with self._bus.replay(mq.Topic(topic), mq.EARLIEST) as replay:
            found = [
                Record(d.partition, d.offset, d.key, d.raw, d.headers.pairs, d.timestamp_ms, d.message_id)
                for d in replay
            ]
        return sorted(found, key=lambda record: (record.partition, record.offset))

    def counts(self, queue: str) -> Counts:
        found = self._bus.admin.describe(mq.Queue(queue))
        return Counts(*(getattr(found, name) or 0 for name in Counts._fields))

    def committed(self, group: str) -> dict[str, int]:
        try:
            found = self._bus.admin.describe_group(group)
        except mq.NotFound:
            return {}
        return {f"{topic}/{partition}": offset for (topic, partition), offset in sorted(found.committed.items())}

    def letters(self, queue: str) -> list[Letter]:
        out: list[Letter] = []
        for dead in self._bus.admin.dead_letters(mq.Queue(queue), max_messages=1000):
            death = dead.death
            if death is not None and death.origin == f"queue:{queue}":
                said = (death.reason, death.origin, death.attempts, death.error)
                out.append(Letter(dead.key, dead.value, dead.headers.pairs, dead.timestamp_ms, dead.message_id, *said))
        return out

    def snapshot(self) -> dict[str, Any]:
        admin, names = self._bus.admin, self.names()
        ends = {name: sorted(admin.offsets(mq.Topic(name)).items()) for name in names.topics}
        exchanges = {name: _exchange(admin.describe(mq.Exchange(name))) for name in names.exchanges}
        return {
            "topics": {name: {p: [at.start, at.end] for p, at in found} for name, found in ends.items()},
            "queues": {name: list(self.counts(name)) for name in names.queues},
            "exchanges": exchanges,
            "groups": {name: self.committed(name) for name in names.groups},
        }


def _exchange(found: Any) -> list[Any]:
    bindings = [[str(b.destination), b.key, sorted((b.headers or {}).items()), b.match] for b in found.bindings]
    return [found.exchange.type, str(found.exchange.alternate), sorted(bindings)]


class ProcessObserver(Observer):
    """The same questions, put by another process through its own connection."""

    how = "a second process"

    def __init__(self, party: Party, patience_s: float) -> None:
        self._party = party
        self._patience_s = patience_s
        party.expect("ready", patience_s)

    def _ask(self, question: str, *args: str) -> Any:
        self._party.command("ask", question=question, args=list(args))
        answer = self._party.expect("answer", self._patience_s)
        if "refused" in answer:
            raise CheckFailed(f"{self.how} could not be told {question}{args}: {answer['refused']}")
        return answer["value"]

    def names(self) -> Names:
        return Names(*self._ask("names"))

    def records(self, topic: str) -> list[Record]:
        return [Record._make([*row[:4], _pairs(row[4]), *row[5:]]) for row in self._ask("records", topic)]

    def counts(self, queue: str) -> Counts:
        return Counts(*self._ask("counts", queue))

    def committed(self, group: str) -> dict[str, int]:
        return dict(self._ask("committed", group))

    def letters(self, queue: str) -> list[Letter]:
        return [Letter._make([*row[:2], _pairs(row[2]), *row[3:]]) for row in self._ask("letters", queue)]

    def snapshot(self) -> dict[str, Any]:
        return dict(self._ask("snapshot"))

    def close(self) -> None:
        self._party.stop(self._patience_s)


def _pairs(rows: Sequence[Sequence[Any]]) -> Pairs:
    return tuple((name, value) for name, value in rows)


class FileObserver(Observer):
    """Reads the native engine's folder with the suite's own reader."""

    how = "its files"

    def __init__(self, folder: Path) -> None:
        self._folder = Folder(folder)

    def names(self) -> Names:
        meta = self._folder.meta()
        return Names(
            dict(sorted(meta.topics.items())), sorted(meta.queues), sorted(meta.exchanges), sorted(meta.committed)
        )

    def records(self, topic: str) -> list[Record]:
        partitions = self._folder.meta().topics.get(topic, 0)
        return [
            _record(partition, offset, row)
            for partition in range(partitions)
            for offset, row in self._folder.partition(topic, partition)
        ]

    def counts(self, queue: str) -> Counts:
        states = [held.state for held in self._folder.queue(queue)]
        return Counts(states.count("ready"), states.count("taken"), states.count("delayed"))

    def committed(self, group: str) -> dict[str, int]:
        positions = self._folder.meta().positions(group)
        return {f"{topic}/{partition}": offset for (topic, partition), offset in sorted(positions.items())}

    def letters(self, queue: str) -> list[Letter]:
        target = (self._folder.meta().queues.get(queue) or {}).get("dead_letter")
        rows = [held.row for held in self._folder.queue(target)] if target else []
        return [_letter(row) for row in rows if _library_header(row, "death-queue") == queue]

    def messages(self, queue: str) -> list[Record] | None:
        return [_record(None, None, held.row) for held in self._folder.queue(queue)]

    def snapshot(self) -> dict[str, Any]:
        return dict(self._folder.bytes_of_files())


def _record(partition: int | None, offset: int | None, row: Row) -> Record:
    return Record(partition, offset, row.key, row.value, _users(row), row.timestamp_ms, _library_header(row, "id"))


def _letter(row: Row) -> Letter:
    said = {name: _library_header(row, f"death-{name}") or "" for name in ("reason", "queue", "attempts")}
    return Letter(
        row.key,
        row.value,
        _users(row),
        row.timestamp_ms,
        _library_header(row, "id"),
        said["reason"],
        f"queue:{said['queue']}",
        int(said["attempts"] or 0),
        _library_header(row, "death-error"),
    )


def _users(row: Row) -> Pairs:
    return tuple(pair for pair in row.headers if not pair[0].startswith(LIBRARY))


def _library_header(row: Row, name: str) -> str | None:
    return next((content.decode() for header, content in row.headers if header == LIBRARY + name), None)
