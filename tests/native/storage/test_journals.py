"""Journals replay what was appended, and a rewrite is all or nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqbridge import errors
from mqbridge.native.storage.journals import FileJournal, Journal, MemoryJournal
from tests.native.storage.crashing import deaths

OLD = [b"old-%d" % i for i in range(4)]
NEW = [b"new"]


@pytest.fixture(params=["memory", "file"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    made: Journal = MemoryJournal() if request.param == "memory" else FileJournal(tmp_path / "journal")
    yield made
    made.close()


def reopened(path: Path) -> list[bytes]:
    journal = FileJournal(path)
    entries = list(journal.replay())
    journal.close()
    return entries


def test_entries_replay_in_order_and_rewrites_replace_them(journal: Journal) -> None:
    """A replay gives each entry once, in order; after a rewrite it gives the new ones and what came later."""
    for payload in OLD:
        journal.append(payload)
    grown = journal.size_bytes
    assert list(journal.replay()) == OLD
    journal.rewrite(NEW)
    assert journal.size_bytes < grown
    journal.append(b"later")
    assert list(journal.replay()) == [*NEW, b"later"]
    journal.rewrite([])
    assert list(journal.replay()) == []


def test_a_rewrite_may_read_what_it_replaces(journal: Journal) -> None:
    """Compaction as a filter over the replay works, although the entries come lazily."""
    for payload in OLD:
        journal.append(payload)
    journal.rewrite(entry for entry in journal.replay() if entry != OLD[1])
    assert list(journal.replay()) == [OLD[0], *OLD[2:]]


def test_a_rewrite_whose_entries_fail_changes_nothing(journal: Journal) -> None:
    """An error while the new entries are made leaves the old ones, and the journal usable."""

    def entries() -> Iterator[bytes]:
        yield b"new"
        raise ZeroDivisionError

    for payload in OLD:
        journal.append(payload)
    with pytest.raises(ZeroDivisionError):
        journal.rewrite(entries())
    journal.append(b"later")
    assert list(journal.replay()) == [*OLD, b"later"]


def test_a_closed_journal_says_so(journal: Journal) -> None:
    """After close no call works, rewrite included, and closing twice is harmless."""
    journal.close()
    journal.close()
    for call in (lambda: journal.append(b"x"), lambda: journal.rewrite([]), lambda: list(journal.replay())):
        with pytest.raises(errors.Closed):
            call()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(max_size=50)), st.lists(st.binary(max_size=50)))
def test_a_file_replays_after_opening_again(
    tmp_path_factory: pytest.TempPathFactory, first: list[bytes], second: list[bytes]
) -> None:
    """Entries of any content survive closing and opening, before and after a rewrite."""
    path = tmp_path_factory.mktemp("journal") / "j"
    journal = FileJournal(path)
    for payload in first:
        journal.append(payload)
    journal.close()
    assert reopened(path) == first
    journal = FileJournal(path)
    journal.rewrite(second)
    journal.append(b"later")
    journal.close()
    assert reopened(path) == [*second, b"later"]


def test_a_rewrite_is_the_old_or_the_new_journal_after_any_death(tmp_path: Path) -> None:
    """Dying at any system call of a rewrite leaves the old entries or the new ones, each whole, and no other
    file.
    """
    before = tmp_path / "before"
    before.mkdir()
    journal = FileJournal(before / "j")
    for payload in OLD:
        journal.append(payload)
    journal.close()

    def rewrite(folder: Path) -> None:
        journal = FileJournal(folder / "j")
        journal.rewrite([*NEW, *NEW])
        journal.append(b"later")
        journal.close()

    seen = []
    for _, folder in deaths(before, tmp_path, rewrite):
        entries = reopened(folder / "j")
        assert entries in (OLD, NEW * 2, [*NEW * 2, b"later"])
        assert os.listdir(folder) == ["j"]
        seen.append(len(entries))
    assert set(seen) == {4, 2, 3}
    assert seen.index(2) > len(seen) - seen[::-1].index(4) - 1, "new entries were seen, then the old ones again"


def test_a_torn_entry_is_cut_and_a_damaged_one_is_corruption(tmp_path: Path) -> None:
    """An entry that was never confirmed goes away on opening; a flipped bit in a confirmed one is
    CorruptLog.
    """
    path = tmp_path / "j"
    journal = FileJournal(path)
    for payload in OLD:
        journal.append(payload)
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    journal = FileJournal(path)
    assert journal.cut_bytes == len(OLD[-1]) - 1 + 12
    assert list(journal.replay()) == OLD[:-1]
    journal.close()
    path.write_bytes(whole[:-1] + b"?")
    with pytest.raises(errors.CorruptLog):
        FileJournal(path)


def test_no_room_for_a_rewrite_leaves_the_old_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rewrite that finds no room is Rejected, leaves no file behind, and the journal goes on."""

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "full")

    journal = FileJournal(tmp_path / "j")
    journal.append(b"kept")
    for call in ("writev", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(errors.Rejected):
                journal.rewrite(NEW)
        assert os.listdir(tmp_path) == ["j"]
    journal.append(b"later")
    journal.close()
    assert reopened(tmp_path / "j") == [b"kept", b"later"]


def test_an_interrupt_right_after_the_rename_loses_no_later_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after the new journal took the old one's name: later entries go to the file that the name leads
    to.
    """
    journal = FileJournal(tmp_path / "j")
    journal.append(b"old")
    with monkeypatch.context() as patch:
        real = os.rename

        def interrupted(*args: str) -> None:
            real(*args)
            raise KeyboardInterrupt

        patch.setattr(os, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.rewrite(NEW)
    journal.append(b"later")
    journal.close()
    assert reopened(tmp_path / "j") == [*NEW, b"later"]


def test_a_rewrite_whose_folder_cannot_be_flushed_stops_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it is unknown which file a power cut would leave, the journal takes no more entries."""
    journal = FileJournal(tmp_path / "j")
    with monkeypatch.context() as patch:

        def fsync(_: int) -> None:
            if not (tmp_path / "j.tmp").exists():
                raise OSError(errno.EIO, "medium")

        patch.setattr(os, "fsync", fsync)
        with pytest.raises(errors.Unreachable) as caught:
            journal.rewrite(NEW)
    assert caught.value.outcome == "unknown"
    with pytest.raises(errors.Unreachable):
        journal.append(b"later")
