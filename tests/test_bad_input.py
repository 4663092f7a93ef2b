"""Every error of the tree, reached as a user would reach it: what it says, and what it left alone."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.testing import VirtualClock, wait_until

LOG = mq.Topic("orders", partitions=2)
ONE = mq.Topic("single", partitions=1)
WORK = mq.Queue("work")


@pytest.fixture
def bus() -> Iterator[mq.Bus]:
    with mq.connect("native:") as bus:
        bus.admin.ensure(LOG, ONE, WORK)
        yield bus


def send(bus: mq.Bus, destination: Any, *values: bytes) -> None:
    with bus.producer() as producer:
        for value in values:
            producer.send(destination, value)


# --- connecting ---------------------------------------------------------------------------------------------------


def test_unknown_scheme_names_the_nearest() -> None:
    """A misspelt scheme is a configuration error that names the scheme that was meant."""
    with pytest.raises(mq.ConfigurationError, match="'native'"):
        mq.connect("nativ:")


@pytest.mark.parametrize(("url", "extra"), [("kafka://localhost:9092", "kafka"), ("amqp://localhost/", "rabbitmq")])
def test_missing_extra_is_named(url: str, extra: str) -> None:
    """An engine that is not installed is refused with the command that installs it."""
    with pytest.raises(mq.ConfigurationError, match=rf"mqbridge\[{extra}\]"):
        mq.connect(url)


@pytest.mark.parametrize("url", ["", "orders", "native://host/folder", "native:?name=a&name=b"])
def test_what_is_not_a_url_is_refused(url: str) -> None:
    """Text that is no URL of the engine says what one looks like, or what is wrong with it."""
    with pytest.raises(mq.ConfigurationError):
        mq.connect(url)


def test_a_password_is_not_shown() -> None:
    """Neither an error nor a repr shows the password of a URL."""
    with pytest.raises(mq.ConfigurationError) as caught:
        mq.connect("native://user:secret@host/x")
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value)


def test_unknown_option_names_the_nearest() -> None:
    """An unknown option is refused and the closest known one is named."""
    with pytest.raises(mq.UnsupportedOption, match="durability") as caught:
        mq.connect("native:?durabilty=disk")
    assert caught.value.nearest == "durability"
    assert caught.value.code == "unsupported_option"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("native:?durability=maybe", {}),
        ("native:?segment_bytes=many", {}),
        ("native:./x?name=y", {}),
        ("native:?name=x", {"name": "y"}),
    ],
)
def test_bad_and_contradicting_options_are_refused(url: str, options: dict[str, str]) -> None:
    """Values that make no sense, and options that contradict each other, never connect."""
    with pytest.raises(mq.ConfigurationError):
        mq.connect(url, options=options)


def test_a_file_in_place_of_the_folder_is_unreachable(tmp_path: Path) -> None:
    """A path that is a file cannot be opened as a folder, and the file is left alone."""
    place = tmp_path / "file"
    place.write_text("mine")
    with pytest.raises((mq.Unreachable, mq.ConfigurationError)) as caught:
        mq.connect(f"native:{place}")
    assert str(place) in str(caught.value)
    assert place.read_text() == "mine"


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    """A folder with other files in it is refused, and nothing is written there."""
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(mq.ConfigurationError, match="thesis"):
        mq.connect(f"native:{tmp_path}")
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


NO_RIGHTS = """
import os, sys
import mqbridge as mq
mq.connect("native:").close()  # all that is imported on the way is imported now, while it can be read
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    mq.connect("native:" + sys.argv[1])
except mq.MqbridgeError as error:
    print(type(error).__name__, isinstance(error, PermissionError), error.__cause__ is not None)
"""


def test_a_folder_without_rights_is_denied(tmp_path: Path) -> None:
    """A folder that this user may not write is Denied, which is a PermissionError, with the system's error as cause."""
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    for part in (tmp_path, *list(tmp_path.parents)[:4]):
        part.chmod(part.stat().st_mode | 0o011)
    here = Path(mq.__file__).parent.parent
    command = [sys.executable, "-c", NO_RIGHTS, str(locked / "db")]
    result = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(here)}, check=False)
    assert result.stdout.split() == ["Denied", "True", "True"], result.stderr


# --- specifications ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: mq.Topic("no spaces"), "name"),
        (lambda: mq.Topic("a.mqq"), "name"),
        (lambda: mq.Topic("t", partitions=0), "partitions"),
        (lambda: mq.Topic("t", partitions=20_000), "partitions"),
        (lambda: mq.Topic("t", cleanup="shred"), "cleanup"),  # type: ignore[arg-type]
        (lambda: mq.Retention(max_age_s=-1), "retention.max_age_s"),
        (lambda: mq.Queue("q", max_attempts=3, dead_letter=None), "dead_letter"),
        (lambda: mq.Queue("q", max_attempts=0), "max_attempts"),
        (lambda: mq.Queue("q", overflow="explode"), "overflow"),  # type: ignore[arg-type]
        (lambda: mq.Queue("q", max_priority=1000), "max_priority"),
        (lambda: mq.Exchange("x", type="magic"), "type"),  # type: ignore[arg-type]
        (lambda: mq.Binding(mq.Exchange("x"), mq.Topic("t")), "destination"),  # type: ignore[arg-type]
        (lambda: mq.parse("orders"), "destination"),
    ],
)
def test_impossible_specifications_are_refused_when_made(make: Any, field: str) -> None:
    """A specification that cannot be carried out is InvalidSpec, which is a ValueError and names its field."""
    with pytest.raises(mq.InvalidSpec) as caught:
        make()
    assert caught.value.field == field
    assert isinstance(caught.value, ValueError)


def test_mismatch_names_every_field(bus: mq.Bus) -> None:
    """ensure() of what exists differently says field by field what was wanted and what is there."""
    with pytest.raises(mq.Mismatch, match="partitions: wanted 5, found 2") as caught:
        bus.admin.ensure(mq.Topic("orders", partitions=5, retention=mq.Retention(max_bytes=10_000)))
    assert ("partitions", 5, 2) in caught.value.differences
    assert ("retention.max_bytes", 10_000, None) in caught.value.differences
    assert len(bus.admin.offsets(LOG)) == 2
    with pytest.raises(mq.Mismatch, match="max_length"):
        bus.admin.ensure(mq.Queue("work", max_length=3))


# --- sending ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("destination", [mq.Topic("none"), mq.Queue("none"), mq.Exchange("none")])
def test_sending_to_what_is_missing_is_not_found_and_makes_nothing(bus: mq.Bus, destination: Any) -> None:
    """A missing destination is NotFound, a LookupError, and is not created by sending."""
    with bus.producer() as producer, pytest.raises(mq.NotFound) as caught:
        producer.send(destination, b"x")
    assert isinstance(caught.value, LookupError)
    names = [d.name for d in (*bus.admin.list_topics(), *bus.admin.list_queues(), *bus.admin.list_exchanges())]
    assert "none" not in names


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"key": 7}, "key"),
        ({"headers": {"a": 1}}, "headers"),
        ({"headers": {"mqbridge-id": b"x"}}, "headers"),
        ({"headers": {7: b"x"}}, "headers"),
        ({"timestamp": 7}, "timestamp"),
        ({"message_id": 7}, "message_id"),
        ({"routing_key": "a.b"}, "routing_key"),
    ],
)
def test_wrong_arguments_of_send_name_their_field(bus: mq.Bus, options: dict[str, Any], field: str) -> None:
    """A key, header, timestamp or routing key of the wrong kind is refused, and nothing is sent."""
    with bus.producer() as producer:
        with pytest.raises(mq.InvalidSpec) as caught:
            producer.send(ONE, b"x", **options)
        assert caught.value.field == field
    assert bus.admin.offsets(ONE)[0].end == 0


def test_a_naive_timestamp_is_refused(bus: mq.Bus) -> None:
    """A timestamp without a time zone would mean another moment on another machine."""
    with bus.producer() as producer, pytest.raises(mq.ConfigurationError, match="time zone"):
        producer.send(ONE, b"x", timestamp=dt.datetime(2026, 1, 1))


@pytest.mark.parametrize("options", [{"priority": 1}, {"delay_s": 1.0}, {"expires_in_s": 1.0}])
def test_queue_arguments_on_a_topic_are_unsupported(bus: mq.Bus, options: dict[str, Any]) -> None:
    """A log has no priority, delay or expiry: the argument is refused, with what to use instead."""
    with bus.producer() as producer, pytest.raises(mq.Unsupported) as caught:
        producer.send(ONE, b"x", **options)
    assert caught.value.instead
    assert bus.admin.offsets(ONE)[0].end == 0


def test_too_large_is_rejected_before_sending(bus: mq.Bus) -> None:
    """A message above the engine's limit is Rejected with both sizes; one at the limit goes through."""
    limit = bus.limits.max_message_bytes
    with bus.producer() as producer:
        with pytest.raises(mq.Rejected, match=str(limit)) as caught:
            producer.send(ONE, b"x" * (limit + 1))
        assert not caught.value.retryable
        with pytest.raises(mq.Rejected):
            producer.send(ONE, b"x" * limit, headers={"h": b"y"})
        assert producer.send(ONE, b"x" * limit).result().offset == 0


def test_values_the_codec_cannot_take_are_codec_errors(bus: mq.Bus) -> None:
    """What a codec cannot encode is refused in send(), and nothing is sent."""
    with bus.producer() as producer:
        with pytest.raises(mq.CodecError, match="Nothing was sent"):
            producer.send(mq.Topic("single", codec=mq.codecs.json), {"x": object()})
        with pytest.raises(mq.CodecError):
            producer.send(ONE, "text")  # type: ignore[arg-type]
        with pytest.raises(mq.InvalidSpec, match="nullable"):
            producer.send(mq.Topic("single", nullable=False), None)
    assert bus.admin.offsets(ONE)[0].end == 0


def test_unroutable_fails_the_receipt(bus: mq.Bus) -> None:
    """A message that no binding matches fails with Unroutable; others of the same batch are applied."""
    exchange = mq.Exchange("events", type="direct")
    bus.admin.ensure(exchange, mq.Binding(exchange, WORK, key="yes"))
    with bus.producer() as producer:
        receipts = [producer.send(exchange, b"x", routing_key=key) for key in ("yes", "no", "yes")]
        assert isinstance(receipts[1].exception(5), mq.Unroutable)
        assert receipts[0].result(5)
        assert receipts[2].result(5)
    assert bus.admin.depth(WORK) == 2


def test_a_full_queue_rejects(bus: mq.Bus) -> None:
    """A queue at its limit rejects the message, which is not applied and may be tried again."""
    short = mq.Queue("short", max_length=2)
    bus.admin.ensure(short)
    with bus.producer() as producer:
        receipts = [producer.send(short, b"x") for _ in range(3)]
        error = receipts[2].exception(5)
        assert isinstance(error, mq.Rejected)
        assert error.outcome == "not_applied"
        receipts[0].result(5)
    assert bus.admin.depth(short) == 2


def test_failures_nobody_saw_raise_send_failed(bus: mq.Bus) -> None:
    """Leaving the producer raises one SendFailed with the count, the first failures and their outcomes."""
    short = mq.Queue("short", max_length=1)
    bus.admin.ensure(short)
    with pytest.raises(mq.SendFailed) as caught:
        send(bus, short, *[b"x"] * 30)
    assert caught.value.count == 29
    assert len(caught.value.failures) == 20
    assert caught.value.outcomes == {"not_applied": 29}


def test_the_bodys_exception_wins(bus: mq.Bus) -> None:
    """When the body of `with` raised, its exception comes out, with the send failures attached as a note."""
    short = mq.Queue("short", max_length=1)
    bus.admin.ensure(short)

    def body() -> None:
        with bus.producer() as producer:
            producer.send(short, b"x")
            producer.send(short, b"x")
            raise KeyError("body")

    with pytest.raises(KeyError) as caught:
        body()
    assert any("SendFailed" in note for note in caught.value.__notes__)


def test_refused_producer_options() -> None:
    """Options that the engine cannot honour are refused when the producer is made."""
    with mq.connect("native:") as bus:
        for options in ({"acks": "none"}, {"idempotent": True}, {"compression": "zstd"}):
            with pytest.raises(mq.Unsupported):
                bus.producer(**options)  # type: ignore[arg-type]
        for wrong in ({"acks": "some"}, {"linger_s": -1.0}, {"partitioner": "random"}):
            with pytest.raises(mq.ConfigurationError):
                bus.producer(**wrong)  # type: ignore[arg-type]


def test_a_partitioner_outside_the_topic_is_refused(bus: mq.Bus) -> None:
    """A custom partitioner that names no partition of the topic is refused, and nothing is sent."""
    with bus.producer(partitioner=lambda *_: 99) as producer, pytest.raises(mq.ConfigurationError, match="99"):
        producer.send(LOG, b"x")
    assert sum(o.end for o in bus.admin.offsets(LOG).values()) == 0


# --- receiving and settling ------------------------------------------------------------------------------------------


def test_a_topic_needs_group_and_start(bus: mq.Bus) -> None:
    """There is no silent default for where a group begins."""
    with pytest.raises(mq.ConfigurationError, match="start= is mandatory"):
        bus.consumer(LOG, group="g")  # type: ignore[call-overload]
    with pytest.raises(mq.ConfigurationError, match="group"):
        bus.consumer(LOG, start=mq.EARLIEST)  # type: ignore[call-overload]
    with pytest.raises(mq.InvalidSpec):
        bus.consumer("orders", group="g", start=mq.EARLIEST)  # type: ignore[call-overload]


@pytest.mark.parametrize("missing", [mq.Topic("none"), mq.Queue("none")])
def test_consuming_what_is_missing_is_not_found(bus: mq.Bus, missing: Any) -> None:
    """Consuming never creates a destination either."""
    options = {"group": "g", "start": mq.EARLIEST} if isinstance(missing, mq.Topic) else {}
    with pytest.raises(mq.NotFound):
        bus.consumer(missing, **options)


@pytest.mark.parametrize("source", [ONE, WORK])
def test_settling_twice(bus: mq.Bus, source: Any) -> None:
    """A second verb raises AlreadySettled, and the first one stands."""
    send(bus, source, b"a")
    options = {"group": "g", "start": mq.EARLIEST} if source is ONE else {}
    with bus.consumer(source, **options) as consumer:
        (delivery,) = consumer.poll(timeout=5)
        delivery.ack()
        for verb in (delivery.ack, delivery.release, delivery.retry):
            with pytest.raises(mq.AlreadySettled, match="the first verb stands"):
                verb()
        consumer.commit()


@pytest.mark.parametrize("source", [ONE, WORK])
def test_settling_after_close_is_lease_lost(bus: mq.Bus, source: Any) -> None:
    """After the consumer is closed its deliveries are not ours, and are delivered again."""
    send(bus, source, b"a")
    options = {"group": "g", "start": mq.EARLIEST} if source is ONE else {}
    consumer = bus.consumer(source, **options)
    (delivery,) = consumer.poll(timeout=5)
    consumer.close()
    with pytest.raises(mq.LeaseLost):
        delivery.ack()
    with pytest.raises(mq.Closed):
        consumer.poll()
    with bus.consumer(source, **options) as again:
        assert [d.raw for d in again.poll(timeout=5)] == [b"a"]


def test_a_revoked_partition_is_lease_lost(bus: mq.Bus) -> None:
    """A verb on a delivery of a partition that moved raises LeaseLost; the new owner gets the message."""
    send(bus, ONE, b"a")
    first = bus.consumer(ONE, group="g", start=mq.EARLIEST, drain_timeout_s=0.05, rebalance="eager")
    (delivery,) = first.poll(timeout=5)
    second = bus.consumer(ONE, group="g", start=mq.EARLIEST, rebalance="eager")

    def moved() -> bool:
        first.poll(timeout=0.01)
        second.poll(timeout=0.01)
        return delivery.settled

    wait_until(moved, timeout_s=10)
    with pytest.raises(mq.LeaseLost, match="another consumer"):
        delivery.ack()


def test_a_poison_record_does_not_break_poll(bus: mq.Bus) -> None:
    """A value that cannot be decoded raises CodecError at .value, with .raw at hand; poll goes on, reject works."""
    json_work = mq.Queue("work", codec=mq.codecs.json)
    send(bus, WORK, b"{", b"1")
    with bus.consumer(json_work) as consumer:
        poison, good = consumer.poll(timeout=5)
        with pytest.raises(mq.CodecError) as caught:
            poison.value  # noqa: B018 - the read is what raises
        assert caught.value.__cause__ is not None
        assert poison.raw == b"{"
        assert good.value == 1
        poison.reject("not JSON")
        good.ack()
        consumer.commit()
    (dead,) = bus.admin.dead_letters(WORK)
    assert dead.death is not None
    assert dead.death.error == "not JSON"


def test_reject_without_a_dead_letter_destination_settles_nothing(bus: mq.Bus) -> None:
    """reject() that would drop is refused, and the delivery can still be acked."""
    plain = mq.Queue("plain", dead_letter=None)
    bus.admin.ensure(plain)
    send(bus, plain, b"a")
    send(bus, ONE, b"a")
    sources = (bus.consumer(plain), bus.consumer(ONE, group="g", start=mq.EARLIEST))
    for consumer in sources:
        (delivery,) = consumer.poll(timeout=5)
        with pytest.raises(mq.ConfigurationError, match="Nothing was settled"):
            delivery.reject("x")
        delivery.ack()
        consumer.commit()


def test_two_threads_in_one_consumer(bus: mq.Bus) -> None:
    """The second thread that polls gets ConcurrentUse; the first one is not disturbed."""
    consumer = bus.consumer(ONE, group="g", start=mq.EARLIEST)
    consumer.wait_assigned()
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.extend(consumer.poll(timeout=20)))
    thread.start()
    wait_until(lambda: consumer._polling.locked(), timeout_s=5)
    with pytest.raises(mq.ConcurrentUse):
        consumer.poll(timeout=0)
    send(bus, ONE, b"a")
    thread.join(20)
    assert [d.raw for d in got] == [b"a"]


def test_offset_lost_is_raised_until_decided(bus: mq.Bus) -> None:
    """A committed offset that is gone raises OffsetLost with both numbers, until a seek; on_gap decides beforehand."""
    send(bus, ONE, *[b"%d" % n for n in range(10)])
    with bus.consumer(ONE, group="g", start=mq.EARLIEST) as consumer:
        for delivery in consumer.poll(2, timeout=5):
            delivery.ack()
    bus.admin.delete_records(ONE, {0: 6})
    with bus.consumer(ONE, group="g", start=mq.EARLIEST) as consumer:
        for _ in range(2):
            with pytest.raises(mq.OffsetLost) as caught:
                consumer.poll(timeout=5)
        assert (caught.value.__dict__["committed"], caught.value.__dict__["start"]) == (2, 6)
        consumer.seek(ONE, 0, 8)
        assert [d.raw for d in consumer.poll(timeout=5)] == [b"8", b"9"]
    bus.admin.reset_offsets("other", ONE, mq.At({0: 6}), dry_run=False)
    bus.admin.delete_records(ONE, {0: 8})
    with bus.consumer(ONE, group="other", start=mq.LATEST, on_gap="earliest") as consumer:
        assert consumer.poll(timeout=5)[0].offset == 8


def test_a_deleted_queue_ends_its_consumers(bus: mq.Bus) -> None:
    """A consumer of a queue that is deleted is told so, instead of waiting for messages that cannot come."""
    with bus.consumer(WORK) as consumer:
        assert consumer.poll(timeout=0) == []
        bus.admin.delete(WORK)
        with pytest.raises(mq.NotFound, match="work"):
            consumer.poll(timeout=10)


def test_the_same_instance_twice_fences_the_first(bus: mq.Bus) -> None:
    """A second consumer with the same instance id takes the place; the first one is Fenced."""
    first = bus.consumer(ONE, group="g", start=mq.EARLIEST, instance_id="a")
    first.wait_assigned()
    second = bus.consumer(ONE, group="g", start=mq.EARLIEST, instance_id="a")
    assert second.wait_assigned() == (("single", 0),)
    with pytest.raises(mq.Fenced, match="instance_id"):
        first.poll(timeout=5)


def test_no_assignment_is_a_timeout(bus: mq.Bus) -> None:
    """A member without a partition times out in wait_assigned, which is a TimeoutError and applied nothing."""
    with bus.consumer(ONE, group="g", start=mq.EARLIEST) as first:
        first.wait_assigned()
        with bus.consumer(ONE, group="g", start=mq.EARLIEST) as second:
            with pytest.raises(mq.OperationTimeout) as caught:
                second.wait_assigned(timeout=0.2)
            assert isinstance(caught.value, TimeoutError)
            assert caught.value.outcome == "not_applied"


def test_reset_is_refused_while_the_group_is_active(bus: mq.Bus) -> None:
    """Offsets of a running group are not moved under its feet; a dry run changes nothing."""
    send(bus, ONE, b"a", b"b")
    with bus.consumer(ONE, group="g", start=mq.LATEST) as consumer:
        consumer.wait_assigned()
        with pytest.raises(mq.Rejected, match="1 members"):
            bus.admin.reset_offsets("g", ONE, mq.EARLIEST, dry_run=False)
    plan = bus.admin.reset_offsets("g", ONE, mq.EARLIEST)
    assert (plan.before, plan.after, plan.applied) == ({0: 2}, {0: 0}, False)
    assert bus.admin.describe_group("g").committed == {("single", 0): 2}
    assert bus.admin.reset_offsets("g", ONE, mq.EARLIEST, dry_run=False).applied
    assert bus.admin.describe_group("g").committed == {("single", 0): 0}


def test_emulations_can_be_forbidden() -> None:
    """emulation="forbid" refuses what is only emulated, before anything is sent."""
    with mq.connect("native:", emulation="forbid") as bus:
        bus.admin.ensure(ONE)
        with pytest.raises(mq.Unsupported, match="emulation='forbid'"):
            bus.consumer(ONE, group="g", start=mq.EARLIEST, dead_letter=True)
        with pytest.raises(mq.Unsupported):
            bus.require(mq.Capability.SEND_OFFSET, mq.Capability.TOPIC_RETRY)


def test_replayed_deliveries_have_nothing_to_settle(bus: mq.Bus) -> None:
    """A replay belongs to no group: each verb says so."""
    send(bus, ONE, b"a")
    (delivery,) = bus.replay(ONE, mq.EARLIEST)
    for verb in (delivery.ack, delivery.release, delivery.retry, delivery.reject):
        with pytest.raises(mq.ConfigurationError, match="replay"):
            verb()


# --- ending ----------------------------------------------------------------------------------------------------------


def test_everything_is_closed_after_close() -> None:
    """After close each entry raises Closed, and closing twice is harmless."""
    bus = mq.connect("native:")
    bus.admin.ensure(ONE)
    producer = bus.producer()
    consumer = bus.consumer(ONE, group="g", start=mq.EARLIEST)
    bus.close()
    bus.close()
    calls = (
        lambda: bus.producer(),
        lambda: bus.consumer(ONE, group="g", start=mq.EARLIEST),
        lambda: bus.admin.list_topics(),
        lambda: bus.replay(ONE, mq.EARLIEST),
        lambda: producer.send(ONE, b"x"),
        lambda: consumer.poll(),
    )
    for call in calls:
        with pytest.raises(mq.Closed):
            call()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_use_after_fork(tmp_path: Path) -> None:
    """In a forked child every entry raises ForkedProcess, and the parent's bus goes on working."""
    with mq.connect(f"native:{tmp_path / 'db'}") as bus:
        bus.admin.ensure(ONE)
        producer = bus.producer()
        producer.send(ONE, b"parent").result(5)
        child = os.fork()
        if child == 0:
            caught = 0
            for call in (lambda: producer.send(ONE, b"child"), lambda: bus.producer(), lambda: bus.admin.list_topics()):
                try:
                    call()
                except mq.ForkedProcess:
                    caught += 1
            os._exit(0 if caught == 3 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert producer.send(ONE, b"parent").result(5).offset == 1


def test_an_unclosed_bus_warns() -> None:
    """A program that forgets to close its bus is told so, and what it sent is there."""
    code = "import mqbridge as mq; bus = mq.connect('native:')"
    here = Path(mq.__file__).parent.parent
    result = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(here)},
        check=True,
        timeout=30,
    )
    assert "ResourceWarning: unclosed bus native:" in result.stderr


# --- faults of the machine -------------------------------------------------------------------------------------------


DISK_FULL = """
import resource, signal, sys
import mqbridge as mq
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
topic = mq.Topic("t", partitions=1)
with mq.connect("native:" + sys.argv[1]) as bus:
    bus.admin.ensure(topic)
    with bus.producer() as producer:
        kept = [producer.send(topic, b"%d" % n).result(10).offset for n in range(10)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        refused = producer.send(topic, b"x" * 100_000).exception(10)
        print(type(refused).__name__, refused.outcome, refused.retryable)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        kept.append(producer.send(topic, b"10").result(10).offset)
    print(kept == list(range(11)), [d.raw for d in bus.replay(topic, mq.EARLIEST)] == [b"%d" % n for n in range(11)])
"""


def test_a_full_disk_refuses_and_goes_on(tmp_path: Path) -> None:
    """With no room the send is Rejected and not applied; nothing is lost, and it goes on when there is room."""
    here = Path(mq.__file__).parent.parent
    command = [sys.executable, "-c", DISK_FULL, str(tmp_path / "db")]
    environment = {**os.environ, "PYTHONPATH": str(here)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=60)
    assert result.stdout.splitlines() == ["Rejected not_applied True", "True True"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """A flipped byte in a stored file is CorruptLog with the file and the offset; nothing is cut off or guessed."""
    folder = tmp_path / "db"
    with mq.connect(f"native:{folder}") as bus:
        bus.admin.ensure(ONE)
        for number in range(5):
            send(bus, ONE, b"value %d" % number)
    (log,) = (folder / "topics").rglob("*.log")
    data = bytearray(log.read_bytes())
    place = data.index(b"value 2")
    data[place] ^= 1
    log.write_bytes(data)
    with pytest.raises(mq.CorruptLog) as caught, mq.connect(f"native:{folder}") as bus:
        list(bus.replay(ONE, mq.EARLIEST))
    assert caught.value.file == str(log)
    assert caught.value.offset_bytes <= place
    assert log.read_bytes() == bytes(data)


HOST = """
import sys
import mqbridge as mq
with mq.connect("native:" + sys.argv[1]) as bus:
    bus.admin.ensure(mq.Topic("single", partitions=1))
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_a_host_that_stops_answering_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    """Sends that were on their way when the host died end with the outcome unknown, and never hang."""
    here = Path(mq.__file__).parent.parent
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, str(tmp_path / "db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(here)},
    )
    try:
        assert host.stdout is not None
        assert host.stdout.readline() == "ready\n"
        with mq.connect(f"native:{tmp_path / 'db'}") as bus:
            producer = bus.producer()
            producer.send(ONE, b"before").result(10)
            host.send_signal(signal.SIGSTOP)
            receipt = producer.send(ONE, b"into the dark")
            with pytest.raises(mq.OperationTimeout) as waited:
                receipt.result(0.2)
            assert waited.value.outcome == "unknown"
            host.kill()
            error = receipt.exception(20)
            assert isinstance(error, mq.ConnectionLost)
            assert error.outcome == "unknown"
            assert isinstance(error, ConnectionError)
            assert producer.send(ONE, b"after").result(20).offset == 1
            producer.close()
    finally:
        host.kill()
        host.wait()
        assert host.stdin is not None
        assert host.stdout is not None
        host.stdin.close()
        host.stdout.close()


def test_a_clock_can_be_virtual() -> None:
    """The clock option takes a clock; a message that expires in an hour does so in no time."""
    clock = VirtualClock()
    with mq.connect("native:", options={"clock": clock}) as bus:
        bus.admin.ensure(WORK)
        with bus.producer() as producer:
            producer.send(WORK, b"x", expires_in_s=3600)
        assert bus.admin.depth(WORK) == 1
        clock.advance(3601)
        assert bus.admin.depth(WORK) == 0
