"""A number in a file name changes whole, and on a disk without any room."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from mqbridge import errors
from mqbridge.native.storage.markers import Marker
from tests.native.storage.crashing import deaths


def test_a_marker_is_the_old_or_the_new_number_after_any_death(tmp_path: Path) -> None:
    """Dying at any system call of a move leaves the old number or the new one."""
    before = tmp_path / "before"
    before.mkdir()
    assert Marker(before, "start").number is None
    Marker(before, "start").move(99)
    Marker(before, "other").move(1)
    seen = [Marker(folder, "start").number for _, folder in deaths(before, tmp_path, _move)]
    assert seen == [99, 100, 100, 100]
    assert Marker(before, "other").number == 1


def _move(folder: Path) -> None:
    Marker(folder, "start").move(100)


def test_a_move_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no file can be made or grow, the number moves all the same."""

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "full")

    marker = Marker(tmp_path, "start")
    marker.move(1)
    real = os.open
    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(os, "writev", full)
    monkeypatch.setattr(os, "open", lambda path, flags, *mode: full() if mode else real(path, flags))
    marker.move(2)
    assert Marker(tmp_path, "start").number == 2


def test_two_markers_are_corruption(tmp_path: Path) -> None:
    """No crash leaves two numbers of a kind, so it is not guessed which one counts."""
    for number in (1, 2):
        (tmp_path / f"{number:020d}.start").touch()
    with pytest.raises(errors.CorruptLog):
        Marker(tmp_path, "start")
