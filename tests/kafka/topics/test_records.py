"""Headers, names and blocks, without a broker."""

from __future__ import annotations

import pytest
from confluent_kafka import Message

from mqbridge import Queue, Topic
from mqbridge.errors import InvalidSpec
from mqbridge_kafka.blocks import EndBlock, TopicBlock
from mqbridge_kafka.naming import is_portable_topic, share_group_of, topic_of
from mqbridge_kafka.records import decode_headers, encode_headers, message_id_of


def test_headers_repeat_keep_their_order_and_carry_the_id() -> None:
    """Repeated names and their order survive; the message id is one header more, and none means none."""
    native = encode_headers((("a", b"1"), ("a", b"2")), "id-1")
    assert native == [("a", b"1"), ("a", b"2"), ("mqbridge-id", b"id-1")]
    assert decode_headers(native) == (("a", b"1"), ("a", b"2"), ("mqbridge-id", b"id-1"))
    assert message_id_of(native) == "id-1"
    assert encode_headers(None) is None


def test_a_foreign_record_decodes() -> None:
    """A null header reads as empty, an id that is no UTF-8 still reads, and a record without headers has none."""
    assert decode_headers([("x", None)]) == (("x", b""),)
    assert message_id_of([("mqbridge-id", b"\xff")]) == "\N{REPLACEMENT CHARACTER}"
    assert decode_headers(None) is None


def test_names_of_one_name_do_not_meet() -> None:
    """A topic and a queue of one name are different topics on Kafka; a physical name goes past that."""
    assert topic_of(Topic("x")) == "x"
    assert topic_of(Queue("x")) == "x.mqq"
    assert share_group_of(Queue("x")) == "mqbridge.x"
    assert topic_of(Topic("x", physical_name="_legacy")) == "_legacy"
    with pytest.raises(InvalidSpec, match=r"mqbridge\.registry"):
        topic_of(Topic("mqbridge.registry"))


@pytest.mark.parametrize("name", ["x.mqq", "mqbridge.registry", "__consumer_offsets", "_schemas", "a" * 200])
def test_what_is_derived_or_cannot_be_named_is_not_listed(name: str) -> None:
    """`list_topics` shows what a Topic can name, and no queue's topic."""
    assert not is_portable_topic(name)
    assert is_portable_topic("orders")


def test_a_block_ends_after_its_last_record_gaps_included() -> None:
    """Offsets come from the records: between them there may be markers and removed records."""
    messages = [Message(topic="t", partition=0, offset=offset, value=b"v", key=b"k") for offset in (3, 4, 9)]
    block = TopicBlock(Topic("t"), 0, 7, messages)
    assert [block.offset(index) for index in range(block.count)] == [3, 4, 9]
    assert block.next_offset == 10
    assert EndBlock(Topic("t"), 0, 12).next_offset == 12
    assert EndBlock(Topic("t"), 0, 12).count == 0
