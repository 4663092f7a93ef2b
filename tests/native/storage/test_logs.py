"""Partition logs: consecutive offsets, nothing lost in a crash, nothing changed unnoticed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqbridge import errors
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.native.storage.logs import FilePartitionLog, MemoryPartitionLog, PartitionLog
from tests.native.storage.crashing import deaths

SMALL = 400  # bytes a segment: a few batches


def batch(first: int, count: int, at_ms: int | None = None) -> RecordBatch:
    """Records whose value names their offset."""
    values = [b"%d" % offset for offset in range(first, first + count)]
    times = [1000 + offset if at_ms is None else at_ms for offset in range(first, first + count)]
    return RecordBatch([None] * count, values, None, times)


def fill(log: PartitionLog, batches: int, count: int = 3) -> None:
    for _ in range(batches):
        log.append(batch(log.next_offset, count))


def content(log: PartitionLog) -> list[tuple[int, bytes | None]]:
    """Every (offset, value) from the start offset on, by reads of about two batches."""
    out: list[tuple[int, bytes | None]] = []
    offset = log.start_offset
    while found := log.read(offset, 200):
        for base, records in found:
            out += [(base + i, value) for i, value in enumerate(records.values) if base + i >= offset]
            offset = base + records.count
    return out


def expected(start: int, end: int) -> list[tuple[int, bytes | None]]:
    return [(offset, b"%d" % offset) for offset in range(start, end)]


@pytest.fixture(params=["memory", "file"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PartitionLog]:
    made: PartitionLog
    if request.param == "memory":
        made = MemoryPartitionLog(segment_bytes=SMALL)
    else:
        made = FilePartitionLog(tmp_path / "log", segment_bytes=SMALL)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


def segment_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"))


def test_offsets_are_consecutive_and_read_back(log: PartitionLog) -> None:
    """Each append gets the next offset, across segments, and every record is found at its own."""
    bases = [log.append(batch(0, 2)), log.append(batch(2, 5), base_offset=2), log.append(batch(7, 1))]
    assert bases == [0, 2, 7]
    fill(log, 20)
    assert len(log.segments()) > 3
    assert content(log) == expected(0, log.next_offset)


def test_a_read_begins_with_the_batch_that_contains_the_offset(log: PartitionLog) -> None:
    """From any offset the first batch contains it and the following ones are consecutive; at the end there is
    none.
    """
    fill(log, 20)
    for offset in range(log.next_offset):
        found = log.read(offset, 1)
        assert len(found) == 1
        assert found[0][0] == offset // 3 * 3
        bases = [base for base, _ in log.read(offset)]
        assert bases == list(range(offset // 3 * 3, log.next_offset, 3))
    assert log.read(log.next_offset) == []
    for outside in (-1, log.next_offset + 1):
        with pytest.raises(ValueError):
            log.read(outside)


def test_a_read_is_bounded_by_bytes(log: PartitionLog) -> None:
    """A read returns as many whole batches as fit, and one if not even that fits."""
    fill(log, 20)
    size = sum(info.size_bytes for info in log.segments()) // 20
    assert len(log.read(0, 3 * size)) in (2, 3)
    assert len(log.read(0, 0)) == 1


def test_a_wrong_base_offset_is_refused(log: PartitionLog) -> None:
    """An append that expects another offset than the next one, or has no record, changes nothing."""
    fill(log, 1)
    for wrong in (0, 2, 4):
        with pytest.raises(ValueError):
            log.append(batch(wrong, 1), base_offset=wrong)
    with pytest.raises(ValueError):
        log.append(batch(3, 0))
    assert content(log) == expected(0, 3)


def test_segments_tell_what_retention_needs(log: PartitionLog) -> None:
    """Segments are contiguous, sum up to the size, know their latest record, and the last one alone is
    active.
    """
    fill(log, 10)
    infos = log.segments()
    assert [info.active for info in infos] == [False] * (len(infos) - 1) + [True]
    assert [info.base_offset for info in infos[1:]] == [info.next_offset for info in infos[:-1]]
    assert [info.max_timestamp_ms for info in infos] == [999 + info.next_offset for info in infos]
    assert sum(info.size_bytes for info in infos) == log.size_bytes
    assert all(info.size_bytes <= SMALL for info in infos)


def test_roll_begins_a_segment_unless_it_would_be_empty(log: PartitionLog) -> None:
    """Rolling an empty active segment does nothing; rolling another makes an empty one at the next offset."""
    log.roll()
    assert len(log.segments()) == 1
    fill(log, 1)
    log.roll()
    log.roll()
    assert [(info.base_offset, info.next_offset) for info in log.segments()] == [(0, 3), (3, 3)]
    assert log.segments()[1].max_timestamp_ms == -1
    fill(log, 1)
    assert content(log) == expected(0, 6)


def test_dropping_takes_whole_inactive_segments_only(log: PartitionLog) -> None:
    """What lies wholly below the offset goes, the active segment stays, and the start moves to what
    is kept.
    """
    fill(log, 20)
    infos = log.segments()
    assert log.drop_segments_before(infos[2].next_offset - 1) == infos[2].base_offset
    assert log.segments()[0] == infos[2]
    assert content(log) == expected(infos[2].base_offset, log.next_offset)
    with pytest.raises(ValueError):
        log.read(infos[2].base_offset - 1)
    assert log.drop_segments_before(10**6) == infos[-1].base_offset
    assert log.segments() == infos[-1:]
    assert log.next_offset == 60


def test_dropping_never_moves_the_start_back(log: PartitionLog) -> None:
    """A start offset set inside a segment that is kept stays where it is."""
    fill(log, 20)
    inside = log.segments()[2].base_offset + 1
    log.set_start_offset(inside)
    assert log.drop_segments_before(inside) == inside
    assert log.start_offset == inside
    assert content(log) == expected(inside, 60)
    for outside in (inside - 1, 61):
        with pytest.raises(ValueError):
            log.set_start_offset(outside)
    log.set_start_offset(60)
    assert log.read(60) == []
    assert log.offset_at(0) is None


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=4), min_size=1, max_size=20),
    st.integers(0, 40),
    st.integers(-1, 31),
)
def test_offset_at_is_exact_for_any_order_of_timestamps(batches: list[list[int]], start: int, wanted: int) -> None:
    """The first record not older than the time, by a plain search of all records from the start offset on."""
    log = MemoryPartitionLog(segment_bytes=SMALL)
    for times in batches:
        log.append(RecordBatch([None] * len(times), [b""] * len(times), None, times))
    flat = [time for times in batches for time in times]
    log.set_start_offset(min(start, len(flat)))
    found = (offset for offset in range(log.start_offset, len(flat)) if flat[offset] >= wanted)
    assert log.offset_at(wanted) == next(found, None)


def test_a_closed_log_says_so(log: PartitionLog) -> None:
    """Every call after close raises Closed, and closing twice is harmless."""
    fill(log, 1)
    log.close()
    log.close()
    calls: list[Callable[[], object]] = [
        lambda: log.append(batch(3, 1)),
        lambda: log.read(0),
        lambda: log.offset_at(0),
        log.roll,
        lambda: log.set_start_offset(1),
        lambda: log.drop_segments_before(1),
    ]
    for call in calls:
        with pytest.raises(errors.Closed):
            call()


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 5)),
    st.tuples(st.just("roll"), st.just(0)),
    st.tuples(st.just("drop"), st.integers(0, 60)),
    st.tuples(st.just("start"), st.integers(0, 60)),
    st.tuples(st.just("reopen"), st.just(0)),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(STEPS, max_size=30))
def test_a_folder_behaves_like_memory_across_openings(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Any sequence of calls, with openings in between, leaves the same offsets, segments and records."""
    folder = tmp_path_factory.mktemp("log")
    memory, file = MemoryPartitionLog(segment_bytes=SMALL), FilePartitionLog(folder, segment_bytes=SMALL)
    for step, number in steps:
        if step == "reopen":
            file.close()
            file = FilePartitionLog(folder, segment_bytes=SMALL)
            memory.drop_segments_before(memory.start_offset)
        for log in (memory, file):
            if step == "append":
                log.append(batch(log.next_offset, number))
            elif step == "roll":
                log.roll()
            elif step == "drop":
                log.drop_segments_before(number)
            elif step == "start":
                log.set_start_offset(min(max(number, log.start_offset), log.next_offset))
        assert (file.start_offset, file.next_offset) == (memory.start_offset, memory.next_offset)
        assert file.segments() == memory.segments()
    assert content(file) == content(memory) == expected(memory.start_offset, memory.next_offset)
    file.close()


def test_a_tail_reader_needs_no_system_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was appended last is read without touching the file."""

    def touched(*_: object) -> NoReturn:
        raise AssertionError("the file was read")

    log = FilePartitionLog(folder)
    fill(log, 5)
    monkeypatch.setattr(os, "pread", touched)
    assert content(log) == expected(0, 15)
    log.close()


def test_the_cache_is_bounded(folder: Path) -> None:
    """However much is appended and read, the log keeps at most 8 MiB of batches in memory."""
    log = FilePartitionLog(folder)
    for _ in range(20):
        log.append(RecordBatch([None], [bytes(1 << 20)], None, [0]))
    for offset in range(20):
        assert len(log.read(offset, 1)) == 1
    kept = [*log._appended._batches.values(), *log._decoded._batches.values()]
    assert 4 << 20 < sum(each.size_bytes for each in kept) <= 8 << 20
    log.close()


def filled_folder(folder: Path) -> None:
    log = FilePartitionLog(folder, segment_bytes=SMALL)
    fill(log, 12)
    log.drop_segments_before(8)
    log.close()


def test_every_flipped_bit_of_a_folder_is_noticed(folder: Path) -> None:
    """A flipped bit in any file of a log is CorruptLog naming the file, or
    harmless.
    """
    filled_folder(folder)
    log = FilePartitionLog(folder, segment_bytes=SMALL)
    whole = content(log)
    log.close()
    for path in sorted(folder.iterdir()):
        good = path.read_bytes()
        for at in range(len(good)):
            path.write_bytes(good[:at] + bytes([good[at] ^ (1 << at % 8)]) + good[at + 1 :])
            try:
                log = FilePartitionLog(folder, segment_bytes=SMALL)
            except errors.CorruptLog as error:
                named = error.file
            else:
                assert content(log) == whole
                log.close()
                continue
            assert named == str(path)
        path.write_bytes(good)


def test_torn_at_every_byte_of_the_last_batch(folder: Path) -> None:
    """Cut anywhere in its last batch, a log opens with all the others and gives that batch's
    offsets again.
    """
    filled_folder(folder)
    last = segment_files(folder)[-1]
    log = FilePartitionLog(folder, segment_bytes=SMALL)
    before = log.next_offset - 3
    position = log._segments[-1].position(log._segments[-1].batches - 1)
    log.close()
    whole = last.read_bytes()
    for end in range(position, len(whole)):
        last.write_bytes(whole[:end])
        log = FilePartitionLog(folder, segment_bytes=SMALL)
        assert log.cut_bytes == end - position
        assert content(log) == expected(log.start_offset, before)
        assert log.append(batch(before, 1)) == before
        log.close()


def test_a_segment_that_is_missing_or_misplaced_is_corruption(folder: Path, tmp_path: Path) -> None:
    """A gap between segments, a first segment after the start, and exchanged segments are each CorruptLog."""
    filled_folder(folder)
    files = segment_files(folder)
    for number in range(len(files) - 1):
        broken = tmp_path / f"missing-{number}"
        shutil.copytree(folder, broken)
        (broken / files[number].name).unlink()
        with pytest.raises(errors.CorruptLog):
            FilePartitionLog(broken)
    first, second = files[0].read_bytes(), files[1].read_bytes()
    files[0].write_bytes(second)
    files[1].write_bytes(first)
    with pytest.raises(errors.CorruptLog) as caught:
        FilePartitionLog(folder)
    assert caught.value.file == str(files[0])


def test_a_torn_segment_that_others_follow_is_corruption(folder: Path) -> None:
    """Only the last segment may be torn: a cut in an earlier one is CorruptLog, never a silent end of the
    log.
    """
    filled_folder(folder)
    path = segment_files(folder)[-2]
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(errors.CorruptLog) as caught:
            FilePartitionLog(folder)
        assert caught.value.file in (str(path), str(segment_files(folder)[-1]))


def test_a_log_that_ends_before_it_begins_is_corruption(folder: Path) -> None:
    """Records cut away from below the start offset do not go unnoticed, nor a log without any segment."""
    log = FilePartitionLog(folder)
    fill(log, 3)
    log.set_start_offset(9)
    log.close()
    path = segment_files(folder)[0]
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(errors.CorruptLog):
        FilePartitionLog(folder)
    path.unlink()
    with pytest.raises(errors.CorruptLog):
        FilePartitionLog(folder)


def busy(folder: Path) -> None:
    """Append across rolls, delete records, drop segments; each confirmed offset goes to a file that no death
    tears.
    """
    log = FilePartitionLog(folder, segment_bytes=SMALL)
    with open(folder.with_name(folder.name + ".confirmed"), "ab", 0) as confirmed:
        for round_number in range(3):
            fill(log, 3)
            confirmed.write(b"%d\n" % log.next_offset)
            log.set_start_offset(log.start_offset + 1 + round_number)
            confirmed.write(b"%d\n" % -log.start_offset)
            log.drop_segments_before(log.start_offset + 4)
    log.close()


def test_death_at_any_system_call_loses_nothing_confirmed(tmp_path: Path) -> None:
    """After a death anywhere in appends, rolls, drops and record deletions the log opens with all that was
    confirmed.
    """
    before = tmp_path / "before"
    filled_folder(before)
    opened = FilePartitionLog(before, segment_bytes=SMALL)
    begin = opened.next_offset
    opened.close()
    for number, folder in deaths(before, tmp_path, busy):
        record = folder.with_name(folder.name + ".confirmed")
        marks = [int(line) for line in record.read_text().split()] if record.exists() else []
        log = FilePartitionLog(folder, segment_bytes=SMALL)
        assert log.next_offset >= max([begin, *marks]), number
        assert log.start_offset >= max([0, *(-mark for mark in marks)]), number
        assert content(log) == expected(log.start_offset, log.next_offset), number
        assert len(segment_files(folder)) == len(log.segments()), "a dropped segment takes room for ever"
        fill(log, 4)
        log.close()
        log = FilePartitionLog(folder, segment_bytes=SMALL)
        assert content(log) == expected(log.start_offset, log.next_offset), number
        log.close()
    assert number > 40


def test_an_interrupted_append_is_taken_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after the write but before the log knew of it: the offset is given again, to one batch only."""
    log = FilePartitionLog(folder)
    fill(log, 2)
    with monkeypatch.context() as patch:

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(log._appended, "put", interrupt)
        with pytest.raises(KeyboardInterrupt):
            log.append(batch(600, 3))
    fill(log, 2)
    log.close()
    log = FilePartitionLog(folder)
    assert content(log) == expected(0, 12)
    log.close()


def test_no_room_for_a_segment_is_rejected_and_goes_on_when_there_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When rolling finds no room, the append is Rejected, the log is as before, and the next one succeeds."""

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "full")

    log = FilePartitionLog(folder)
    fill(log, 2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", full)
        for call in (log.roll, lambda: log.append(batch(6, 3))):
            with pytest.raises(errors.Rejected):
                call()
    assert len(segment_files(folder)) == 1
    log.roll()
    fill(log, 1)
    log.close()
    log = FilePartitionLog(folder)
    assert content(log) == expected(0, 9)
    assert len(log.segments()) == 2
    log.close()


def test_retention_makes_room_on_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old segments can be dropped, and records deleted, while nothing can be written."""

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "full")

    log = FilePartitionLog(folder, segment_bytes=SMALL)
    fill(log, 12)
    with monkeypatch.context() as patch:
        for call in ("write", "writev"):
            patch.setattr(os, call, full)
        with pytest.raises(errors.Rejected):
            fill(log, 1)
        second = log.segments()[1].base_offset
        assert log.drop_segments_before(second) == second
        log.set_start_offset(second + 1)
    fill(log, 1)
    log.close()
    log = FilePartitionLog(folder, segment_bytes=SMALL)
    assert content(log) == expected(second + 1, 39)
    log.close()


def test_a_log_that_lost_its_start_is_corruption(folder: Path) -> None:
    """Without the marker of its start a log is refused: from zero, deleted records would come back."""
    filled_folder(folder)
    for path in folder.glob("*.start"):
        path.unlink()
    with pytest.raises(errors.CorruptLog):
        FilePartitionLog(folder)


def test_a_segment_that_was_half_begun_stops_the_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a new segment's file cannot be made nor removed, no append may give the offsets that its name
    claims.
    """

    def failing(*_: object) -> NoReturn:
        raise OSError(errno.EIO, "medium")

    log = FilePartitionLog(folder)
    fill(log, 2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        patch.setattr(os, "unlink", failing)
        with pytest.raises(errors.Unreachable):
            log.roll()
    assert len(segment_files(folder)) == 2
    with pytest.raises(errors.Unreachable) as caught:
        log.append(batch(6, 3))
    assert not caught.value.retryable
    log = FilePartitionLog(folder)
    assert content(log) == expected(0, 6)
    log.close()


def test_a_roll_flushes_what_it_leaves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The segment left behind is flushed before the next one exists, whatever the durability of appends."""
    log = FilePartitionLog(folder, durability="os")
    fill(log, 2)
    real, flushed = os.fdatasync, []

    def noted(fd: int) -> None:
        flushed.append((os.fstat(fd).st_size, len(segment_files(folder))))
        real(fd)

    monkeypatch.setattr(os, "fdatasync", noted)
    size = log.size_bytes
    log.roll()
    assert flushed[0] == (size, 1)
    log.close()
