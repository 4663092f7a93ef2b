"""What a service writes down: its deliveries, and payment's ledger. One SQLite file a service, shared by its processes.

The rule of this room: a charge is one INSERT under a unique idempotency key, so that whoever tries it a second time is
told so by the database and not by its own memory, which dies with it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "DeliveryRow",
    "LedgerRow",
    "Store",
    "make_store",
    "read_deliveries",
    "read_handled",
    "read_ledger",
    "store_path",
]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY, idempotency_key TEXT NOT NULL, worker TEXT NOT NULL, attempt INTEGER NOT NULL,
    began REAL NOT NULL, ended REAL, outcome TEXT);
CREATE INDEX IF NOT EXISTS deliveries_by_key ON deliveries (idempotency_key);
CREATE TABLE IF NOT EXISTS ledger (
    idempotency_key TEXT PRIMARY KEY, cents INTEGER NOT NULL, charged_by TEXT NOT NULL);
"""
BUSY_S = 10.0


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """`outcome`: ok, duplicate (done before, suppressed), failed, or None: its worker was killed with it in hand."""

    key: str
    worker: str
    attempt: int
    outcome: str | None


@dataclass(frozen=True, slots=True)
class LedgerRow:
    key: str
    cents: int
    charged_by: str


def store_path(folder: Path, service: str) -> Path:
    return folder / f"{service}.db"


def make_store(path: Path) -> None:
    """Make the file, before any worker is there: two processes that switch it to WAL at once may find it locked."""
    with closing(sqlite3.connect(path, timeout=BUSY_S)) as database:
        database.execute("PRAGMA journal_mode=WAL").fetchall()
        database.executescript(_SCHEMA)


class Store:
    """The writing end, for one worker process; any of its threads may call."""

    def __init__(self, path: Path, worker: str) -> None:
        self._worker = worker
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        # A killed process leaves its committed pages with the operating system: no fsync is needed for that crash,
        # and the demo does not pull the plug.
        self._database.execute("PRAGMA synchronous=OFF")

    def begin(self, key: str, attempt: int) -> int:
        """Note that a delivery came; returns its row."""
        with self._lock:
            cursor = self._database.execute(
                "INSERT INTO deliveries (idempotency_key, worker, attempt, began) VALUES (?, ?, ?, ?)",
                (key, self._worker, attempt, time.time()),
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def end(self, row: int, outcome: str) -> None:
        with self._lock:
            self._database.execute(
                "UPDATE deliveries SET ended = ?, outcome = ? WHERE id = ?", (time.time(), outcome, row)
            )

    def charge(self, key: str, cents: int) -> int | None:
        """Charge once: the number of this charge in the ledger, or None if the key was charged before, by anybody."""
        with self._lock:
            cursor = self._database.execute(
                "INSERT INTO ledger (idempotency_key, cents, charged_by) VALUES (?, ?, ?) "
                "ON CONFLICT (idempotency_key) DO NOTHING",
                (key, cents, self._worker),
            )
            return cursor.lastrowid if cursor.rowcount == 1 else None

    def close(self) -> None:
        with self._lock:
            self._database.close()


def _query(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)) as database:
        return database.execute(statement).fetchall()


def read_handled(path: Path) -> int:
    """How many different orders were handled."""
    rows = _query(path, "SELECT count(DISTINCT idempotency_key) FROM deliveries WHERE outcome IN ('ok', 'duplicate')")
    return int(str(rows[0][0]))


def read_deliveries(path: Path) -> list[DeliveryRow]:
    """All deliveries, in the order in which they came."""
    rows = _query(path, "SELECT idempotency_key, worker, attempt, outcome FROM deliveries ORDER BY id")
    return [
        DeliveryRow(str(key), str(worker), int(str(attempt)), None if outcome is None else str(outcome))
        for key, worker, attempt, outcome in rows
    ]


def read_ledger(path: Path) -> list[LedgerRow]:
    rows = _query(path, "SELECT idempotency_key, cents, charged_by FROM ledger ORDER BY rowid")
    return [LedgerRow(str(key), int(str(cents)), str(by)) for key, cents, by in rows]
