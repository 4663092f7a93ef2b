"""A frame that was confirmed comes back unchanged or the file is called corrupt; only a torn tail
is cut off.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mqbridge import errors
from mqbridge.native.storage.frames import FIRST_FRAME, HEADER_BYTES, FrameFile

PAYLOADS = [b"first", b"", b"the third one", bytes(20)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "frames"


def write(path: Path, payloads: Sequence[bytes] = PAYLOADS) -> list[int]:
    file = FrameFile(path, tail=True)
    positions = [file.append(payload) for payload in payloads]
    file.close()
    return positions


def read(path: Path, *, tail: bool = True) -> list[bytes]:
    file = FrameFile(path, tail=tail)
    try:
        return [payload for _, payload in file.scan()]
    finally:
        file.close()


def test_frames_come_back_in_order_by_position_and_by_scan(path: Path) -> None:
    """What append returned finds the frame again, at once and in a file opened later, read-only or not."""
    positions = write(path)
    for tail in (True, False):
        file = FrameFile(path, tail=tail)
        assert [file.read(position) for position in positions] == PAYLOADS
        assert list(file.scan()) == list(zip(positions, PAYLOADS, strict=True))
        assert list(file.scan(positions[2])) == list(zip(positions, PAYLOADS, strict=True))[2:]
        assert (file.size, file.cut_bytes) == (path.stat().st_size, 0)
        file.close()


def test_parts_make_one_frame(path: Path) -> None:
    """A list is written as if joined, also one longer than a vectored write takes."""
    file = FrameFile(path, tail=True)
    for parts in ([b"a", b"", b"bc"], [], [b"x"] * 2000):
        assert file.read(file.append(parts)) == b"".join(parts)
    file.close()


def test_frames_beyond_the_read_ahead_are_scanned(path: Path) -> None:
    """Frames across and above the size of one read come back whole."""
    payloads = [os.urandom(size) for size in (200_000, 100_000, 700_000, 5)]
    write(path, payloads)
    assert read(path) == payloads


def test_torn_at_every_byte_the_frames_before_stay(path: Path) -> None:
    """Cut anywhere in its last frame, the file opens with all the others, says what it cut, and takes
    appends.
    """
    last = write(path)[-1]
    whole = path.read_bytes()
    for end in range(last, len(whole)):
        path.write_bytes(whole[:end])
        file = FrameFile(path, tail=True)
        assert [payload for _, payload in file.scan()] == PAYLOADS[:-1]
        assert file.cut_bytes == end - last
        file.append(b"after")
        file.close()
        assert read(path) == [*PAYLOADS[:-1], b"after"]


@pytest.mark.parametrize("zeros", [1, 11, 12, 13, 4096, 300_000])
def test_zeros_at_the_end_are_a_torn_tail(path: Path, zeros: int) -> None:
    """A file that grew before its data arrived is cut back to its frames."""
    write(path)
    good = path.read_bytes()
    path.write_bytes(good + bytes(zeros))
    assert read(path) == PAYLOADS
    assert path.read_bytes() == good


def test_every_flipped_bit_is_corruption(path: Path) -> None:
    """No flipped bit, and no byte replaced, gives other content or fewer frames; the error names file and
    frame.
    """
    starts = [0, *write(path)]
    good = path.read_bytes()
    for at in range(len(good)):
        for mask in (1, 2, 4, 8, 16, 32, 64, 128, 255, good[at]):
            if not mask:
                continue  # the byte is zero already
            damaged = good[:at] + bytes([good[at] ^ mask]) + good[at + 1 :]
            path.write_bytes(damaged)
            for tail in (True, False):
                with pytest.raises(errors.CorruptLog) as caught:
                    read(path, tail=tail)
                assert caught.value.file == str(path)
                assert caught.value.offset_bytes == max(start for start in starts if start <= at)
            assert path.read_bytes() == damaged


def test_a_flipped_bit_beside_a_torn_tail_costs_no_confirmed_frame(path: Path) -> None:
    """With half a frame at the end, a flip is CorruptLog with nothing cut, or it lies in that half and goes
    with it.
    """
    last = write(path)[-1]
    torn = path.read_bytes()[: last + HEADER_BYTES + 3]
    for at in range(len(torn)):
        damaged = torn[:at] + bytes([torn[at] ^ 0x10]) + torn[at + 1 :]
        path.write_bytes(damaged)
        try:
            assert read(path) == PAYLOADS[:-1]
            assert at >= last
        except errors.CorruptLog:
            assert path.read_bytes() == damaged


def test_only_the_last_file_may_be_torn(path: Path) -> None:
    """In a file that others follow, an incomplete frame is CorruptLog at the frame, and stays for
    inspection.
    """
    last = write(path)[-1]
    for torn in (path.read_bytes()[:-1], path.read_bytes()[: last + 5], path.read_bytes() + bytes(50)):
        path.write_bytes(torn)
        with pytest.raises(errors.CorruptLog) as caught:
            read(path, tail=False)
        assert caught.value.offset_bytes in (last, len(torn) - 50)
        assert path.read_bytes() == torn


def test_a_file_that_was_never_finished_begins_anew(path: Path) -> None:
    """Death while a file was created, at any byte of its magic, leaves one that opens empty; another file's
    does not.
    """
    write(path, [])
    magic = path.read_bytes()
    for torn in (*(magic[:length] for length in range(len(magic))), bytes(3), bytes(5000)):
        path.write_bytes(torn)
        assert read(path) == []
        assert path.read_bytes() == magic
    for foreign in (b"#!/bin/sh\n", b"x", magic[:7] + b"\x02"):
        path.write_bytes(foreign)
        with pytest.raises(errors.CorruptLog):
            FrameFile(path, tail=True)
        assert path.read_bytes() == foreign


def test_a_missing_file_of_a_sequence_is_corruption(path: Path) -> None:
    """A file that should be there and is not is CorruptLog, and is not created."""
    with pytest.raises(errors.CorruptLog):
        FrameFile(path, tail=False)
    assert not path.exists()


def test_only_the_last_file_takes_appends(path: Path) -> None:
    """Appending to a file that others follow is refused."""
    write(path)
    file = FrameFile(path, tail=False)
    with pytest.raises(ValueError):
        file.append(b"x")
    file.close()


def half_written_then(error: BaseException) -> Callable[..., int]:
    def writev(fd: int, buffers: Sequence[bytes]) -> int:
        whole = b"".join(buffers)
        os.write(fd, whole[: len(whole) // 2])
        raise error

    return writev


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_leaves_nothing_of_the_frame(path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """An append that finds no room is Rejected, retryable, takes back what it wrote, and works when there is
    room.
    """
    write(path)
    good = path.read_bytes()
    file = FrameFile(path, tail=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", half_written_then(OSError(number, "full")))
        for _ in range(2):
            with pytest.raises(errors.Rejected) as caught:
                file.append(b"no room for this")
            assert (caught.value.retryable, caught.value.outcome) == (True, "not_applied")
            assert isinstance(caught.value.__cause__, OSError)
            assert path.read_bytes() == good
    file.append(b"room again")
    file.close()
    assert read(path) == [*PAYLOADS, b"room again"]


def test_an_interrupt_leaves_nothing_of_the_frame(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of an append passes through, and the file is as before it."""
    write(path)
    good = path.read_bytes()
    file = FrameFile(path, tail=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", half_written_then(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            file.append(b"interrupted")
    assert path.read_bytes() == good
    file.append(b"next")
    file.close()
    assert read(path) == [*PAYLOADS, b"next"]


def test_a_short_write_is_finished(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the kernel takes a part and names no error, the rest follows."""

    def short(fd: int, buffers: Sequence[bytes]) -> int:
        return os.write(fd, b"".join(buffers)[:7])

    file = FrameFile(path, tail=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", short)
        file.append(b"a long enough payload")
    file.close()
    assert read(path) == [b"a long enough payload"]


_AT_THE_LIMIT = """
import resource, sys
from pathlib import Path
from mqbridge import errors
from mqbridge.native.storage.frames import FrameFile

path = Path(sys.argv[1])
file = FrameFile(path, tail=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
written = refused = 0
while refused < 3:
    try:
        file.append(bytes([written]) * 999)
        written += 1
    except errors.Rejected as error:
        assert error.retryable and isinstance(error.__cause__, OSError), error
        assert path.stat().st_size == file.size, "a part of the frame was left"
        refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
file.append(b"room again")
sys.stdout.write(str(written))
"""


def test_the_kernels_own_refusal_leaves_nothing_of_the_frame(path: Path) -> None:
    """At a real limit of the file size, where the kernel writes a part first, frames are whole or not
    there.
    """
    done = subprocess.run([sys.executable, "-c", _AT_THE_LIMIT, str(path)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    written = int(done.stdout)
    assert written == (10_000 - FIRST_FRAME) // (999 + HEADER_BYTES)
    assert read(path) == [*(bytes([i]) * 999 for i in range(written)), b"room again"]


def test_after_a_failed_flush_the_file_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush that failed is never tried again: its append is unknown, and every later call is refused."""
    flushes = []

    def failing(fd: int) -> None:
        flushes.append(fd)
        raise OSError(errno.EIO, "medium")

    file = FrameFile(path, durability="disk", tail=True)
    kept = file.append(b"kept")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing)
        with pytest.raises(errors.Unreachable) as caught:
            file.append(b"in doubt")
        assert (caught.value.outcome, caught.value.retryable) == ("unknown", False)
    for call in (lambda: file.append(b"x"), file.sync, lambda: file.read(kept), lambda: list(file.scan())):
        with pytest.raises(errors.Unreachable) as refused:
            call()
        assert (refused.value.outcome, refused.value.retryable) == ("not_applied", False)
    assert len(flushes) == 1
    assert file.failed
    assert read(path)[0] == b"kept"


def test_durability_decides_on_the_flush(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With "disk" each append is flushed after its write, with "os" none is."""
    calls: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any) -> Any:
            calls.append(name)
            return real(*args)

        return call

    files = {"disk": FrameFile(path, durability="disk", tail=True)}
    files["os"] = FrameFile(path.with_name("os"), durability="os", tail=True)
    for name in ("writev", "fdatasync"):
        monkeypatch.setattr(os, name, noted(name))
    for durability, expected in (("disk", ["writev", "fdatasync"] * 2), ("os", ["writev"] * 2)):
        calls.clear()
        files[durability].append(b"a")
        files[durability].append(b"b")
        assert calls == expected
        files[durability].close()


def test_a_file_that_cannot_be_created_is_not_left_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room even for a new file's first bytes: Rejected, and no empty file that looks like a
    later segment.
    """
    monkeypatch.setattr(os, "writev", half_written_then(OSError(errno.ENOSPC, "full")))
    with pytest.raises(errors.Rejected):
        FrameFile(path, tail=True)
    assert not path.exists()


def test_a_closed_file_says_so(path: Path) -> None:
    """Calls after close raise Closed, and closing twice is harmless."""
    file = FrameFile(path, tail=True)
    file.close()
    file.close()
    with pytest.raises(errors.Closed):
        file.append(b"x")
    assert file.closed
    assert not file.failed
