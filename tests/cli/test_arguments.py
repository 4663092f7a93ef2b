"""What a person types."""

from __future__ import annotations

import datetime as dt

import click
import pytest

import mqbridge as mq
from mqbridge.cli.arguments import DURATION, ESCAPED, HEADER, MOMENT, SIZE, TOPIC, DestinationType
from mqbridge.spi import PartitionOffsets
from tests.cli.running import invoke


@pytest.mark.parametrize(("text", "seconds"), [("90 s", 90), ("1.5h", 5400), ("7d", 604_800), ("250ms", 0.25)])
def test_durations(text: str, seconds: float) -> None:
    """Units of time as people write them."""
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize(("text", "size"), [("1000", 1000), ("64KiB", 65_536), ("10MB", 10_000_000), ("1g", 1 << 30)])
def test_sizes(text: str, size: int) -> None:
    """KiB is 1024 and KB is 1000."""
    assert SIZE.convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "7x", "-1s", "soon"])
def test_a_wrong_duration_is_refused(text: str) -> None:
    """The error shows a right one."""
    with pytest.raises(click.BadParameter, match="15m"):
        DURATION.convert(text, None, None)


@pytest.mark.parametrize(
    "option", ["topic --retention-age", "queue --message-ttl", "queue --expires", "queue --retry-delay"]
)
def test_a_duration_without_a_unit_is_refused(option: str) -> None:
    """`--retention-age 7` could be meant as days: a usage error that names the units, before a broker is opened."""
    noun, flag = option.split()
    result = invoke("native:", noun, "create", "x", flag, "7")
    assert result.exit_code == 2
    assert "units: ms, s, m, h, d, w" in result.stderr
    assert invoke("native:", "consume", "queue:q", "--idle", "1").exit_code == 2


OFFSETS = {0: PartitionOffsets(2, 10, 10, 10), 1: PartitionOffsets(0, 3, 3, 3)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("earliest", mq.EARLIEST),
        ("latest", mq.LATEST),
        ("-5", mq.At({0: 5, 1: 0})),
        ("-10m", mq.Since(dt.timedelta(minutes=10))),
        ("2026-11-21T10:00:00Z", mq.Since(dt.datetime(2026, 11, 21, 10, tzinfo=dt.UTC))),
    ],
)
def test_moments(text: str, expected: object) -> None:
    """Places in a topic; the last N count back in each partition and not before its start."""
    assert MOMENT.convert(text, None, None).position(lambda: OFFSETS, None) == expected


def test_an_offset_is_meant_in_one_partition() -> None:
    """Where there are several, the partition must be said."""
    moment = MOMENT.convert("7", None, None)
    assert moment.position(lambda: OFFSETS, 1) == mq.At({1: 7})
    with pytest.raises(click.UsageError, match="--partition"):
        moment.position(lambda: OFFSETS, None)


def test_a_time_without_a_zone_is_local() -> None:
    """As `date` and `journalctl` take it."""
    when = MOMENT.convert("2026-11-21 10:00", None, None).when
    assert when == dt.datetime(2026, 11, 21, 10).astimezone()


def test_a_bare_name_will_do_where_one_kind_is_due() -> None:
    """`topic create orders` and `topic create topic:orders` are one; `topic create queue:x` is refused."""
    assert TOPIC.convert("orders", None, None) == TOPIC.convert("topic:orders", None, None) == mq.Topic("orders")
    with pytest.raises(click.BadParameter, match="not a topic"):
        TOPIC.convert("queue:x", None, None)
    with pytest.raises(click.BadParameter, match="write topic:orders"):
        DestinationType().convert("orders", None, None)


@pytest.mark.parametrize(("text", "data"), [(r"\t", b"\t"), (r"\x1f", b"\x1f"), (":", b":"), ("ż", "ż".encode())])
def test_separators(text: str, data: bytes) -> None:
    """A shell cannot easily pass a tab; an escape can."""
    assert ESCAPED.convert(text, None, None) == data


def test_headers() -> None:
    """Only the first equals sign separates."""
    assert HEADER.convert("a=b=c", None, None) == ("a", b"b=c")
    with pytest.raises(click.BadParameter, match="name=value"):
        HEADER.convert("a", None, None)
