"""Which process owns a storage folder.

The rule: the kernel holds the lock, so a crash frees it and no stale lock can exist. The lock file is never
removed: a process that waits on the old file and one that made a new one would both believe they own the
folder.
"""

from __future__ import annotations

import os
import sys
import weakref
from pathlib import Path

from mqbridge import errors
from mqbridge.native.storage import disk, layout

if sys.platform != "win32":
    import fcntl

LOCK_FILE = "mqbridge.lock"


class FolderLock:
    """An exclusive, advisory lock on a storage folder, by flock(2); one owner among processes and in one
    process.

    A foreign or newer folder is refused before anything is made in it, as by `layout.inspect_folder`. flock
    belongs to the open file description, which a forked child shares: a child that outlives its parent would
    keep the folder locked. So the child's copy is closed at fork, and only the parent owns the lock; a child
    that never runs Python after fork is covered by close-on-exec (PEP 446). Not for network file systems.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path
        self._file = path / LOCK_FILE
        self._fd = -1

    def try_acquire(self) -> bool:
        """Take the lock if it is free; False if another owner has it; True again if it is ours."""
        if self._fd >= 0:
            return True
        if sys.platform == "win32":
            raise errors.Unsupported(
                "a storage folder needs flock, which Windows does not have",
                capability="folder",
                instead="native:",
            )
        layout.inspect_folder(self._folder)
        disk.make_folder(self._folder)
        try:
            fd = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise disk.disk_error(error, self._file, "opening") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except OSError as error:
            os.close(fd)
            raise disk.disk_error(error, self._file, "locking") from error
        self._fd = fd
        _held.add(self)
        self._write_pid(f"{os.getpid()}\n")
        return True

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._fd < 0:
            return
        self._write_pid("")
        self._forget()

    def holder_pid(self) -> int | None:
        """The process that wrote itself down as owner: for messages, not proof (it may have died)."""
        try:
            return int(self._file.read_text())
        except (OSError, ValueError):
            return None

    def _write_pid(self, text: str) -> None:
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, text.encode(), 0)
        except OSError as error:
            self._forget()
            raise disk.disk_error(error, self._file, "writing") from error

    def _forget(self) -> None:
        # Closing frees the lock unless a copy of the description is open elsewhere; no LOCK_UN, which in a
        # forked child would free the parent's.
        fd, self._fd = self._fd, -1
        _held.discard(self)
        os.close(fd)


_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _close_in_child() -> None:
    for lock in list(_held):
        lock._forget()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_close_in_child)
