"""The suite's own reader of a storage folder: it sees what the engine wrote, and is not fooled by damage."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import mqbridge as mq
import mqbridge_conformance.native_files as module
from mqbridge_conformance.native_files import Folder, frames, quote
from mqbridge_conformance.observers import FileObserver, PublicObserver


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[mq.Bus]:
    with mq.connect(f"native:{tmp_path / 'f'}?segment_bytes=4096") as found:
        yield found


def test_it_imports_nothing_of_the_library() -> None:
    """A reader that shared the engine's code would share its mistakes."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    names = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not [name for name in names if name.startswith("mqbridge")]


def test_it_agrees_with_the_engine_on_topology_offsets_and_letters(bus: mq.Bus, tmp_path: Path) -> None:
    """After making, binding, committing, growing, rolling, deleting and dying, both see the same."""
    admin = bus.admin
    topic, gone = mq.Topic("Upper.Case_T", partitions=2), mq.Topic("gone")
    queue, exchange = mq.Queue("Jobs", max_attempts=1), mq.Exchange("X")
    admin.ensure(topic, gone, queue, exchange, mq.Exchange("Y"), mq.Binding(exchange, queue, key="k"))
    with bus.producer(linger_s=0) as producer:
        for number in range(40):
            producer.send(topic, bytes(200), key=b"%d" % number, headers={"h": b"1"}).result(5)
        producer.send(queue, b"dies", headers=[("a", b"1"), ("a", b"2")]).result(5)
        producer.send(queue, b"stays").result(5)
        producer.send(queue, b"late", delay_s=3600).result(5)
    for group in ("one", "two", "three"):
        with bus.consumer([topic, gone], group=group, start=mq.EARLIEST) as reader:
            for delivery in reader.poll(timeout=5):
                delivery.ack()
    admin.delete_group("three")
    admin.add_partitions(topic, 3)
    admin.delete_records(topic, {0: 5, 1: 1})
    admin.delete(gone)
    admin.unbind(mq.Binding(exchange, queue, key="k"))
    admin.delete(mq.Exchange("Y"))
    with bus.consumer(queue, prefetch=1) as taker:
        (delivery,) = taker.poll(timeout=5)
        delivery.retry(error="boom")
        taker.commit(5)
        taker.poll(timeout=5)
        by_files, by_asking = FileObserver(tmp_path / "f"), PublicObserver(bus)
        assert by_files.counts("Jobs") == by_asking.counts("Jobs") == (0, 1, 1)
    assert by_files.names() == by_asking.names()
    assert by_files.names().groups == ["one", "two"]
    assert by_files.records(topic.name) == by_asking.records(topic.name)
    assert len(list((tmp_path / "f").rglob("*.log"))) > 4, "nothing rolled, so that was not tested"
    assert by_files.committed("one") == by_asking.committed("one") != {}
    assert by_files.committed("nobody") == by_asking.committed("nobody") == {}
    assert by_files.letters("Jobs") == by_asking.letters("Jobs")
    assert [letter.error for letter in by_files.letters("Jobs")] == ["boom"]
    assert by_files.counts("Jobs") == by_asking.counts("Jobs") == (1, 0, 1)


def test_the_bytes_of_files_change_with_a_record_and_not_by_looking(bus: mq.Bus, tmp_path: Path) -> None:
    """A snapshot is equal to the next one unless something was written."""
    observer = FileObserver(tmp_path / "f")
    bus.admin.ensure(mq.Topic("t"))
    before = observer.snapshot()
    PublicObserver(bus).snapshot()
    assert observer.snapshot() == before
    with bus.producer() as producer:
        producer.send(mq.Topic("t"), b"x").result(5)
    assert observer.snapshot() != before


def test_a_frame_under_way_ends_the_reading_and_a_damaged_one_is_told(bus: mq.Bus, tmp_path: Path) -> None:
    """Cut short at any byte it gives whole records only; with a bit turned it raises."""
    bus.admin.ensure(mq.Topic("t"))
    with bus.producer() as producer:
        for number in range(3):
            producer.send(mq.Topic("t"), b"%d" % number).result(5)
    (log,) = (tmp_path / "f" / "topics").rglob("*.log")
    copy = tmp_path / "copy.log"
    whole = list(frames(log))
    data = log.read_bytes()
    assert len(whole) == 3
    for end in range(len(data)):
        copy.write_bytes(data[:end])
        found = list(frames(copy))
        assert found == whole[: len(found)]
        assert len(found) < 3
    for at in range(8, len(data)):
        copy.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(ValueError, match="checksum"):
            list(frames(copy))


def test_names_of_files_are_quoted_as_the_layout_says() -> None:
    """Upper case, what is unusual, a leading dot, and what is too long."""
    assert quote("orders-1_a.b") == "orders-1_a.b"
    assert quote("Orders") == "=orders"
    assert quote(".x/\u00e9") == "%2ex%2f%c3%a9"
    assert len(quote("A" * 181)) == 200


def test_reading_beside_a_writer_gives_a_prefix(bus: mq.Bus, tmp_path: Path) -> None:
    """While another thread appends, every look is a run of whole records from the first one on."""
    bus.admin.ensure(mq.Topic("t"))
    folder, done = Folder(tmp_path / "f"), threading.Event()

    def write() -> None:
        with bus.producer(linger_s=0) as producer:
            for number in range(300):
                producer.send(mq.Topic("t"), b"%d" % number)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    looks = 0
    while not done.is_set() or not looks:
        values = [row.value for _, row in folder.partition("t", 0)]
        assert values == [b"%d" % number for number in range(len(values))]
        looks += 1
    writer.join()
    assert len(folder.partition("t", 0)) == 300
