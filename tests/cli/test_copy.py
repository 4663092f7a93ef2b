"""copy and digest: everything arrives, what was killed goes on, and both ends compare."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.cli.records import Record
from mqbridge.cli.transfer import loop
from mqbridge.cli.transfer.places import parse
from mqbridge.cli.transfer.progress import Progress
from mqbridge.cli.transfer.sinks import SamePartition
from mqbridge.cli.transfer.sources import Batch
from tests.cli.running import done, finish, invoke, kill_when, start, wait_until

COUNT = 20_000


@pytest.fixture
def urls(tmp_path: Path) -> tuple[str, str]:
    """Two folders; the first has a topic with everything that a message can carry."""
    first, second = f"native:{tmp_path}/first", f"native:{tmp_path}/second"
    with mq.connect(first) as bus:
        topic = mq.Topic("t", partitions=3, retention=mq.Retention(max_age_s=86_400))
        bus.admin.ensure(topic, mq.Queue("q"))
        with bus.producer() as producer:
            for number in range(300):
                key = (None, b"", b"key", b"\xff\x00")[number % 4]
                headers = [("a", b"1"), ("b", b"\xfe"), ("a", b"%d" % number)] if number % 3 else None
                value = None if number == 7 else b"" if number == 8 else b"%d\n\xff" % number
                producer.send(topic, value, key=key, headers=headers, message_id=f"id-{number}" if number % 2 else None)
    with mq.connect(second):
        pass
    return first, second


def _per_partition(url: str, topic: str) -> dict[int, list[bytes | None]]:
    found: dict[int, list[bytes | None]] = {}
    with mq.connect(url) as bus:
        for delivery in bus.replay(mq.Topic(topic), mq.EARLIEST):
            assert delivery.partition is not None
            found.setdefault(delivery.partition, []).append(delivery.raw)
    return found


def _everything(url: str, topic: str) -> list[mq.Delivery[bytes]]:
    with mq.connect(url) as bus:
        return list(bus.replay(mq.Topic(topic), mq.EARLIEST))


def _digest(*place: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = done(None, "digest", *place, "--unique")
    del found["place"]
    return found


def _text(path: Path, count: int = COUNT) -> Path:
    padding = b"the same length for every line, padded out to be about a hundred bytes"
    path.write_bytes(b"".join(b"%08d %b\n" % (number, padding) for number in range(count)))
    return path


# --- everything arrives


def test_a_topic_arrives_as_it_was(urls: tuple[str, str]) -> None:
    """Value, null, key, headers with repeats, timestamp and id; same partitions, same order in each, retention too."""
    first, second = urls
    result = done(None, "copy", first, "topic:t", second, "topic:t2", "--create", "--digest")
    assert result["records"] == 300
    assert _digest(first, "topic:t") == _digest(second, "topic:t2")
    assert result["sha256_records"] == _digest(second, "topic:t2")["sha256_records"]
    assert _per_partition(first, "t") == _per_partition(second, "t2")
    assert done(second, "topic", "describe", "t2")["max_age_s"] == 86_400


def test_order_of_a_partition_is_kept_in_fewer_partitions(urls: tuple[str, str]) -> None:
    """Three partitions into two: the records of each source partition are still in their order."""
    first, second = urls
    assert invoke(second, "topic", "create", "t2", "--partitions", "2").exit_code == 0
    done(None, "copy", first, "topic:t", second, "topic:t2", "--batch", "7", "--partition-by", "source")
    source, target = _per_partition(first, "t"), _per_partition(second, "t2")
    everywhere = [value for values in target.values() for value in values]
    assert len(everywhere) == 300
    for values in source.values():
        mine = set(values)
        assert [value for value in everywhere if value in mine] == values


def test_with_another_count_a_key_goes_where_producers_put_it(urls: tuple[str, str]) -> None:
    """Three partitions into five: a producer that goes on with a key finds its records; keyless ones keep together."""
    first, second = urls
    invoke(second, "topic", "create", "t2", "--partitions", "5")
    done(None, "copy", first, "topic:t", second, "topic:t2")
    with mq.connect(second) as bus:
        found = list(bus.replay(mq.Topic("t2"), mq.EARLIEST))
        with bus.producer() as producer:
            places = {key: producer.send(mq.Topic("t2"), b"", key=key).result(5).partition for key in (b"", b"key")}
        source = {delivery.raw: delivery.partition for delivery in _everything(first, "t") if delivery.key is None}
    for delivery in found:
        if delivery.key in places:
            assert delivery.partition == places[delivery.key]
        elif delivery.key is None:
            assert delivery.partition == source[delivery.raw]
    assert len(found) == 300


def test_through_a_json_file_and_back(urls: tuple[str, str], tmp_path: Path) -> None:
    """A .jsonl file holds all of it, its digest is the topic's, and what is read from it is the same again."""
    first, second = urls
    path = tmp_path / "t.jsonl"
    done(None, "copy", first, "topic:t", f"file:{path}")
    assert _digest(f"file:{path}") == _digest(first, "topic:t")
    done(None, "copy", f"file:{path}", second, "topic:t2", "--create", "--partitions", "3")
    assert _digest(second, "topic:t2") == _digest(first, "topic:t")
    assert _per_partition(first, "t") == _per_partition(second, "t2")
    assert list(tmp_path.glob("*.mqbridge-copy-*")) == []


def test_through_a_queue(urls: tuple[str, str], tmp_path: Path) -> None:
    """A queue is emptied into the target; without message_id, which a queue always makes, the digests agree."""
    first, second = urls
    fields = ("--fields", "value,key,headers,timestamp_ms")
    done(None, "copy", first, "topic:t", first, "queue:q")
    result = done(None, "copy", first, "queue:q", second, "topic:t2", "--create", "--digest", *fields)
    assert result["records"] == 300
    assert result["sha256_records"] == done(None, "digest", first, "topic:t", *fields)["sha256_records"]
    assert done(first, "queue", "describe", "q")["ready"] == 0


def test_to_an_exchange(urls: tuple[str, str]) -> None:
    """Routed by --routing-key; what cannot be routed fails the copy, and stays in the source."""
    first, _ = urls
    invoke(first, "exchange", "create", "e")
    invoke(first, "exchange", "bind", "e", "queue:q", "--key", "k")
    assert invoke(None, "copy", first, "topic:t", first, "exchange:e", "--max", "5").exit_code == 1
    assert done(None, "copy", first, "topic:t", first, "exchange:e", "--routing-key", "k")["records"] == 300


def test_the_next_copy_brings_what_came_since(urls: tuple[str, str]) -> None:
    """The place is kept in a group of the source; a copy that has nothing to do says how to begin anew."""
    first, second = urls
    words = ("copy", first, "topic:t", second, "topic:t2", "--create")
    assert done(None, *words, "--max", "100")["records"] == 100
    assert done(None, *words)["records"] == 200
    again = invoke(None, *words)
    assert again.exit_code == 0
    assert "group delete mqbridge-copy-" in again.stderr
    invoke(first, "produce", "topic:t", stdin=b"new\n")
    assert done(None, *words)["records"] == 1
    assert done(None, *words, "--resume-group", "other")["records"] == 301


def test_text_files_there_and_back(urls: tuple[str, str], tmp_path: Path) -> None:
    """Lines are values, byte for byte; the digest of values compares a topic with a text file."""
    _, second = urls
    path, back = _text(tmp_path / "in.txt", 5000), tmp_path / "out.txt"
    done(None, "copy", f"file:{path}", second, "topic:lines", "--create")
    result = invoke(None, "copy", second, "topic:lines", f"file:{back}")
    assert result.exit_code == 0
    assert back.read_bytes() == path.read_bytes()
    assert _digest(second, "topic:lines")["sha256_values"] == _digest(f"file:{path}")["sha256_values"]


# --- what is refused


def test_text_refuses_what_it_cannot_hold(urls: tuple[str, str], tmp_path: Path) -> None:
    """A value with a line break, or null, would come back as something else: the copy fails and names the way out."""
    result = invoke(None, "copy", urls[0], "topic:t", f"file:{tmp_path}/out.txt")
    assert result.exit_code == 1
    assert ".jsonl" in result.stderr


def test_a_file_of_somebody_else_is_not_cut(urls: tuple[str, str], tmp_path: Path) -> None:
    """A last line without a break that no copy has written is refused, not cut off."""
    path = tmp_path / "notes.jsonl"
    path.write_bytes(b"my notes")
    result = invoke(None, "copy", urls[0], "topic:t", f"file:{path}")
    assert result.exit_code == 3
    assert path.read_bytes() == b"my notes"


def test_a_line_that_is_no_record_stops_the_copy_there(urls: tuple[str, str], tmp_path: Path) -> None:
    """Those before it arrive; when it is mended the same command goes on, and nothing arrives twice."""
    _, second = urls
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"value": "1"}\n{"value": 22}\n{"value": "3"}\n')
    words = ("copy", f"file:{path}", second, "topic:x", "--create")
    result = invoke(None, *words)
    assert result.exit_code == 1
    assert "line 2" in result.stderr
    path.write_bytes(b'{"value": "1"}\n{"value": "2"}\n{"value": "3"}\n')
    assert done(None, *words)["records"] == 2
    assert _per_partition(second, "x") == {0: [b"1", b"2", b"3"]}


def test_a_changed_file_is_not_resumed(urls: tuple[str, str], tmp_path: Path) -> None:
    """The note of an unfinished copy holds for the file that it was made for."""
    path = _text(tmp_path / "in.txt", 100)
    words = ("copy", f"file:{path}", urls[1], "topic:x", "--create", "--max", "50")
    assert done(None, *words)["records"] == 50
    path.write_bytes(b"another file\n" * 1000)
    assert invoke(None, *words).exit_code == 3


@pytest.mark.parametrize(
    "words",
    [
        ("native:", "topic:t", "native:", "topic:t"),
        ("file:a",),
        ("topic:t", "file:a"),
        ("native:", "exchange:e", "file:a"),
        ("file:a", "native:", "topic:t", "--follow"),
        ("a", "b"),
    ],
)
def test_places_that_make_no_copy(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Usage errors, before anything is read."""
    monkeypatch.delenv("MQBRIDGE_URL", raising=False)
    assert invoke(None, "copy", *words).exit_code == 2


def test_a_record_that_the_target_refuses_is_named(
    urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine without repeated headers: exit code 5, which record it is, and nothing of its batch is settled."""
    first, second = urls
    invoke(second, "topic", "create", "t2", "--partitions", "3")
    send = mq.Producer.send

    def refusing(self: mq.Producer, *args: Any, **options: Any) -> mq.Receipt:
        if options["message_id"] == "id-101":
            raise mq.Unsupported("a repeated header cannot be kept", capability="REPEATED_HEADERS")
        return send(self, *args, **options)

    monkeypatch.setattr(mq.Producer, "send", refusing)
    result = invoke(None, "copy", first, "topic:t", second, "topic:t2")
    assert result.exit_code == 5
    (refused,) = [record for record in _everything(first, "t") if record.message_id == "id-101"]
    assert f"the record at partition {refused.partition}, offset {refused.offset} in the source" in result.stderr
    monkeypatch.undo()
    assert done(None, "copy", first, "topic:t", second, "topic:t2")["records"] > 0
    name = "sha256_distinct_records"
    assert _digest(second, "topic:t2")[name] == _digest(first, "topic:t")[name]


def test_what_the_target_cannot_be_is_told_before_anything_is_read(
    urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--create likens the target to its source; where an engine has no such thing, one makes it oneself."""
    first, second = urls
    monkeypatch.setattr(mq.Admin, "ensure", lambda *_: _raise(mq.Unsupported("no", capability="RETENTION_BY_AGE")))
    result = invoke(None, "copy", first, "topic:t", second, "topic:t2", "--create")
    assert result.exit_code == 5
    assert f"mqbridge --url {second} topic create t2" in result.stderr
    assert done(first, "group", "list") == []


def _raise(error: Exception) -> None:
    raise error


def test_no_password_is_shown_of_a_place() -> None:
    """Neither that of the address nor one among the options."""
    (place,) = parse(["kafkas://u:geheim@h:9093?key_password=geheim", "topic:t"], None, ("a",))
    assert "geheim" not in str(place) + place.identity


def test_a_missing_target_is_not_made_unasked(urls: tuple[str, str]) -> None:
    """Exit code 3 without --create, and nothing is taken from the source."""
    first, second = urls
    result = invoke(None, "copy", first, "topic:t", second, "topic:none")
    assert result.exit_code == 3
    assert f"mqbridge --url {second} topic list" in result.stderr
    assert "--create" in result.stderr
    assert done(second, "topic", "list") == []
    assert done(first, "group", "list") == []


@pytest.mark.parametrize("create", [True, False])
def test_a_missing_source_is_looked_for_where_it_should_be(urls: tuple[str, str], create: bool) -> None:
    """The list at the source's URL, also when it is missed while the target is made; never --create."""
    first, second = urls
    words = ("topic:x", "--create") if create else ("queue:q",)
    invoke(second, "queue", "create", "q")
    result = invoke(None, "copy", first, "topic:none", second, *words)
    assert result.exit_code == 3
    assert f"mqbridge --url {first} topic list" in result.stderr
    assert "--create" not in result.stderr


def test_a_file_is_not_written_without_locks(
    urls: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no flock (Windows): refused with exit code 5, a sentence, and no file left behind."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    result = invoke(None, "copy", urls[0], "topic:t", f"file:{tmp_path}/out.jsonl")
    assert result.exit_code == 5
    assert "this system has no flock" in result.stderr
    assert "consume SOURCE --output jsonl" in result.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_the_same_place_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative and an absolute folder lead to one group, and so do two passwords; another server does not."""
    monkeypatch.chdir(tmp_path)
    one, other = parse(["native:./x", "topic:t", f"native:{tmp_path}/x", "topic:t"], None, ("a", "b"))
    assert one.digest == other.digest
    third, fourth = parse(["amqp://u:p@h/", "queue:q", "amqp://u:other@h/", "queue:q"], None, ("a", "b"))
    assert third.digest == fourth.digest != one.digest
    assert "other" not in str(fourth)


# --- killed


def test_a_file_copy_that_was_killed_goes_on(urls: tuple[str, str], tmp_path: Path) -> None:
    """SIGKILL in the middle: the second run goes on from the note, nothing is lost, and only a window comes twice."""
    _, second = urls
    path = _text(tmp_path / "in.txt", 5 * COUNT)
    words = ("copy", f"file:{path}", second, "topic:x", "--create", "--batch", "20")
    kill_when(start(None, *words), lambda: list(tmp_path.glob("in.txt.mqbridge-copy-*.json")), "a first note")
    result = invoke(None, *words)
    assert result.exit_code == 0
    assert "going on at byte" in result.stderr
    found = _digest(second, "topic:x")
    assert found["distinct_values"] == 5 * COUNT
    assert found["sha256_distinct_values"] == _digest(f"file:{path}")["sha256_distinct_values"]
    assert found["records"] < 10 * COUNT
    assert list(tmp_path.glob("*.mqbridge-copy-*")) == []


@pytest.mark.parametrize("target", ["out.txt", "out.jsonl"])
def test_a_copy_to_a_file_that_was_killed_goes_on(urls: tuple[str, str], tmp_path: Path, target: str) -> None:
    """SIGKILL while it appends, then a torn line: it is cut, the group goes on, nothing is lost."""
    first, _ = urls
    path, out = _text(tmp_path / "in.txt"), tmp_path / target
    done(None, "copy", f"file:{path}", first, "topic:x", "--create", "--partitions", "2")
    words = ("copy", first, "topic:x", f"file:{out}", "--batch", "20")
    kill_when(start(None, *words), lambda: out.exists() and out.stat().st_size > 300_000, "some of it written")
    with open(out, "ab") as file:
        file.write(b'{"value": "to')
    result = invoke(None, *words)
    assert result.exit_code == 0
    assert "torn last line" in result.stderr
    found = _digest(f"file:{out}")
    assert found["distinct_values"] == COUNT
    assert found["sha256_distinct_values"] == _digest(f"file:{path}")["sha256_distinct_values"]
    assert COUNT <= found["records"] < 2 * COUNT


def test_a_copy_between_folders_that_was_killed_goes_on(urls: tuple[str, str], tmp_path: Path) -> None:
    """SIGKILL between two brokers that the copy hosted: both recover, nothing is lost, order holds up to repeats."""
    first, second = urls
    path = _text(tmp_path / "in.txt")
    done(None, "copy", f"file:{path}", first, "topic:x", "--create", "--partitions", "2")
    words = ("copy", first, "topic:x", second, "topic:y", "--create", "--batch", "50")
    logs = tmp_path / "second" / "topics" / "y"
    kill_when(
        start(None, *words),
        lambda: sum(file.stat().st_size for file in logs.rglob("*") if file.is_file()) > 300_000,
        "some of it copied",
    )
    assert invoke(None, *words).exit_code == 0
    found, wanted = _digest(second, "topic:y"), _digest(first, "topic:x")
    assert found["sha256_distinct_records"] == wanted["sha256_distinct_records"]
    source, target = _per_partition(first, "x"), _per_partition(second, "y")
    for partition, values in source.items():
        assert list(dict.fromkeys(target[partition])) == values


def test_a_queue_copy_that_was_killed_loses_nothing(urls: tuple[str, str], tmp_path: Path) -> None:
    """SIGKILL while a queue is emptied: each message is in the file or still in the queue."""
    first, _ = urls
    path, out = _text(tmp_path / "in.txt", 5_000), tmp_path / "out.jsonl"
    done(None, "copy", f"file:{path}", first, "queue:q")
    words = ("copy", first, "queue:q", f"file:{out}", "--batch", "20")
    kill_when(start(None, *words), lambda: out.exists() and out.stat().st_size > 200_000, "some written")
    assert invoke(None, *words).exit_code == 0
    assert _digest(f"file:{out}")["distinct_values"] == 5_000


def test_an_interrupted_copy_settles_what_it_has(urls: tuple[str, str], tmp_path: Path) -> None:
    """SIGINT: what was written is confirmed and settled, so that going on repeats nothing; the exit code is 130."""
    first, second = urls
    path = _text(tmp_path / "in.txt")
    done(None, "copy", f"file:{path}", first, "topic:x", "--create")
    copying = start(None, "copy", first, "topic:x", second, "topic:y", "--create", "--batch", "20")
    logs = tmp_path / "second" / "topics" / "y"
    wait_until(lambda: sum(f.stat().st_size for f in logs.rglob("*") if f.is_file()) > 300_000, "something copied")
    copying.send_signal(signal.SIGINT)
    code, _, said = finish(copying)
    assert code == 130
    assert "goes on from here" in said
    assert invoke(None, "copy", first, "topic:x", second, "topic:y").exit_code == 0
    assert _digest(second, "topic:y") == _digest(first, "topic:x")


# --- the loop


class _Source:
    unit = "records"
    window = 100

    def __init__(self, batches: int) -> None:
        self.total: int | None = None
        self.settled: list[int] = []
        self._batches = batches

    def batches(self) -> Iterator[Batch]:
        for number in range(self._batches):
            yield Batch([Record(b"%d" % number)], number)

    def settle(self, batch: Batch) -> int:
        self.settled.append(batch.mark)
        return 1

    def close(self, *, complete: bool) -> None:
        """Nothing to free."""


class _Sink:
    window = 3

    def __init__(self, fails_at: int | None = None, cannot_write: int | None = None) -> None:
        self._fails_at, self._cannot_write = fails_at, cannot_write
        self.written: list[int] = []

    def write(self, batch: list[Record]) -> int:
        number = int(batch[0].value or b"0")
        if number == self._cannot_write:
            raise mq.CodecError("no")
        self.written.append(number)
        return number

    def is_confirmed(self, ticket: Any) -> bool:
        return False

    def confirm(self, ticket: Any) -> None:
        if ticket == self._fails_at:
            raise mq.SendFailed("no")

    def close(self, *, complete: bool) -> None:
        """Nothing to free."""


def test_nothing_is_settled_past_a_failure() -> None:
    """Batches behind one that failed are not settled, though they were confirmed: a file's place would move past it."""
    source, sink = _Source(10), _Sink(fails_at=4)
    with pytest.raises(mq.SendFailed):
        loop.copy(source, sink, Progress(None, "records"), None)
    assert source.settled == [0, 1, 2, 3]


def test_what_was_written_before_a_failed_write_is_settled() -> None:
    """A batch that cannot be written leaves those before it confirmed and settled."""
    source, sink = _Source(10), _Sink(cannot_write=2)
    with pytest.raises(mq.CodecError):
        loop.copy(source, sink, Progress(None, "records"), None)
    assert source.settled == [0, 1]


def test_no_more_than_the_window_is_unconfirmed() -> None:
    """A slow target does not let the copy run ahead: memory, and repeats after a kill, stay bounded."""
    seen: list[int] = []

    class Watching(_Sink):
        def confirm(self, ticket: Any) -> None:
            seen.append(len(self.written) - len(source.settled))

    source = _Source(10)
    loop.copy(source, Watching(), Progress(None, "records"), None)
    assert max(seen) == 4
    assert source.settled == list(range(10))


def test_what_is_confirmed_is_settled_at_once() -> None:
    """What is not settled when the process dies comes twice: it must not wait for the window to fill."""

    class Quick(_Sink):
        window = 1000

        def is_confirmed(self, ticket: Any) -> bool:
            return int(ticket) < 7

    seen: list[int] = []

    class Watched(_Source):
        def batches(self) -> Iterator[Batch]:
            for batch in super().batches():
                seen.append(len(self.settled))
                yield batch

    source = Watched(10)
    loop.copy(source, Quick(), Progress(None, "records"), None)
    assert seen == [0, 1, 2, 3, 4, 5, 6, 7, 7, 7]
    assert source.settled == list(range(10))


def test_large_records_are_settled_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window is bounded in bytes, too: records of a megabyte are few long before they are many."""
    monkeypatch.setattr(loop, "WINDOW_BYTES", 2)
    seen: list[int] = []

    class Watching(_Sink):
        window = 1000

        def confirm(self, ticket: Any) -> None:
            seen.append(len(self.written) - len(source.settled))

    source = _Source(10)
    loop.copy(source, Watching(), Progress(None, "records"), None)
    assert max(seen) == 3
    assert source.settled == list(range(10))


def test_a_source_that_hands_out_little_is_settled_in_time() -> None:
    """A queue gives no more than its prefetch: the copy settles before that, rather than wait for an idle moment."""
    source = _Source(10)
    source.window = 2
    seen: list[int] = []

    class Watching(_Sink):
        window = 1000

        def write(self, batch: list[Record]) -> int:
            number = super().write(batch)
            seen.append(len(self.written) - len(source.settled))
            return number

    loop.copy(source, Watching(), Progress(None, "records"), None)
    assert max(seen) == 3


def test_a_partition_is_only_chosen_on_the_thread_that_sends() -> None:
    """The partitioner knows the record at hand; on another thread that would be another record: refused."""
    same = SamePartition()
    same.partition = 5
    assert same("t", None, b"", 3) == 2
    refused: list[Exception] = []

    def elsewhere() -> None:
        try:
            same("t", None, b"", 3)
        except mq.ConcurrentUse as error:
            refused.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(refused) == 1


def test_a_digest_of_a_queue_is_refused(urls: tuple[str, str]) -> None:
    """It could only be had by taking the messages: exit code 5, and they stay."""
    first, _ = urls
    invoke(first, "produce", "queue:q", stdin=b"1\n")
    assert invoke(None, "digest", first, "queue:q").exit_code == 5
    assert done(first, "queue", "describe", "q")["ready"] == 1


def test_a_digest_of_a_json_file_names_a_bad_line(tmp_path: Path) -> None:
    """A digest over part of a file would say nothing."""
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"value": "1"}) + "\nnonsense\n")
    result = invoke(None, "digest", f"file:{path}")
    assert result.exit_code == 1
    assert result.stdout == ""
