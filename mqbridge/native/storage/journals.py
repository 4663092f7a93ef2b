"""Journals: an order of opaque entries that can be replayed, and replaced as a whole by a shorter one.

The rule: a rewrite is all or nothing; whenever it dies, the journal is the old one or the new one, each
whole. What an entry means, and when a rewrite is worth it, is its owner's business.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from mqbridge import errors
from mqbridge.native.storage import disk
from mqbridge.native.storage.frames import HEADER_BYTES, Durability, FrameFile


class Journal(Protocol):
    """An append-only order of entries. Calls on one journal are serialised by its owner."""

    @property
    def size_bytes(self) -> int:
        """Bytes that the entries take, framing included; what a decision to rewrite looks at."""

    def append(self, payload: bytes) -> None:
        """Add an entry, whole or not at all. `Rejected` (retryable) when there is no room."""

    def replay(self) -> Iterator[bytes]:
        """Every entry in order, up to the last one appended before the call."""

    def rewrite(self, payloads: Iterable[bytes]) -> None:
        """Replace all entries at once; durable on return. If it raises with outcome not_applied, nothing
        changed.
        """

    def close(self) -> None:
        """Flush and close; later calls raise `Closed`."""


class MemoryJournal:
    """A journal that ends with the process."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._entries: list[bytes] = []
        self._closed = False

    def append(self, payload: bytes) -> None:
        self._check_open()
        self._entries.append(payload)
        self.size_bytes += HEADER_BYTES + len(payload)

    def replay(self) -> Iterator[bytes]:
        self._check_open()
        return iter(self._entries[:])

    def rewrite(self, payloads: Iterable[bytes]) -> None:
        self._check_open()
        self._entries = list(payloads)
        self.size_bytes = sum(HEADER_BYTES + len(payload) for payload in self._entries)

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise errors.Closed("the journal is closed; nothing was applied")


class FileJournal:
    """A journal in one file. `cut_bytes`: how much of a never confirmed entry opening it cut off. `check` raises when
    the path is not to be used any more.
    """

    def __init__(
        self, path: Path, durability: Durability = "os", check: Callable[[], None] = lambda: None
    ) -> None:
        self._path = path
        self._check = check
        self._durability: Durability = durability
        self._temporary = path.with_name(path.name + ".tmp")
        disk.remove_file(self._temporary)
        self._file = FrameFile(path, durability=durability, tail=True)
        self.cut_bytes = self._file.cut_bytes

    @property
    def size_bytes(self) -> int:
        return self._file.size

    def append(self, payload: bytes) -> None:
        self._file.append(payload)

    def replay(self) -> Iterator[bytes]:
        return (payload for _, payload in self._file.scan())

    def rewrite(self, payloads: Iterable[bytes]) -> None:
        self._file.check_usable()
        self._check()
        disk.remove_file(self._temporary)
        # Flushed once, before the rename, whatever the durability of single entries.
        fresh = FrameFile(self._temporary, tail=True)
        try:
            for payload in payloads:
                fresh.append(payload)
            fresh.sync()
            os.rename(self._temporary, self._path)
        except OSError as error:
            raise disk.disk_error(error, self._path, "rewriting") from error
        finally:
            # The file system, not the control flow, says whether the rename happened: an interrupt may come
            # right after it, and appends to the unlinked old file would be lost.
            if self._temporary.exists():
                fresh.close()
                disk.remove_file(self._temporary)
            else:
                self._file.close()
                fresh.path, fresh.durability = self._path, self._durability
                self._file = fresh
        try:
            disk.flush_folder(self._path.parent)
        except errors.Unreachable:
            # Which of the two files the name leads to after a power cut is not known any more.
            self._file.fail("the folder could not be flushed after a rewrite")
            raise

    def close(self, *, flush: bool = True) -> None:
        """Flush and close. `flush=False`: for a journal whose file is about to be deleted."""
        try:
            if flush and not self._file.closed:
                self._file.sync()
        finally:
            self._file.close()
