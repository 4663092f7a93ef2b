"""How this room touches the disk: flush, atomically replaced small files, and OSError translated once.

The rule: a change of a directory (create, rename, unlink) counts only after the directory itself was flushed,
and a flush that failed is never tried again. What does not belong here: any format but that of the small
sealed files.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import zlib
from pathlib import Path
from typing import Any

from mqbridge import errors

if sys.platform == "darwin":
    import fcntl

# EFBIG is RLIMIT_FSIZE or the file system's own limit; EDQUOT a quota. All three mean: this write found no
# room.
_FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def disk_error(error: OSError, path: Path, doing: str) -> errors.MqbridgeError:
    """The library's error for an OSError met while `doing` something to `path` that was not applied."""
    reason = f"{doing} {path}: {error.strerror or error}"
    if error.errno in _FULL:
        return errors.Rejected(
            f"no room on the disk while {reason}; nothing was applied: free space, then try again",
            retryable=True,
        )
    if error.errno in _DENIED:
        return errors.Denied(f"not permitted, {reason}; nothing was applied: give this user write access")
    return errors.Unreachable(f"the storage folder failed, {reason}; nothing was applied: check the disk and path")


def flush_failed(error: OSError, path: Path) -> errors.MqbridgeError:
    """The error for a failed flush: what was written since the last good one may be lost."""
    return errors.Unreachable(
        f"flushing {path} failed: {error.strerror or error}; writes since the last flush may "
        "be lost, and the file takes no more of them: check the disk, then open the folder again, which "
        "validates what is there",
        outcome="unknown",
        retryable=False,
    )


def corrupt(path: Path, offset_bytes: int, found: str) -> errors.CorruptLog:
    """A CorruptLog that names the file and the byte."""
    return errors.CorruptLog(
        f"{path} is damaged at byte {offset_bytes}: {found}; nothing was changed: restore it from a copy",
        file=str(path),
        offset_bytes=offset_bytes,
    )


def flush(fd: int) -> None:
    """Put a file's data, and the size needed to read it, on the medium. Raises OSError; never call it again
    then.
    """
    if sys.platform == "darwin":
        # fsync on macOS stops at the drive's cache; F_FULLFSYNC is the documented way through it.
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(fd)


def flush_folder(path: Path) -> None:
    """Make creations, renames and removals in a folder durable."""
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise flush_failed(error, path) from error


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents, durably."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        if path.parent == path:
            break
        path = path.parent
    for folder in reversed(missing):
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise disk_error(error, folder, "creating") from error
        flush_folder(folder.parent)


def remove_file(path: Path) -> None:
    """Remove a file if it is there. The caller flushes the folder."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(error, path, "removing") from error


def replace_file(path: Path, content: bytes) -> None:
    """Replace a small file atomically: after a crash it is the old one or the new one, whole."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            # The data must be on the medium before the name points to it: a rename may reach the disk first.
            flush(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_error(error, path, "replacing") from error
    flush_folder(path.parent)


def write_sealed(path: Path, value: Any) -> None:
    """Replace a small file by a JSON value with its checksum."""
    seal = zlib.crc32(_canonical(value))
    replace_file(path, _canonical({"crc32": seal, "value": value}) + b"\n")


def read_sealed(path: Path) -> Any:
    """What `write_sealed` stored, or None if there is no such file; CorruptLog if it was altered."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise disk_error(error, path, "reading") from error
    try:
        sealed = json.loads(content)
        value, seal = sealed["value"], sealed["crc32"]
    except (ValueError, LookupError, TypeError) as error:
        raise corrupt(path, 0, "not a sealed JSON value") from error
    if seal != zlib.crc32(_canonical(value)):
        raise corrupt(path, 0, "the checksum does not match the value")
    return value


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
