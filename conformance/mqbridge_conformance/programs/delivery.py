"""A program that handles messages under a guarantee: each message is an effect, a row in a database.

The rule: see `workers`. What the program does in which order is what makes its guarantee: at most once settles first,
at least once does the work first, effectively once does the work and remembers the message in one transaction.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, Final

import mqbridge as mq
from mqbridge_conformance.history import identify
from mqbridge_conformance.parties import Link

__all__ = ["TABLE", "account", "effects"]

POLL_S: Final = 0.05
TABLE: Final = "table:effects"
"""Where effects are, in a history."""


def account(
    link: Link,
    url: str,
    source: str,
    database: str,
    guarantee: str,
    options: Mapping[str, Any] | None = None,
    middle: int | None = None,
) -> None:
    """Handle messages under the guarantee. Number `middle` of them is not handled to its end: the program says
    ``middle`` and stays there. ``progress``: say it, with the values handled and the number of those known before."""
    given = dict(options or {})
    if "group" in given:
        given["start"] = mq.EARLIEST
    if guarantee == "at-most-once":
        given["ack"] = "before"
    place: Any = mq.parse(source)
    with (
        link.connect(url) as bus,
        bus.consumer(place, **given) as consumer,
        contextlib.closing(_open(database)) as table,
    ):
        work = _Work(link, table, guarantee)
        number = 0
        while True:
            for delivery in consumer.poll(50, timeout=POLL_S):
                number += 1
                if number == middle and guarantee != "at-most-once":
                    consumer.commit(30)  # what is behind it is certain, and it itself is not
                if number != middle or guarantee != "at-most-once":
                    work.effect(delivery)
                if number == middle:
                    link.emit("middle", value=delivery.raw)
                    link.wait("end")
                if guarantee != "at-most-once":
                    delivery.ack()
            if link.asked("progress"):
                link.emit("progress", handled=work.handled, known=work.known)


class _Work:
    def __init__(self, link: Link, table: sqlite3.Connection, guarantee: str) -> None:
        self._recorder = link.recorder
        self._table = table
        self._once = guarantee == "effectively-once"
        self.handled: list[bytes | None] = []
        self.known = 0

    def effect(self, delivery: Any) -> None:
        """Write its row; effectively once only if no message of that name was written before."""
        self.handled.append(delivery.raw)
        with self._table:
            if self._once and not self._remembered(delivery.message_id):
                self.known += 1
                return
            with self._told(delivery.raw):
                self._table.execute("INSERT INTO effects (value) VALUES (?)", (delivery.raw,))
                self._table.commit()

    def _remembered(self, name: str) -> bool:
        """Was it new? Within the transaction of the effect."""
        return self._table.execute("INSERT OR IGNORE INTO seen (name) VALUES (?)", (name,)).rowcount == 1

    @contextlib.contextmanager
    def _told(self, value: bytes | None) -> Iterator[None]:
        assert self._recorder is not None
        op = self._recorder.invoke("effect", dest=TABLE, val=identify(value))
        yield
        self._recorder.write("ok", "effect", op=op, dest=TABLE, val=identify(value))


def _open(database: str) -> sqlite3.Connection:
    table = sqlite3.connect(database, timeout=30)
    table.execute("CREATE TABLE IF NOT EXISTS effects (value BLOB)")
    table.execute("CREATE TABLE IF NOT EXISTS seen (name TEXT PRIMARY KEY)")
    table.commit()
    return table


def effects(database: str) -> list[bytes]:
    """All of them, in the order in which they were written."""
    with contextlib.closing(_open(database)) as table:
        return [value for (value,) in table.execute("SELECT value FROM effects ORDER BY rowid")]
