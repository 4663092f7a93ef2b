"""Which process owns a storage folder.

The rule: the kernel holds the lock, so a crash frees it and no stale lock can exist. The lock file is never
removed: a process that waits on the old file and one that made a new one would both believe they own the
folder. Whoever removes or replaces the whole folder brings just that about, so it can be asked whether the path
still leads to what was locked.
"""

from __future__ import annotations

import errno
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
        if not _leads_to(self._file, fd):
            # Removed between the opening and the locking: what is locked is nobody's folder. Like a lost race.
            os.close(fd)
            return False
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

    def still_ours(self) -> bool:
        """Whether the lock is held and the path still leads to what was locked. Two system calls."""
        return self._fd >= 0 and _leads_to(self._file, self._fd)

    def check(self) -> None:
        """Raise `folder_gone` unless it is `still_ours`; for whoever is about to change the folder by its path."""
        if not self.still_ours():
            raise folder_gone(self._folder)

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


class KnownFolder:
    """Recognises a folder again without owning it, by its lock file.

    The file is kept open, unlocked: the number of an inode that is open is given to no other file.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path
        self._file = path / LOCK_FILE
        try:
            self._fd = os.open(self._file, os.O_RDONLY)
        except FileNotFoundError as error:
            raise folder_gone(path) from error
        except OSError as error:
            raise disk.disk_error(error, self._file, "opening") from error

    def check(self) -> None:
        """Raise `folder_gone` if the path leads to another folder now, or nowhere."""
        if not _leads_to(self._file, self._fd):
            raise folder_gone(self._folder)

    def detach(self) -> int:
        """Give the descriptor away, to be closed; -1 if it is gone already."""
        fd, self._fd = self._fd, -1
        return fd

    def close(self) -> None:
        """Harmless when closed."""
        fd = self.detach()
        if fd >= 0:
            os.close(fd)


def folder_gone(folder: Path) -> errors.Unreachable:
    """The error of everything that is asked of a folder which is not the one that was opened."""
    return errors.Unreachable(
        f"the folder {folder} was removed, moved or replaced while it was open; nothing was applied and nothing is "
        "written there any more, and what was confirmed in it may be gone, above all since then: see what became of "
        "the folder, then connect again",
        retryable=False,
    )


def _leads_to(path: Path, fd: int) -> bool:
    try:
        found = os.stat(path)
    except OSError as error:
        # Anything else, a path that may not be searched for one, does not say that the folder is another.
        return error.errno not in _GONE
    return os.path.samestat(found, os.fstat(fd))


_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, getattr(errno, "ESTALE", errno.ENOENT)})
_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _close_in_child() -> None:
    for lock in list(_held):
        lock._forget()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_close_in_child)
