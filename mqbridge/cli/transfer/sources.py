"""Where a copy reads. The rule: `settle` is called with what the target has confirmed, in the order it was read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import mqbridge as mq
from mqbridge.cli import records
from mqbridge.cli.output import say
from mqbridge.cli.reading import Reader
from mqbridge.cli.records import Record, RecordError
from mqbridge.cli.stopping import Stop
from mqbridge.cli.transfer.places import TextForm
from mqbridge.cli.transfer.sidecar import Sidecar

HEAD_BYTES = 4096
NOTE_EVERY_S = 0.25


class Batch(NamedTuple):
    """Some records, and what `Source.settle` is told when they are confirmed. Empty: nothing is there now."""

    records: list[Record]
    mark: Any


class Source(Protocol):
    """`total` and `unit` are for the progress: records, or bytes of a file.

    `window` is how many records may be read and not settled: a queue hands out no more than its prefetch.
    """

    total: int | None
    window: int
    unit: str

    def batches(self) -> Iterator[Batch]: ...

    def settle(self, batch: Batch) -> int:
        """Remember that this is done; how far it moved, in `unit`."""

    def close(self, *, complete: bool) -> None: ...


class ReaderSource:
    """A topic or a queue: a mark is the deliveries themselves."""

    unit = "records"

    def __init__(self, reader: Reader, window: int = 100_000) -> None:
        self._reader = reader
        self.window = window
        self.total = reader.total

    def batches(self) -> Iterator[Batch]:
        of = records.of
        for deliveries in self._reader.batches():
            yield Batch([of(delivery) for delivery in deliveries], deliveries)

    def settle(self, batch: Batch) -> int:
        self._reader.settle(batch.mark)
        return len(batch.mark)

    def close(self, *, complete: bool) -> None:
        self._reader.close()
        lost: int = getattr(self._reader, "lost", 0)
        if lost:
            say(
                f"{lost} messages were confirmed by the target after another consumer had been given them: they "
                "arrive there twice"
            )


class FileSource:
    """A file, a record a line. Its place is kept in a `Sidecar` until the copy is complete."""

    unit = "bytes"
    window = 100_000

    def __init__(
        self, path: Path, form: TextForm, sidecar: Sidecar | None, stop: Stop, *, limit: int | None, batch_bytes: int
    ) -> None:
        self._form: TextForm = form
        self._sidecar = sidecar
        self._stop = stop
        self._left = limit
        self._batch_bytes = batch_bytes
        self._path = path
        try:
            self._end = path.stat().st_size
        except FileNotFoundError:
            raise mq.NotFound(f"there is no file {path}. Nothing was read.", next_command="copy --help") from None
        self._place = 0
        self._done = 0
        self._records = 0
        self._noted_s = time.monotonic()
        if sidecar is not None:
            self._resume(sidecar)
        self.partitioned = form == "jsonl" and self._first_has_partition()
        """Do the records say which partition they came from?"""
        self.total: int | None = self._end - self._place
        self._file: BinaryIO = open(path, "rb")
        self._file.seek(self._place)

    def _resume(self, sidecar: Sidecar) -> None:
        note = sidecar.read()
        if note is None:
            return
        place = int(note["offset_bytes"])
        if place > self._end or note["head_sha256"] != self._head(place):
            raise mq.Mismatch(
                f"{sidecar.path} speaks of an unfinished copy of another {self._path}: the file has changed since. "
                "Nothing was copied; remove the note to copy from the start.",
                differences=(("offset_bytes", place, self._end),),
            )
        self._place = self._done = place
        self._records = int(note["records"])
        say(f"going on at byte {place}: {self._records} records were confirmed before (noted in {sidecar.path})")

    def _first_has_partition(self) -> bool:
        with open(self._path, "rb") as file:
            line = file.readline()
        try:
            return bool(line) and records.from_line(line).partition is not None
        except RecordError:
            return False  # said when it is read

    def _head(self, place: int) -> str:
        with open(self._path, "rb") as file:
            return sha256(file.read(min(HEAD_BYTES, place))).hexdigest()

    def batches(self) -> Iterator[Batch]:
        parse = _text_record if self._form == "text" else records.from_line
        number = self._records
        while not self._stop.is_set() and self._left != 0:
            lines = self._file.readlines(self._batch_bytes)
            if not lines:
                return
            if self._left is not None:
                lines = lines[: self._left]
                self._left -= len(lines)
            try:
                parsed = [parse(line) for line in lines]
            except RecordError:
                parsed, error = _up_to_the_fault(lines, parse)
                lines = lines[: len(parsed)]
                self._place += sum(map(len, lines))
                yield Batch(parsed, (self._place, number + len(parsed)))
                raise mq.CodecError(
                    f"line {number + len(parsed) + 1} of {self._path} is no record: {error}. Those before it are "
                    "copied; mend the line and say the same command again to go on."
                ) from None
            self._place += sum(map(len, lines))
            number += len(lines)
            yield Batch(parsed, (self._place, number))

    def settle(self, batch: Batch) -> int:
        place: int
        place, self._records = batch.mark
        moved, self._done = place - self._done, place
        if self._sidecar is not None and time.monotonic() - self._noted_s >= NOTE_EVERY_S:
            self._note(self._sidecar)
        return moved

    def _note(self, sidecar: Sidecar) -> None:
        sidecar.write(offset_bytes=self._done, records=self._records, head_sha256=self._head(self._done))
        self._noted_s = time.monotonic()

    def close(self, *, complete: bool) -> None:
        self._file.close()
        if self._sidecar is None:
            return
        if self._done >= self._end:
            self._sidecar.remove()
        elif self._done:
            self._note(self._sidecar)
            say(f"{self._done} of {self._end} bytes are copied; the same command goes on from there")


def _text_record(line: bytes) -> Record:
    return Record(line[:-1] if line[-1:] == b"\n" else line)


def _up_to_the_fault(lines: list[bytes], parse: Any) -> tuple[list[Record], RecordError]:
    good: list[Record] = []
    for line in lines:
        try:
            good.append(parse(line))
        except RecordError as error:
            return good, error
    raise AssertionError("one of these lines was no record")
