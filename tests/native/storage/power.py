"""Losses of power after every system call that changes the disk: only what was flushed is left.

A file has the content of its last flush. A folder has the entries of its last flush (the harshest a file
system may do), or those of the moment (a rename or a removal that reached the disk before the data). What is
flushed is noted by inode, since a rename moves a name and not a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.native.storage.crashing import CHANGING

_FLUSHES = ("fsync", "fdatasync")


class Power:
    """Follows what happens below `root`; `cuts` are the folders that power losses leave, with what `mark`
    said then.
    """

    def __init__(self, root: Path, cuts: Path, *, entries_at_once: bool) -> None:
        self._root = root
        self._into = cuts
        self._at_once = entries_at_once
        self._content: dict[int, bytes] = {}
        self._entries: dict[int, dict[str, int]] = {}
        self._folders: set[int] = set()
        # Files and folders are told apart by inode number, which the file system gives out again once nothing holds the
        # inode: so each one met is held open until the end.
        self._held: list[int] = []
        self.mark: Any = None
        self.cuts: list[tuple[Path, Any]] = []
        self._last: dict[str, bytes | None] | None = None
        for folder, _, files in os.walk(root):
            self._held.append(os.open(folder, os.O_RDONLY))
            self._flushed_folder(Path(folder))
            for name in files:
                path = Path(folder, name)
                self._held.append(os.open(path, os.O_RDONLY))
                self._content[path.stat().st_ino] = path.read_bytes()

    @contextmanager
    def followed(self) -> Iterator[None]:
        real = {name: getattr(os, name) for name in CHANGING}

        def wrap(name: str) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                known = name == "open" and os.path.exists(args[0])
                # The medium is modelled, so a real flush would only take time.
                result: Any = None if name in _FLUSHES else real[name](*args, **kwargs)
                if name == "open" and not known:
                    self._held.append(os.dup(result))
                    self._content[os.fstat(result).st_ino] = b""
                elif name == "mkdir":
                    self._held.append(real["open"](args[0], os.O_RDONLY))
                    self._flushed_folder(Path(args[0]))
                elif name in _FLUSHES:
                    self._flushed(os.fstat(args[0]).st_ino)
                for each in real:
                    setattr(os, each, real[each])
                self._cut()
                for each in real:
                    setattr(os, each, wrapped[each])
                return result

            return call

        wrapped = {name: wrap(name) for name in real}
        try:
            for name in real:
                setattr(os, name, wrapped[name])
            yield
        finally:
            for name in real:
                setattr(os, name, real[name])
            while self._held:
                os.close(self._held.pop())

    def _flushed(self, inode: int) -> None:
        for folder, _, files in os.walk(self._root):
            if os.stat(folder).st_ino == inode:
                self._flushed_folder(Path(folder))
            for name in files:
                path = Path(folder, name)
                if path.stat().st_ino == inode:
                    with open(path, "rb") as file:
                        self._content[inode] = file.read()

    def _flushed_folder(self, folder: Path) -> None:
        inode = folder.stat().st_ino
        self._entries[inode] = {entry.name: entry.stat().st_ino for entry in folder.iterdir()}
        self._folders.add(inode)

    def _cut(self) -> None:
        left = self._left(self._root, self._root.stat().st_ino, "")
        if left == self._last:
            # The same is left as before, and what was promised since has to be in it too.
            self.cuts[-1] = (self.cuts[-1][0], self.mark)
            return
        self._last = left
        folder = self._into / str(len(self.cuts))
        folder.mkdir()
        for name, content in left.items():
            if content is None:
                (folder / name).mkdir()
            else:
                (folder / name).write_bytes(content)
        self.cuts.append((folder, self.mark))

    def _left(self, folder: Path, inode: int, prefix: str) -> dict[str, bytes | None]:
        if self._at_once:
            entries = {entry.name: entry.stat().st_ino for entry in folder.iterdir()}
        else:
            entries = self._entries[inode]
        left: dict[str, bytes | None] = {}
        for name, child in entries.items():
            if child in self._folders:
                left[prefix + name] = None
                left |= self._left(folder / name, child, f"{prefix}{name}/")
            else:
                left[prefix + name] = self._content[child]
        return left
