"""The door of this room: journals and partition logs by name, in memory or in a folder.

The rule: names in, opaque journals and logs out, one object for each while it is open. The folder's lock is
not taken here (`lock`): whoever opens a `FolderStore` holds it already.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mqbridge import errors
from mqbridge.native.storage import disk
from mqbridge.native.storage.frames import Durability
from mqbridge.native.storage.journals import FileJournal, Journal, MemoryJournal
from mqbridge.native.storage.layout import IDENTITY, prepare_folder, quote
from mqbridge.native.storage.logs import SEGMENT_BYTES, FilePartitionLog, MemoryPartitionLog, PartitionLog
from mqbridge.native.storage.markers import Marker

CLEAN = "clean.json"
_TOPICS = "topics"
_JOURNALS = "journals"
# What a crash may leave, the lock and the host's socket: none of it holds anything confirmed.
_PASSING = (".tmp", ".lock", ".sock")
_REMOVED = ".removed-"  # no quoted name begins with a dot


_log = logging.getLogger("mqbridge.native.storage")


class Store(Protocol):
    """Where an engine keeps its bytes. Calls are serialised by the owner; `Closed` after `close`."""

    @property
    def epoch(self) -> int:
        """How often this store was opened, from 1: a higher one fences what a lower one promised."""

    def journal(self, name: str) -> Journal:
        """The journal of that name, made if it is missing."""

    def partition_log(self, topic: str, partition: int) -> PartitionLog:
        """The log of a partition, made if it is missing."""

    def remove_topic(self, topic: str) -> None:
        """Delete all logs of a topic, durably and at once; harmless if there is none."""

    def remove_journal(self, name: str) -> None:
        """Delete a journal, durably; harmless if there is none."""

    def close(self) -> None:
        """Flush and close everything; harmless when closed."""


class MemoryStore:
    """A store that ends with the process."""

    def __init__(self, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.epoch = 1
        self._segment_bytes = segment_bytes
        self._closed = False
        self._journals: dict[str, MemoryJournal] = {}
        self._logs: dict[tuple[str, int], MemoryPartitionLog] = {}

    def journal(self, name: str) -> Journal:
        _check_open(self._closed)
        if name not in self._journals:
            self._journals[name] = MemoryJournal()
        return self._journals[name]

    def partition_log(self, topic: str, partition: int) -> PartitionLog:
        _check_open(self._closed)
        key = (topic, partition)
        if key not in self._logs:
            self._logs[key] = MemoryPartitionLog(segment_bytes=self._segment_bytes)
        return self._logs[key]

    def remove_topic(self, topic: str) -> None:
        _check_open(self._closed)
        for key in [key for key in self._logs if key[0] == topic]:
            self._logs.pop(key).close()

    def remove_journal(self, name: str) -> None:
        _check_open(self._closed)
        journal = self._journals.pop(name, None)
        if journal is not None:
            journal.close()

    def close(self) -> None:
        self._closed = True
        for log in self._logs.values():
            log.close()
        for journal in self._journals.values():
            journal.close()


class FolderStore:
    """A store in a folder, for the one process that holds the folder's lock.

    Opening refuses a foreign or newer folder (`ConfigurationError`, nothing touched); `Unreachable` or
    `Denied` if it cannot be used. After a clean close, a file that has become shorter or is gone is
    `CorruptLog`: a cut between two frames looks like nothing else. After a crash such a cut cannot be seen.
    Each log is verified when it is opened. `check` is called before anything is made, replaced or removed by its path,
    and raises when the folder there is not the one that was opened: then nothing in it is touched.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability = "os",
        segment_bytes: int = SEGMENT_BYTES,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._check = check
        self._durability: Durability = durability
        self._segment_bytes = segment_bytes
        self._closed = False
        self._journals: dict[str, FileJournal] = {}
        self._logs: dict[tuple[str, int], FilePartitionLog] = {}
        prepare_folder(path)
        self._check_clean()
        self._epoch = self._raise_epoch()
        for folder in (path / _TOPICS, path / _JOURNALS):
            disk.make_folder(folder)
        for leftover in (path / _TOPICS).glob(_REMOVED + "*"):
            _remove_tree(leftover)

    @property
    def epoch(self) -> int:
        return self._epoch

    def journal(self, name: str) -> Journal:
        _check_open(self._closed)
        if name not in self._journals:
            self._check()
            self._journals[name] = FileJournal(self._journal_path(name), self._durability, self._check)
        return self._journals[name]

    def partition_log(self, topic: str, partition: int) -> PartitionLog:
        _check_open(self._closed)
        key = (topic, partition)
        if key not in self._logs:
            self._check()
            self._logs[key] = FilePartitionLog(
                self._path / _TOPICS / quote(topic) / str(partition),
                segment_bytes=self._segment_bytes,
                durability=self._durability,
                check=self._check,
            )
        return self._logs[key]

    def remove_topic(self, topic: str) -> None:
        _check_open(self._closed)
        self._check()
        for key in [key for key in self._logs if key[0] == topic]:
            self._logs.pop(key).close(flush=False)
        topics, name = self._path / _TOPICS, quote(topic)
        removed = topics / (_REMOVED + name)
        if removed.exists():
            _remove_tree(removed)
        try:
            # One rename takes all partitions away at once; deleting file by file could die half-way.
            (topics / name).rename(removed)
        except FileNotFoundError:
            return
        except OSError as error:
            raise disk.disk_error(error, topics / name, "removing") from error
        disk.flush_folder(topics)
        _remove_tree(removed)

    def remove_journal(self, name: str) -> None:
        _check_open(self._closed)
        self._check()
        journal = self._journals.pop(name, None)
        if journal is not None:
            journal.close(flush=False)
        path = self._journal_path(name)
        if path.exists():
            disk.remove_file(path)
            disk.flush_folder(path.parent)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        failures: list[errors.MqbridgeError] = []
        resources: list[FilePartitionLog | FileJournal] = [*self._logs.values(), *self._journals.values()]
        try:
            self._check()
        except errors.MqbridgeError:
            for resource in resources:
                resource.close(flush=False)
            raise
        for resource in resources:
            try:
                resource.close()
            except errors.MqbridgeError as error:
                failures.append(error)
        if failures:
            # No mark of a clean close then: what is there has to be taken as after a crash.
            raise failures[0]
        sizes = self._flushed_sizes()
        # Once more: flushing takes its time, and in another's folder the mark would be a lie.
        self._check()
        try:
            disk.write_sealed(self._path / CLEAN, sizes)
        except errors.Rejected:
            # Everything is flushed; without the mark the next opening only knows less about what others did to it.
            _log.warning("%s: no room for the mark of a clean close", self._path)

    def _journal_path(self, name: str) -> Path:
        return self._path / _JOURNALS / (quote(name) + ".journal")

    def _flushed_sizes(self) -> dict[str, int]:
        """The size of each file, flushed: a file that only an earlier, crashed process wrote to included."""
        sizes = {}
        for path in sorted(self._path.rglob("*")):
            name = path.relative_to(self._path).as_posix()
            if not path.is_file() or name in (CLEAN, IDENTITY) or path.suffix in _PASSING:
                continue
            try:
                fd = os.open(path, os.O_RDONLY)
                try:
                    disk.flush(fd)
                    sizes[name] = os.fstat(fd).st_size
                finally:
                    os.close(fd)
            except OSError as error:
                raise disk.flush_failed(error, path) from error
        return sizes

    def _check_clean(self) -> None:
        mark = self._path / CLEAN
        sizes: dict[str, int] | None = disk.read_sealed(mark)
        if sizes is None:
            return
        for name, size in sorted(sizes.items()):
            path = self._path / name
            found = path.stat().st_size if path.exists() else -1
            if found < size:
                raise disk.corrupt(
                    path,
                    max(found, 0),
                    f"it had {size} bytes at the last clean close (to accept the loss, remove {mark})",
                )
        disk.remove_file(mark)
        disk.flush_folder(self._path)

    def _raise_epoch(self) -> int:
        marker = Marker(self._path, "epoch")
        if marker.number is None:
            if (self._path / _TOPICS).exists() or (self._path / _JOURNALS).exists():
                raise disk.corrupt(
                    self._path, 0, "its epoch file is missing, and without it old promises are not fenced"
                )
        epoch = (marker.number or 0) + 1
        marker.move(epoch)
        return epoch


def _check_open(closed: bool) -> None:
    if closed:
        raise errors.Closed("the store is closed; nothing was applied: open it again")


def _remove_tree(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise disk.disk_error(error, path, "removing") from error
