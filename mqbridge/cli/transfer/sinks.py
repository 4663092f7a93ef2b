"""Where a copy writes. The rule: `confirm` returns when what was written will survive, or raises; never in between."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Literal, Protocol

import mqbridge as mq
from mqbridge.cli import records
from mqbridge.cli.errors import suggest
from mqbridge.cli.output import say
from mqbridge.cli.records import Record
from mqbridge.cli.transfer.places import TextForm
from mqbridge.cli.transfer.sidecar import Sidecar

Ticket = Any
READ_BACK_BYTES = 1 << 16


class Sink(Protocol):
    """`window` is how many records may be written and not confirmed."""

    window: int

    def write(self, batch: list[Record]) -> Ticket: ...

    def is_confirmed(self, ticket: Ticket) -> bool:
        """Would `confirm` return, or raise, without waiting? False where finding out is the work itself."""

    def confirm(self, ticket: Ticket) -> None: ...

    def close(self, *, complete: bool) -> None: ...


class SamePartition:
    """A partitioner that keeps what was in one partition in one partition: number N goes to N modulo the target's
    count.

    The partitions of the target being as many, it is a mirror. Called by `send` on the thread that sends, so the
    record at hand is known.
    """

    def __init__(self) -> None:
        self.partition = 0
        self._thread = threading.get_ident()

    def __call__(self, _topic: str, _key: bytes | None, _value: bytes | None, partitions: int) -> int:
        if threading.get_ident() != self._thread:
            raise mq.ConcurrentUse("this engine partitions on a thread of its own; copy with --partition-by key")
        return self.partition % partitions


class BusSink:
    """A topic, a queue or an exchange.

    In a topic `by` says where a record goes: "source" is the partition it came from, modulo the target's count; "key"
    is where a producer would put its key, which keeps the order of each key and lets later producers go on with it;
    there a record without a key keeps to its source's partition, too. What came from no partition is spread.
    """

    window = 20_000

    def __init__(
        self,
        bus: mq.Bus,
        destination: mq.Topic[bytes] | mq.Queue[bytes] | mq.Exchange,
        *,
        routing_key: str = "",
        by: Literal["source", "key"] = "key",
    ) -> None:
        self._destination = destination
        self._routing_key = routing_key
        self._is_exchange = isinstance(destination, mq.Exchange)
        self._is_topic = isinstance(destination, mq.Topic)
        self._by = by
        self._bus = bus
        self._same = SamePartition()
        self._spreading: mq.Producer | None = None
        self._placing: mq.Producer | None = None

    def write(self, batch: list[Record]) -> Ticket:
        destination, is_exchange = self._destination, self._is_exchange
        receipts: list[mq.Receipt] = []
        for record in batch:
            try:
                receipts.append(
                    self._producer_for(record).send(
                        destination,
                        record.value,
                        key=record.key,
                        headers=record.headers or None,
                        routing_key=(record.routing_key or self._routing_key) if is_exchange else "",
                        timestamp=record.timestamp,
                        message_id=record.message_id,
                    )
                )
            except mq.MqbridgeError as error:
                error.add_note(
                    f"It is about the record at {record.place} in the source. What came before its batch is copied; "
                    "the copy cannot go on until that record is gone or its group is moved past it."
                )
                raise
        return receipts

    def _producer_for(self, record: Record) -> mq.Producer:
        """By key and by source are two producers, for a partitioner is a producer's; the records of one key have one
        of them."""
        if self._is_topic and record.partition is not None and (self._by == "source" or record.key is None):
            self._same.partition = record.partition
            if self._placing is None:
                self._placing = self._bus.producer(partitioner=self._same)
            return self._placing
        if self._spreading is None:
            self._spreading = self._bus.producer()
        return self._spreading

    def is_confirmed(self, ticket: Ticket) -> bool:
        return bool(ticket[-1].done) and all(receipt.done for receipt in ticket)

    def confirm(self, ticket: Ticket) -> None:
        errors = [error for receipt in ticket if (error := receipt.exception()) is not None]
        if errors:
            outcomes: dict[str, int] = {}
            for error in errors:
                outcomes[error.outcome] = outcomes.get(error.outcome, 0) + 1
            told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in outcomes.items())
            raise mq.SendFailed(
                f"{len(errors)} of {len(ticket)} messages failed at {self._destination} ({told}); the first: "
                f"{type(errors[0]).__name__}: {errors[0]}",
                outcome="unknown" if "unknown" in outcomes else "not_applied",
                count=len(errors),
                failures=tuple(errors[:20]),
                outcomes=outcomes,
            )

    def close(self, *, complete: bool) -> None:
        try:
            if self._spreading is not None:
                self._spreading.close()
        finally:
            if self._placing is not None:
                self._placing.close()


def _fcntl() -> Any:
    """The module, which Windows does not have; imported late, so that all else of the command line works there."""
    try:
        import fcntl
    except ModuleNotFoundError:
        error = mq.Unsupported(
            "this system has no flock, without which two copies could write one file at once. Nothing was copied.",
            capability="file locks",
            instead="consume --output jsonl",
        )
        suggest(error, "mqbridge consume SOURCE --output jsonl > FILE")
        raise error from None
    return fcntl


class FileSink:
    """A file that is appended to and synced before the source is settled.

    Until the copy is complete a `Sidecar` lies beside it. It tells a copy that was killed from somebody else's file:
    only in the former is a torn last line cut off, which was never settled and comes again.
    """

    window = 50_000

    def __init__(self, path: Path, form: TextForm, sidecar: Sidecar) -> None:
        self._path = path
        self._form: TextForm = form
        self._sidecar = sidecar
        self._synced = 0
        self.dropped = 0
        """Records of which a text file cannot keep the key or the headers."""
        self._fcntl = _fcntl()  # before the file is opened: a refusal leaves none behind
        new = not path.exists()
        self._number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            self._take(new)
        except BaseException:
            os.close(self._number)
            raise

    def _take(self, new: bool) -> None:
        try:
            self._fcntl.flock(self._number, self._fcntl.LOCK_EX | self._fcntl.LOCK_NB)
        except BlockingIOError:
            raise mq.Rejected(f"another process is writing {self._path}. Nothing was copied; let it end.") from None
        size = os.fstat(self._number).st_size
        whole = self._whole_lines(size)
        if whole < size:
            if self._sidecar.read() is None:
                raise mq.Mismatch(
                    f"{self._path} does not end with a line break, and no unfinished copy wrote it. Nothing was "
                    "copied; end its last line, or name another file.",
                    differences=(("size", whole, size),),
                )
            say(f"cutting off a torn last line of {size - whole} bytes; it comes again")
            os.ftruncate(self._number, whole)
            os.fsync(self._number)
        self._written = self._synced = whole
        self._sidecar.write(form=self._form)
        if new:
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        if whole:
            say(f"{self._path} holds {whole} bytes; appending")

    def _whole_lines(self, size: int) -> int:
        """Where the last whole line ends."""
        end = size
        while end > 0:
            begin = max(0, end - READ_BACK_BYTES)
            found = os.pread(self._number, end - begin, begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
        return 0

    def write(self, batch: list[Record]) -> Ticket:
        if self._form == "jsonl":
            line = records.to_line
            data = b"".join([line(record) for record in batch])
        else:
            data = b"".join(self._as_text(batch))
        view = memoryview(data)
        while view:
            view = view[os.write(self._number, view) :]
        self._written += len(data)
        return self._written

    def _as_text(self, batch: list[Record]) -> list[bytes]:
        parts: list[bytes] = []
        for record in batch:
            value = record.value
            if value is None or b"\n" in value:
                what = "a null value" if value is None else "a value with a line break in it"
                raise mq.CodecError(
                    f"{what} cannot be a line of text. This batch was not written, and nothing of it settled; copy "
                    "to a .jsonl file (or --format jsonl), which keeps everything."
                )
            if record.key is not None or record.headers:
                self.dropped += 1
            parts.append(value)
            parts.append(b"\n")
        return parts

    def is_confirmed(self, ticket: Ticket) -> bool:
        return bool(ticket <= self._synced)

    def confirm(self, ticket: Ticket) -> None:
        if ticket > self._synced:
            written = self._written
            os.fsync(self._number)
            self._synced = written

    def close(self, *, complete: bool) -> None:
        try:
            os.fsync(self._number)
        finally:
            os.close(self._number)
        if complete:
            self._sidecar.remove()
        if self.dropped:
            say(f"{self.dropped} records had a key or headers, which a text file does not keep; a .jsonl file does")
