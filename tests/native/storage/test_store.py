"""A store gives back what it confirmed, after a clean close, a kill, and in a folder that someone meddled
with.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from mqbridge import errors
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.native.storage.frames import Durability
from mqbridge.native.storage.lock import FolderLock
from mqbridge.native.storage.logs import FilePartitionLog
from mqbridge.native.storage.store import CLEAN, FolderStore, MemoryStore, Store
from tests.native.storage.crashing import deaths
from tests.native.storage.power import Power


def batch(*values: bytes) -> RecordBatch:
    return RecordBatch([None] * len(values), values, None, [0] * len(values))


def values(store: Store, topic: str, partition: int = 0) -> list[bytes | None]:
    log = store.partition_log(topic, partition)
    return [value for _, records in log.read(log.start_offset, 1 << 30) for value in records.values]


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else FolderStore(tmp_path / "store")
    yield made
    made.close()


def filled(folder: Path) -> None:
    store = FolderStore(folder)
    store.partition_log("Orders", 0).append(batch(b"one", b"two"))
    store.partition_log("Orders", 11).append(batch(b"three"))
    store.journal("meta").append(b"entry")
    store.close()


def test_names_lead_to_one_object_each(store: Store) -> None:
    """Asking again gives the same journal or log; other names, and names that differ in case, others."""
    assert store.epoch == 1
    store.partition_log("orders", 0).append(batch(b"small"))
    store.partition_log("Orders", 0).append(batch(b"large"))
    store.partition_log("orders", 1).append(batch(b"second"))
    store.journal("orders").append(b"small")
    store.journal("Orders").append(b"large")
    assert store.partition_log("orders", 0) is store.partition_log("orders", 0)
    assert [values(store, "orders"), values(store, "Orders"), values(store, "orders", 1)] == [
        [b"small"],
        [b"large"],
        [b"second"],
    ]
    assert store.journal("orders") is store.journal("orders")
    assert [list(store.journal(name).replay()) for name in ("orders", "Orders")] == [[b"small"], [b"large"]]


def test_removed_things_begin_anew(store: Store) -> None:
    """A removed topic or journal is gone with all partitions, its neighbours stay, and the name can be used
    again.
    """
    for topic in ("gone", "kept"):
        for partition in (0, 1):
            store.partition_log(topic, partition).append(batch(b"x"))
        store.journal(topic).append(b"x")
    old = store.partition_log("gone", 0)
    for _ in range(2):
        store.remove_topic("gone")
        store.remove_journal("gone")
    with pytest.raises(errors.Closed):
        old.append(batch(b"late"))
    assert [values(store, "gone", 0), values(store, "gone", 1)] == [[], []]
    assert list(store.journal("gone").replay()) == []
    assert [values(store, "kept", 0), values(store, "kept", 1)] == [[b"x"], [b"x"]]
    assert list(store.journal("kept").replay()) == [b"x"]


def test_a_closed_store_says_so(store: Store) -> None:
    """After close the store and what it gave out raise Closed, and closing twice is harmless."""
    log, journal = store.partition_log("t", 0), store.journal("j")
    store.close()
    store.close()
    for call in (
        lambda: store.journal("j"),
        lambda: store.partition_log("t", 0),
        lambda: store.remove_topic("t"),
        lambda: store.remove_journal("j"),
        lambda: log.append(batch(b"x")),
        lambda: journal.append(b"x"),
    ):
        with pytest.raises(errors.Closed):
            call()


def test_a_folder_keeps_everything_and_counts_its_openings(tmp_path: Path) -> None:
    """Logs and journals are there after each opening, and the epoch rises by one."""
    filled(tmp_path)
    for epoch in (2, 3):
        store = FolderStore(tmp_path)
        assert store.epoch == epoch
        assert values(store, "Orders") == [b"one", b"two"]
        assert values(store, "Orders", 11) == [b"three"]
        assert list(store.journal("meta").replay()) == [b"entry"]
        store.close()


def test_a_file_cut_or_gone_after_a_clean_close_is_corruption(tmp_path: Path) -> None:
    """Whatever file lost its end, between two frames or anywhere, or is missing, is named; untouched, all
    opens.
    """
    folder = tmp_path / "store"
    filled(folder)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.parent != folder] + [
        folder / f"{1:020d}.epoch"
    ]
    assert len(files) == 6
    for path in files:
        good = path.read_bytes()
        for end in (8, len(good) - 1, None) if good else (None,):
            path.unlink() if end is None else path.write_bytes(good[:end])
            with pytest.raises(errors.CorruptLog) as caught:
                FolderStore(folder)
            assert caught.value.file == str(path)
            assert (folder / CLEAN).exists(), "the next opening would not notice"
        path.write_bytes(good)
    FolderStore(folder).close()


def test_the_mark_of_a_clean_close_is_gone_while_the_store_is_open(tmp_path: Path) -> None:
    """Opening removes the mark before anything is written, so a crash is never taken for a clean close."""
    filled(tmp_path)
    store = FolderStore(tmp_path)
    assert not (tmp_path / CLEAN).exists()
    store.close()
    assert (tmp_path / CLEAN).exists()


def test_a_close_that_fails_leaves_no_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If something could not be flushed, close says so and the folder counts as after a crash."""
    store = FolderStore(tmp_path)
    store.journal("meta").append(b"entry")

    def failing(_: int) -> NoReturn:
        raise OSError(5, "medium")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing)
        with pytest.raises(errors.Unreachable):
            store.close()
    assert not (tmp_path / CLEAN).exists()
    with pytest.raises(errors.Closed):
        store.journal("meta")


def test_no_room_for_the_mark_of_a_clean_close_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk a store opens, closes and opens again, with everything that had been confirmed."""

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "full")

    filled(tmp_path)
    with monkeypatch.context() as patch:
        for call in ("write", "writev"):
            patch.setattr(os, call, full)
        FolderStore(tmp_path).close()
    assert not (tmp_path / CLEAN).exists()
    store = FolderStore(tmp_path)
    assert store.epoch == 3
    assert values(store, "Orders") == [b"one", b"two"]
    store.close()


def test_a_lost_epoch_is_corruption(tmp_path: Path) -> None:
    """A folder with content but without its epoch is refused: counting anew would revive what was fenced."""
    filled(tmp_path)
    (tmp_path / CLEAN).unlink()
    (tmp_path / f"{1:020d}.epoch").unlink()
    with pytest.raises(errors.CorruptLog):
        FolderStore(tmp_path)


def session(folder: Path) -> None:
    store = FolderStore(folder)
    store.partition_log("Orders", 0).append(batch(b"more"))
    store.remove_topic("old")
    store.journal("meta").rewrite([b"rewritten"])
    store.close()


def test_death_at_any_system_call_of_a_session_leaves_a_store_that_opens(tmp_path: Path) -> None:
    """Dying anywhere between opening and closed: all confirmed is there, removal is whole, and the epoch only
    rises.
    """
    before = tmp_path / "before"
    filled(before)
    store = FolderStore(before)
    for partition in (0, 1):
        store.partition_log("old", partition).append(batch(b"old"))
    store.close()
    epochs = []
    for number, folder in deaths(before, tmp_path, session):
        store = FolderStore(folder)
        epochs.append(store.epoch)
        assert values(store, "Orders") in ([b"one", b"two"], [b"one", b"two", b"more"]), number
        assert values(store, "Orders", 11) == [b"three"], number
        assert [values(store, "old", 0), values(store, "old", 1)] in ([[b"old"]] * 2, [[]] * 2), number
        assert list(store.journal("meta").replay()) in ([b"entry"], [b"rewritten"]), number
        assert not [name for name in os.listdir(folder / "topics") if name.startswith(".")]
        store.close()
        FolderStore(folder).close()
        shutil.rmtree(folder)
    assert epochs == sorted(epochs)
    assert set(epochs) == {3, 4}


def test_death_while_a_folder_is_made_leaves_one_that_opens(tmp_path: Path) -> None:
    """Dying at any system call of the very first opening leaves a folder that the next one takes."""
    before = tmp_path / "before"
    before.mkdir()
    for _, folder in deaths(before, tmp_path, lambda folder: FolderStore(folder).close()):
        store = FolderStore(folder)
        assert store.epoch in (1, 2)
        store.close()


def in_small_steps(folder: Path, durability: Durability, power: Power) -> None:
    """A session with rolls, deletions and rewrites, which marks what is confirmed: next offset, start,
    entries.

    Of the entries it marks what may be there: while a call is under way, those before and after it.
    """
    store = FolderStore(folder, durability=durability, segment_bytes=150)
    log, journal = store.partition_log("t", 0), store.journal("meta")
    entries = list(journal.replay())

    def mark(*entries: list[bytes]) -> None:
        power.mark = (log.next_offset, log.start_offset, entries)

    first = log.next_offset
    for offset in range(first, first + 6):
        log.append(batch(b"%d" % offset))
        mark(entries, [*entries, b"%d" % offset])
        journal.append(b"%d" % offset)
        mark(entries := [*entries, b"%d" % offset])
        if offset % 6 == 3:
            log.set_start_offset(offset + 1)
            mark(entries)
        if offset % 3 == 2:
            log.set_start_offset(offset - 1)
            mark(entries)
            log.drop_segments_before(offset - 1)
            mark(entries, [b"0", b"%d" % offset])
            journal.rewrite([b"0", b"%d" % offset])
            mark(entries := [b"0", b"%d" % offset])
    store.close()


@pytest.mark.parametrize("entries_at_once", [False, True])
@pytest.mark.parametrize("durability", ["os", "disk"])
def test_a_loss_of_power_after_any_system_call(tmp_path: Path, durability: Durability, entries_at_once: bool) -> None:
    """The store always opens, without gap or stranger; with "disk" all that was confirmed is there, with "os"
    all that a clean close left."""
    root, cuts = tmp_path / "root", tmp_path / "cuts"
    root.mkdir()
    cuts.mkdir()
    power = Power(root, cuts, entries_at_once=entries_at_once)
    with power.followed():
        in_small_steps(root, durability, power)
        closed = power.mark
        in_small_steps(root, durability, power)
    promised: tuple[int, int, tuple[list[bytes], ...]] = (0, 0, ())
    epochs = []
    for folder, mark in power.cuts:
        if durability == "disk" or mark == closed:
            promised = mark or promised
        store = FolderStore(folder)
        epochs.append(store.epoch)
        log = store.partition_log("t", 0)
        assert log.next_offset >= promised[0]
        assert log.start_offset >= promised[1]
        assert values(store, "t") == [b"%d" % offset for offset in range(log.start_offset, log.next_offset)]
        entries = list(store.journal("meta").replay())
        if durability == "disk" and promised[2]:
            assert entries in promised[2]
        elif len(promised[2]) == 1:
            assert int(entries[-1]) >= int(promised[2][0][-1])
        store.close()
        shutil.rmtree(folder)
    assert epochs == sorted(epochs)
    assert len(epochs) > 30


def test_a_removed_topic_does_not_come_back_with_the_power(tmp_path: Path) -> None:
    """When removing a topic or a journal has returned, a loss of power does not bring its content back."""
    root, cuts = tmp_path / "root", tmp_path / "cuts"
    filled(root)
    cuts.mkdir()
    power = Power(root, cuts, entries_at_once=False)
    with power.followed():
        store = FolderStore(root)
        store.remove_topic("Orders")
        removed = len(power.cuts)
        store.remove_journal("meta")
        power.mark = "both removed"
        store.journal("other")
    store.close()
    for folder, mark in power.cuts[removed - 1 :]:
        store = FolderStore(folder)
        assert values(store, "Orders") == values(store, "Orders", 11) == []
        assert mark is None or list(store.journal("meta").replay()) == []
        store.close()


def test_a_clean_close_also_flushes_what_a_crash_had_left(
    tmp_path: Path,
) -> None:
    """A file of a crashed session that the next one did not open is on the medium after its clean close."""
    root, cuts = tmp_path / "root", tmp_path / "cuts"
    root.mkdir()
    cuts.mkdir()
    power = Power(root, cuts, entries_at_once=False)
    with power.followed():
        FolderStore(root).close()
        crashed = FilePartitionLog(root / "topics" / "t" / "0")
        crashed.append(batch(b"confirmed"))
        crashed.close(flush=False)
        FolderStore(root).close()
    store = FolderStore(power.cuts[-1][0])
    assert values(store, "t") == [b"confirmed"]
    store.close()


_WRITER = """
import os, sys
from pathlib import Path
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.native.storage.store import FolderStore

store = FolderStore(Path(sys.argv[1]), segment_bytes=20_000)
log, journal = store.partition_log("t", 0), store.journal("meta")
entries = list(journal.replay())
while True:
    base = log.next_offset
    log.append(RecordBatch([b"k"] * 20, [b"%d" % (base + i) for i in range(20)], None, [base] * 20))
    entries = [*entries[-50:], b"%d" % base]
    journal.append(entries[-1])
    os.write(1, b"%d %d\\n" % (log.next_offset, base))
    if base % 600 == 0:
        journal.rewrite(entries)
        log.drop_segments_before(base - 1500)
"""


def test_twenty_kills_lose_nothing_that_was_reported(tmp_path: Path) -> None:
    """A writer killed at random twenty times: every reported append is there, unchanged, and nothing has a
    gap.
    """
    chance = random.Random(7)
    for round_number in range(20):
        process = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 120)):
            line = process.stdout.readline()
            assert line, f"the writer failed by itself in round {round_number}"
        process.kill()
        rest = process.stdout.read().decode()
        process.communicate(timeout=10)
        lines = (line.decode() + rest).rpartition("\n")[0].splitlines()
        confirmed = int(lines[-1].split()[0])
        reported = [int(line.split()[1]) for line in lines[-50:]]
        store = FolderStore(tmp_path, segment_bytes=20_000)
        assert store.epoch == 2 * round_number + 2
        log = store.partition_log("t", 0)
        assert log.next_offset >= confirmed
        numbers = [int(value or b"") for value in values(store, "t")]
        assert numbers == list(range(log.start_offset, log.next_offset))
        entries = [int(payload) for payload in store.journal("meta").replay()]
        # In order and once each; one that a kill kept from being appended after its batch may be missing.
        assert entries == sorted(set(entries))
        assert set(reported) <= set(entries)
        store.close()
    assert log.start_offset > 0, "retention was never seen at work"


def test_a_folder_that_may_not_be_written_is_denied() -> None:
    """A read-only folder is Denied with the system's reason as cause; root, who may, becomes another user."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o555)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                FolderStore(folder / "new")
            except errors.Denied as error:
                status = 0 if isinstance(error.__cause__, PermissionError) and not error.retryable else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert os.listdir(folder) == []
    finally:
        shutil.rmtree(folder)


def test_a_store_whose_folder_was_replaced_touches_nothing_there(tmp_path: Path) -> None:
    """Every way of making, replacing or removing a file by its path is refused, and the new store stays as it was."""
    folder = tmp_path / "f"
    lock = FolderLock(folder)
    assert lock.try_acquire()
    store = FolderStore(folder, segment_bytes=100, check=lock.check)
    log, journal = store.partition_log("Orders", 0), store.journal("meta")
    for _ in range(3):
        log.append(batch(b"one" * 20))
    journal.append(b"old")
    shutil.rmtree(folder)
    filled(folder)
    before = {path: path.stat() for path in sorted(folder.rglob("*"))}
    for change in (
        lambda: store.partition_log("new", 0),
        lambda: store.journal("new"),
        lambda: store.remove_topic("Orders"),
        lambda: store.remove_journal("meta"),
        lambda: journal.rewrite([b"shorter"]),
        log.roll,
        lambda: log.append(batch(b"two" * 20)),
        lambda: log.drop_segments_before(2),
        lambda: log.set_start_offset(1),
        store.close,
    ):
        with pytest.raises(errors.Unreachable, match="was removed, moved or replaced"):
            change()
    assert {path: path.stat() for path in sorted(folder.rglob("*"))} == before
    lock.release()
    store = FolderStore(folder)
    assert values(store, "Orders") == [b"one", b"two"]
    assert list(store.journal("meta").replay()) == [b"entry"]
    store.close()
