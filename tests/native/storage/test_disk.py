"""Small files are replaced whole, altered ones are noticed, and errors say what to do."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mqbridge import errors
from mqbridge.native.storage import disk
from tests.native.storage.crashing import deaths


def test_a_sealed_value_is_the_old_or_the_new_one_after_any_death(tmp_path: Path) -> None:
    """Dying at any system call of a replacement leaves the old value or the new one, never a mixture or
    nothing.
    """
    before = tmp_path / "before"
    before.mkdir()
    disk.write_sealed(before / "value", "old")
    seen = []
    for _, folder in deaths(before, tmp_path, lambda folder: disk.write_sealed(folder / "value", "new")):
        seen.append(disk.read_sealed(folder / "value"))
    assert set(seen) == {"old", "new"}
    assert seen == sorted(seen, reverse=True)  # once new, it stays new
    assert seen[-1] == "new"


def test_every_flipped_bit_of_a_sealed_value_is_noticed(tmp_path: Path) -> None:
    """A damaged small file gives its old value or CorruptLog naming it, never another value."""
    path = tmp_path / "value"
    disk.write_sealed(path, 1234567)
    good = path.read_bytes()
    for at in range(len(good)):
        for bit in range(8):
            path.write_bytes(good[:at] + bytes([good[at] ^ (1 << bit)]) + good[at + 1 :])
            try:
                value = disk.read_sealed(path)
            except errors.CorruptLog as error:
                value, named = 1234567, error.file
            else:
                named = str(path)
            assert (value, named) == (1234567, str(path))


@pytest.mark.parametrize(
    ("number", "kind", "retryable"),
    [
        (errno.ENOSPC, errors.Rejected, True),
        (errno.EDQUOT, errors.Rejected, True),
        (errno.EFBIG, errors.Rejected, True),
        (errno.EACCES, errors.Denied, False),
        (errno.EROFS, errors.Denied, False),
        (errno.EIO, errors.Unreachable, True),
        (errno.ENOTDIR, errors.Unreachable, True),
    ],
)
def test_an_os_error_becomes_what_the_caller_decides_by(
    number: int, kind: type[errors.MqbridgeError], retryable: bool
) -> None:
    """No room is a retryable Rejected, no permission is Denied, all else Unreachable; none was applied."""
    error = disk.disk_error(OSError(number, "why"), Path("/some/file"), "appending to")
    assert type(error) is kind
    assert (error.retryable, error.outcome) == (retryable, "not_applied")
    assert "/some/file" in str(error)
