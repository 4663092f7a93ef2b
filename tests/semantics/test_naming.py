"""Which names are portable, and the names derived from them."""

from __future__ import annotations

import pytest

from mqbridge.semantics.naming import (
    check_name,
    dead_letter_queue_name,
    dead_letter_topic_name,
    nearest,
    parse_destination,
)


@pytest.mark.parametrize(
    "name", ["a", "7", "orders", "Orders.eu-west_1", "a..b", "x.mqqs", "mqq", "x.mqt-", "x.mqt-1a", "x.mqg", "x" * 181]
)
def test_portable_names_pass(name: str) -> None:
    """The name comes back unchanged; what only resembles a kept suffix is free."""
    assert check_name("topic", name) == name


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "empty"),
        (".a", "not portable"),
        ("-a", "not portable"),
        ("_a", "not portable"),
        ("a b", "not portable"),
        ("a\n", "not portable"),
        ("a/b", "not portable"),
        ("é", "not portable"),
        ("a٣", "not portable"),
        ("x" * 182, "182 characters"),
        ("x.mqq", "'.mqq'"),
        ("x.mqt", "'.mqt'"),
        ("x.mqt-0", "'.mqt-0'"),
        ("x.mqt-12", "'.mqt-12'"),
        ("g.mqg-0", "'.mqg-0'"),
        (b"a", "is a str"),
    ],
)
def test_other_names_are_refused_with_kind_and_reason(name: str, sentence: str) -> None:
    """A line end, a letter or digit beyond ASCII and the suffixes of derived names do not slip through."""
    with pytest.raises(ValueError, match=sentence) as caught:
        check_name("queue", name)
    assert "queue" in str(caught.value)


@pytest.mark.parametrize("kind", ["topic", "queue", "exchange"])
def test_a_destination_is_a_kind_and_a_name(kind: str) -> None:
    """Each of the three kinds is read."""
    assert parse_destination(f"{kind}:emails") == (kind, "emails")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("emails", "write topic:emails, queue:emails or exchange:emails"),
        ("queu:emails", "did you mean queue:emails"),
        ("Queue:emails", "did you mean queue:emails"),
        ("zzz:emails", "none of topic, queue, exchange"),
        (":emails", "none of topic, queue, exchange"),
        ("queue:", "empty"),
        ("queue:a:b", "not portable"),
        ("topic:x.mqq", "'.mqq'"),
    ],
)
def test_a_destination_is_never_guessed(text: str, sentence: str) -> None:
    """A missing, mistyped or unknown kind and a bad name each say what to write."""
    with pytest.raises(ValueError, match=sentence):
        parse_destination(text)


def test_dead_letter_names() -> None:
    """A queue's is NAME.dlq, a group's on a topic TOPIC.GROUP.dlq."""
    assert dead_letter_queue_name("emails") == "emails.dlq"
    assert dead_letter_topic_name("orders", "billing") == "orders.billing.dlq"


def test_a_dead_letter_name_that_is_too_long_says_so() -> None:
    """The longest name with room for the suffix passes, one more does not, and the sentence says what to do."""
    assert len(dead_letter_queue_name("x" * 177)) == 181
    with pytest.raises(ValueError, match="Name a dead-letter queue explicitly"):
        dead_letter_queue_name("x" * 178)
    with pytest.raises(ValueError, match="Name a dead-letter topic explicitly"):
        dead_letter_topic_name("x" * 100, "y" * 100)


def test_nearest_finds_the_meant_word_whatever_its_case_and_order() -> None:
    """For error messages: the near word, none if none is near, the same one whatever the order of the known."""
    assert nearest("prefech", ["linger_s", "prefetch"]) == "prefetch"
    assert nearest("MAX_BYTES", {"max_bytes", "max_length"}) == "max_bytes"
    assert nearest("xyz", ["prefetch"]) is None
    assert nearest("a", []) is None
    assert nearest("ab1", ["ab2", "ab3"]) == nearest("ab1", ["ab3", "ab2"])
    assert nearest("key", ["KEY", "Key"]) == nearest("key", ["Key", "KEY"]) == "KEY"
