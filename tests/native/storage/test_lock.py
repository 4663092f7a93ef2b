"""One owner a folder; the kernel frees what a dead process held."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mqbridge import errors
from mqbridge.native.storage.lock import FolderLock, KnownFolder

_HOLD = """
import os, sys
from pathlib import Path
from mqbridge.native.storage.lock import FolderLock

lock = FolderLock(Path(sys.argv[1]))
assert lock.try_acquire()
if "fork" not in sys.argv or os.fork() == 0:
    os.write(1, b"%d\\n" % os.getpid())
os.read(0, 1)
"""


def holder(folder: Path, *how: str) -> tuple[subprocess.Popen[bytes], int]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder), *how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def finish(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate(timeout=10)


def test_one_owner_in_a_process(tmp_path: Path) -> None:
    """Of two locks on one folder one is held; when it is released the other can be."""
    one, other = FolderLock(tmp_path / "new"), FolderLock(tmp_path / "new")
    assert one.try_acquire()
    assert one.try_acquire()
    assert not other.try_acquire()
    assert other.holder_pid() == os.getpid()
    other.release()
    assert not other.try_acquire()
    one.release()
    assert one.holder_pid() is None
    assert other.try_acquire()
    other.release()


def test_a_killed_owner_frees_the_lock(tmp_path: Path) -> None:
    """SIGKILL of the owner is enough: no stale lock stays, and until then its pid is known."""
    process, _ = holder(tmp_path)
    lock = FolderLock(tmp_path)
    assert not lock.try_acquire()
    assert lock.holder_pid() == process.pid
    finish(process)
    assert lock.try_acquire()
    lock.release()


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A child forked while the lock was held outlives its parent, and the folder is free all the same."""
    process, child = holder(tmp_path, "fork")
    try:
        process.kill()
        process.wait(timeout=10)
        os.kill(child, 0)  # it is alive
        lock = FolderLock(tmp_path)
        assert lock.try_acquire()
        lock.release()
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate(timeout=10)


def test_a_child_that_releases_does_not_free_its_parents_lock(tmp_path: Path) -> None:
    """What a forked child does to its copy of the lock leaves the parent the owner."""
    lock = FolderLock(tmp_path)
    assert lock.try_acquire()
    child = os.fork()
    if child == 0:
        lock.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert not FolderLock(tmp_path).try_acquire()
    assert lock.holder_pid() == os.getpid()
    lock.release()


def test_a_foreign_folder_gets_no_lock_file(tmp_path: Path) -> None:
    """Locking a folder that is not ours is refused before anything is made in it."""
    (tmp_path / "other").touch()
    with pytest.raises(errors.ConfigurationError):
        FolderLock(tmp_path).try_acquire()
    assert os.listdir(tmp_path) == ["other"]


def test_an_owner_sees_that_its_folder_is_another(tmp_path: Path) -> None:
    """Held and in place: ours. Removed, replaced by a folder with an owner of its own, or released: not ours."""
    folder = tmp_path / "f"
    lock, other = FolderLock(folder), FolderLock(folder)
    assert not lock.still_ours()
    assert lock.try_acquire()
    assert lock.still_ours()
    shutil.rmtree(folder)
    assert not lock.still_ours()
    assert other.try_acquire()
    assert (lock.still_ours(), other.still_ours()) == (False, True)
    with pytest.raises(errors.Unreachable, match="was removed, moved or replaced") as caught:
        lock.check()
    assert (caught.value.outcome, caught.value.retryable) == ("not_applied", False)
    lock.release()
    assert other.holder_pid() == os.getpid()
    other.release()
    assert not other.still_ours()


def test_a_folder_removed_while_it_is_being_locked_is_not_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock on a file that nobody else can find is no lock."""
    folder, flock = tmp_path / "f", fcntl.flock
    lock = FolderLock(folder)

    def remove_and_lock(fd: int, how: int) -> None:
        shutil.rmtree(folder)
        flock(fd, how)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", remove_and_lock)
        assert not lock.try_acquire()
    assert lock.try_acquire()
    lock.release()


def test_a_known_folder_is_recognised_by_whoever_has_no_lock(tmp_path: Path) -> None:
    """Through any number of owners it is the same folder; removed and made again, it is not."""
    folder = tmp_path / "f"
    lock = FolderLock(folder)
    assert lock.try_acquire()
    known = KnownFolder(folder)
    lock.release()
    assert FolderLock(folder).try_acquire()
    known.check()
    for _ in range(10):
        shutil.rmtree(folder)
        with pytest.raises(errors.Unreachable, match="was removed, moved or replaced"):
            known.check()
        lock = FolderLock(folder)
        assert lock.try_acquire()
        with pytest.raises(errors.Unreachable, match="was removed, moved or replaced"):
            known.check()
        lock.release()
    known.close()
    known.close()
