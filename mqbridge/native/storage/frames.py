"""One append-only file of checksummed frames.

The rule: a frame that was confirmed is returned unchanged or `CorruptLog` is raised; only a torn tail, which
nobody was ever told about, may be cut off, and only at the end of the last file of a sequence. What a frame
means is not known here.

Layout: 8 bytes of magic with a version, then frames of u32 length, u32 crc32 of the payload, u32 crc32 of
those eight bytes, payload. The header has a checksum of its own because a damaged length would otherwise look
like a torn tail.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Literal

from mqbridge import errors
from mqbridge.native.storage import disk

Durability = Literal["os", "disk"]

MAGIC = b"MQBfrm\x00\x01"
FIRST_FRAME = len(MAGIC)
HEADER_BYTES = 12
MAX_PAYLOAD_BYTES = (1 << 31) - 1 - HEADER_BYTES  # Linux writes at most 2 GiB in one call

_PAIR = struct.Struct("<II")
_HEADER = struct.Struct("<III")
_READ_AHEAD_BYTES = 1 << 18
_MOST_BUFFERS = 64  # well below IOV_MAX (1,024), above it joining is cheaper anyway

_log = logging.getLogger("mqbridge.native.storage")


class FrameFile:
    """An append-only file of frames, opened or created.

    `tail=True`: the last file of its sequence; it takes appends, every frame is verified on opening, and a
    torn tail is cut off (`cut_bytes` says how much). A torn tail is: fewer bytes than a header, a valid
    header whose payload goes beyond the end, or zeros to the end. `tail=False`: read only, and nothing may be
    missing.

    A page of the last frame that a power cut left unwritten *inside* the file is CorruptLog, not a torn tail:
    it cannot be told from damage to a confirmed frame, and ext4 and XFS do not grow a file before its data is
    written.

    `durability="os"`: an appended frame survives the end of the process; `"disk"`: each append is flushed and
    survives loss of power. `visit(position, payload)` is called for each frame found on opening a tail. Calls
    on one file are serialised by its owner. Errors: `Rejected` when the disk is full, with nothing of the
    frame left; `Unreachable` with outcome unknown after a failed flush, and from then on for all calls;
    `CorruptLog`; `Closed`.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability = "os",
        tail: bool,
        visit: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self.path = path
        self.durability: Durability = durability
        self.cut_bytes = 0
        self.size = 0
        self._tail = tail
        self._failure: str | None = None
        self._fd = -1
        try:
            if tail:
                self._open_tail(visit)
            else:
                self._fd = os.open(path, os.O_RDONLY)
                self._check_magic()
        except OSError as error:
            self._release()
            if isinstance(error, FileNotFoundError) and not tail:
                raise disk.corrupt(path, 0, "the file is missing") from error
            raise disk.disk_error(error, path, "opening") from error
        except BaseException:
            self._release()
            raise

    @property
    def closed(self) -> bool:
        """Whether `close` was called, and nothing had failed before."""
        return self._failure == ""

    @property
    def failed(self) -> bool:
        """Whether a flush, or taking back a frame, failed; then only opening the file again helps."""
        return bool(self._failure)

    def append(self, payload: bytes | list[bytes]) -> int:
        """Append one frame, whole or not at all, and return its position; a list is written as if joined."""
        self.check_usable()
        if not self._tail:
            raise ValueError(f"{self.path} is not the last file of its sequence and takes no appends")
        parts = [payload] if isinstance(payload, bytes) else payload
        length = crc = 0
        for part in parts:
            length += len(part)
            crc = zlib.crc32(part, crc)
        if length > MAX_PAYLOAD_BYTES:
            raise ValueError(f"a frame of {length} bytes is above the limit of {MAX_PAYLOAD_BYTES}")
        head = _PAIR.pack(length, crc)
        position = self.size
        try:
            self._write([head, zlib.crc32(head).to_bytes(4, "little"), *parts], HEADER_BYTES + length)
            self.size = position + HEADER_BYTES + length
        except OSError as error:
            self.cut(position)
            raise disk.disk_error(error, self.path, "appending to") from error
        except BaseException:
            # Ctrl-C between the write and the line after it must not leave a frame that `size` does not know.
            self.cut(position)
            raise
        if self.durability == "disk":
            self.sync()
        return position

    def read(self, position: int) -> bytes:
        """The payload of the frame at `position`, verified."""
        self.check_usable()
        if not FIRST_FRAME <= position < self.size:
            raise ValueError(f"no frame begins at {position} of {self.path}, which has {self.size} bytes")
        payload = self._frame(self._pread, position, self.size)
        if payload is None:
            raise disk.corrupt(self.path, position, "an incomplete frame")
        return payload

    def scan(self, position: int = 0) -> Iterator[tuple[int, bytes]]:
        """Each frame from `position` (0: the first) to the present end: (position, payload), verified."""
        self.check_usable()
        position = yield from self._walk(max(position, FIRST_FRAME), self.size)
        if position != self.size:
            raise disk.corrupt(self.path, position, "an incomplete frame in a file that must be whole")

    def cut(self, position: int) -> None:
        """Take back what was written from `position` on; for frames that were never confirmed."""
        try:
            os.ftruncate(self._fd, position)
        except OSError as error:
            self.fail(f"an incomplete frame at byte {position} could not be taken back: {error.strerror or error}")
            raise errors.Unreachable(
                f"{self.path} was given up: {self._failure}; opening the folder again shows whether the frame is there",
                outcome="unknown",
                retryable=False,
            ) from error
        self.size = position

    def sync(self) -> None:
        """Flush to the medium. After a failure the file is closed for good."""
        self.check_usable()
        try:
            disk.flush(self._fd)
        except OSError as error:
            # The kernel marks the pages clean after a failed fsync and reports it once: a second one succeeds
            # without having written anything, and what the cache shows is not what the medium has
            # ("fsyncgate", 2018; Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC
            # 2020). So: stop, and validate anew.
            self.fail(f"a flush failed: {error.strerror or error}")
            raise disk.flush_failed(error, self.path) from error

    def close(self) -> None:
        """Close without flushing; harmless when closed."""
        if self._failure is None:
            self._failure = ""
        self._release()

    def check_usable(self) -> None:
        """Raise what every call on a closed or failed file raises."""
        if self._failure is None:
            return
        if not self._failure:
            raise errors.Closed(f"{self.path} is closed; nothing was applied: open the folder again")
        raise errors.Unreachable(
            f"{self.path} was given up because {self._failure}; nothing was applied: open the folder again",
            retryable=False,
        )

    def fail(self, reason: str) -> None:
        """Give the file up: every later call says why. Not for a file that was closed in good order."""
        self._failure = reason
        self._release()

    def _open_tail(self, visit: Callable[[int, bytes], None] | None) -> None:
        # O_APPEND, so that no bug of ours can ever overwrite a confirmed byte.
        flags = os.O_RDWR | os.O_APPEND
        try:
            self._fd = os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            self._fd = os.open(self.path, flags)
            self._recover(visit)
        else:
            try:
                self._begin()
                disk.flush_folder(self.path.parent)
            except BaseException:
                # An empty file left behind would look like a later file of the sequence.
                os.unlink(self.path)
                raise

    def _begin(self) -> None:
        self._write([MAGIC], len(MAGIC))
        if self.durability == "disk":
            disk.flush(self._fd)
        self.size = FIRST_FRAME

    def _recover(self, visit: Callable[[int, bytes], None] | None) -> None:
        end = os.fstat(self._fd).st_size
        head = os.pread(self._fd, FIRST_FRAME, 0)
        if head != MAGIC and self._is_zero(0) or MAGIC.startswith(head) and len(head) < len(MAGIC):
            # The process ended while it created the file: no frame can have been confirmed yet.
            self.cut_bytes = end
            os.ftruncate(self._fd, 0)
            self._begin()
            return
        self._check_magic()
        walk = self._walk(FIRST_FRAME, end)
        try:
            while True:
                frame = next(walk)
                if visit is not None:
                    visit(*frame)
        except StopIteration as stop:
            good: int = stop.value
        self.size = end
        if good < end:
            self.cut_bytes = end - good
            _log.warning("%s: cut off %d bytes of a frame that was never confirmed", self.path, self.cut_bytes)
            self.cut(good)
            # Otherwise a power cut after the next append could bring old bytes back behind it.
            disk.flush(self._fd)

    def _check_magic(self) -> None:
        self.size = os.fstat(self._fd).st_size
        head = os.pread(self._fd, FIRST_FRAME, 0)
        if head != MAGIC:
            raise disk.corrupt(self.path, 0, f"it begins with {head!r}, not with {MAGIC!r}")

    def _walk(self, position: int, end: int) -> Generator[tuple[int, bytes], None, int]:
        """Yield whole frames; return where a torn tail begins, or the end. CorruptLog for anything else."""
        window = b""
        start = position

        def get(at: int, length: int) -> bytes:
            nonlocal window, start
            if at + length > start + len(window):
                start = at
                window = self._pread(at, max(length, _READ_AHEAD_BYTES))
            return window[at - start : at - start + length]

        while position < end:
            payload = self._frame(get, position, end)
            if payload is None:
                return position
            yield position, payload
            position += HEADER_BYTES + len(payload)
        return position

    def _frame(self, get: Callable[[int, int], bytes], position: int, end: int) -> bytes | None:
        """The payload at `position` of the file's first `end` bytes; None if it is a torn tail."""
        if position + HEADER_BYTES > end:
            return None
        header = get(position, HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            raise disk.corrupt(self.path, position, "the file was cut while it was open")
        length, crc, check = _HEADER.unpack(header)
        if zlib.crc32(header[:8]) != check:
            if self._is_zero(position):
                return None
            raise disk.corrupt(self.path, position, "the header of a frame fails its checksum")
        if position + HEADER_BYTES + length > end:
            return None
        payload = get(position + HEADER_BYTES, length)
        if len(payload) < length or zlib.crc32(payload) != crc:
            raise disk.corrupt(self.path, position, f"the {length} bytes of a frame fail their checksum")
        return payload

    def _pread(self, position: int, length: int) -> bytes:
        try:
            return os.pread(self._fd, length, position)
        except OSError as error:
            raise disk.disk_error(error, self.path, "reading") from error

    def _is_zero(self, position: int) -> bool:
        while chunk := self._pread(position, _READ_AHEAD_BYTES):
            if chunk.count(0) != len(chunk):
                return False
            position += len(chunk)
        return True

    def _write(self, buffers: list[bytes], total: int) -> None:
        if len(buffers) > _MOST_BUFFERS:
            buffers = [b"".join(buffers)]
        written = os.writev(self._fd, buffers)
        if written < total:
            # A short write names no reason; asking for the rest gets it, or finishes.
            rest = memoryview(b"".join(buffers))[written:]
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def _release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
