"""Records as lines and as digests."""

from __future__ import annotations

import hashlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqbridge.cli.records import Digest, Record, RecordError, from_line, to_line

contents = st.binary(max_size=20) | st.text(max_size=20).map(lambda text: text.encode(errors="replace"))
any_record = st.builds(
    Record,
    st.none() | contents,
    st.none() | contents,
    st.lists(st.tuples(st.text(max_size=5), contents), max_size=4).map(tuple),
    st.none() | st.integers(-(10**15), 10**15),
    st.none() | st.text(max_size=8),
    st.none() | st.text(min_size=1, max_size=8),
    st.none() | st.integers(0, 100),
    st.none() | st.integers(0, 2**63 - 1),
)


@given(any_record)
def test_a_line_brings_back_every_byte(record: Record) -> None:
    """What is written as JSON is read back equal: null and empty, text and bytes, repeated headers in order."""
    line = to_line(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert from_line(line) == record


def test_text_stays_readable() -> None:
    """UTF-8 is written as text and other bytes as base64, so that a person and jq can read a line."""
    item = json.loads(to_line(Record("zażółć".encode(), b"\xff", (("a", b"1"), ("a", b"2")))))
    assert item["value"] == "zażółć"
    assert item["key"] == {"base64": "/w=="}
    assert item["headers"] == [["a", "1"], ["a", "2"]]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"nonsense", "not JSON"),
        (b"[1]", "not an object"),
        (b'{"key": "k"}', 'no "value"'),
        (b'{"value": 1}', '"value" must be text'),
        (b'{"value": {"base64": "!"}}', '"value"'),
        (b'{"value": "\\ud800"}', '"value"'),
        (b'{"value": "v", "header": {}}', "'header'"),
        (b'{"value": "v", "headers": "x"}', '"headers" must be'),
        (b'{"value": "v", "headers": {"a": null}}', '"headers"'),
        (b'{"value": "v", "timestamp_ms": 1.5}', '"timestamp_ms"'),
        (b'{"value": "v", "message_id": 7}', '"message_id"'),
    ],
)
def test_a_line_that_is_no_record_says_why(line: bytes, why: str) -> None:
    """A misspelt or mistyped field is refused by name, rather than dropped."""
    with pytest.raises(RecordError, match=why):
        from_line(line)


def test_headers_may_be_an_object() -> None:
    """A person writes headers as an object."""
    assert from_line(b'{"value": "v", "headers": {"a": "1"}}').headers == (("a", b"1"),)


@given(st.lists(any_record, max_size=6))
def test_a_digest_knows_no_order(records: list[Record]) -> None:
    """Partitions may interleave: any order of the same records has the same digest, and one record less has another."""
    shuffled = records[:]
    random.Random(1).shuffle(shuffled)
    one, other = Digest(distinct=True), Digest(distinct=True)
    for record in records:
        one.add(record)
    for record in shuffled:
        other.add(record)
    assert one.result() == other.result()
    if records:
        other.add(records[0])
        assert one.result()["sha256_records"] != other.result()["sha256_records"]
        for name in ("distinct_values", "distinct_records", "sha256_distinct_values", "sha256_distinct_records"):
            assert one.result()[name] == other.result()[name]


def test_a_digest_is_what_it_says() -> None:
    """The canonical form is documented, so it is pinned: another program can compute the same number."""
    record = Record(b"v", None, (("h", b"1"),), 5, "id")
    digest = Digest()
    digest.add(record)
    canonical = b"1:v" + b"-" + b"1;1:h1:1" + b"5;" + b"2:id"
    assert digest.result()["sha256_records"] == hashlib.sha256(canonical).hexdigest()
    assert digest.result()["sha256_values"] == hashlib.sha256(b"1:v").hexdigest()


def test_fields_that_are_not_chosen_do_not_count() -> None:
    """A queue gives messages an id: without message_id its copy compares with the topic it came from."""
    fields = ("value", "headers")
    one, other = Digest(fields), Digest(fields)
    one.add(Record(b"v", b"k", (("h", b"1"),), 5, "id"))
    other.add(Record(b"v", None, (("h", b"1"),), 6, None))
    assert one.result() == other.result()
    other = Digest(fields)
    other.add(Record(b"v", None, (("h", b"2"),), 6, None))
    assert one.result() != other.result()


def test_neighbours_do_not_run_together() -> None:
    """A byte that moves from the value to the key changes the digest."""
    one, other = Digest(), Digest()
    one.add(Record(b"ab", b"c"))
    other.add(Record(b"a", b"bc"))
    assert one.result() != other.result()


def test_a_digest_does_not_see_the_order_between_header_names() -> None:
    """RabbitMQ's streams give headers back sorted by name; of one name the order is kept everywhere, and counts."""

    def of(*pairs: tuple[str, bytes]) -> str:
        digest = Digest()
        digest.add(Record(b"v", None, pairs))
        return str(digest.result()["sha256_records"])

    assert of(("b", b"1"), ("a", b"2"), ("b", b"3")) == of(("a", b"2"), ("b", b"1"), ("b", b"3"))
    assert of(("a", b"1"), ("a", b"2")) != of(("a", b"2"), ("a", b"1"))
