"""Whether one binding matches one message: the clauses of the topic and headers exchange, case by case."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqbridge.semantics.matching import (
    BindingEntry,
    DirectIndex,
    TopicIndex,
    headers_match,
    normal_headers,
    topic_matches,
)

MATCHES = [
    ("a.b", "a.b"),
    ("", ""),
    ("#", ""),
    ("#", "a"),
    ("#", "a.b.c"),
    ("#", "."),
    ("a.#", "a"),
    ("a.#", "a.b"),
    ("a.#", "a."),
    ("#.a", "a"),
    ("#.a", "x.y.a"),
    ("*", "a"),
    ("a.*", "a."),
    ("*.a", ".a"),
    ("*.*", "."),
    ("a.*.b", "a..b"),
    ("a..b", "a..b"),
    ("a.#.b", "a.b"),
    ("a.#.b", "a..b"),
    ("a.#.b", "a.b.b"),
    ("a.#.b", "a.x.y.b"),
    ("#.#", ""),
    ("#.#", "a"),
    ("#.#", "a.b.c"),
    ("*.#", "a"),
    ("#.*", "a.b"),
    ("#.a.#", "a"),
    ("#.a.#", "x.a.y"),
    ("#.b.#", "a.b.b.c"),
    ("#.*.a", "x.a.a"),
    ("a*", "a*"),
    ("a#.b", "a#.b"),
]

DIFFERS = [
    ("a.b", "a.c"),
    ("a", "A"),
    ("a", ""),
    ("", "a"),
    ("", "."),
    ("*", ""),
    ("*", "a.b"),
    ("*", "."),
    ("a.*", "a"),
    ("a.*.b", "a.b"),
    ("a.#", "b"),
    ("a.#", ""),
    ("a.#", "ab"),
    ("#.a", "a.b"),
    ("*.#", ""),
    ("#.*", ""),
    ("a.b", "a..b"),
    ("a.b", "a.b."),
    ("#.a.#", "x.y"),
    ("a*", "ab"),
    ("a#", "a.b"),
    ("a.b", "*.b"),
    ("a", "#"),
]


@pytest.mark.parametrize(("pattern", "key"), MATCHES)
def test_topic_pattern_matches(pattern: str, key: str) -> None:
    """The pattern matches: `*` takes one word, an empty one too, and `#` any number, none too."""
    assert topic_matches(pattern, key)


@pytest.mark.parametrize(("pattern", "key"), DIFFERS)
def test_topic_pattern_does_not_match(pattern: str, key: str) -> None:
    """The pattern does not match: the empty key has no word, and wildcards are whole words of the pattern
    only.
    """
    assert not topic_matches(pattern, key)


@pytest.mark.parametrize("pattern", ["#.#.#", "#.a.#.b.#", "#.#.#.#"])
def test_more_than_two_hashes_are_refused(pattern: str) -> None:
    """RabbitMQ 4.3.5 answers 406 to a third `#`."""
    with pytest.raises(ValueError, match="at most 2"):
        topic_matches(pattern, "a")


def by_hand(pattern: list[str], key: list[str]) -> bool:
    """The definition, by recursion, apart from the trie."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return any(by_hand(pattern[1:], key[taken:]) for taken in range(len(key) + 1))
    return bool(key) and pattern[0] in ("*", key[0]) and by_hand(pattern[1:], key[1:])


words = st.lists(st.sampled_from(["a", "b", ""]), max_size=6)
patterns = st.lists(st.sampled_from(["a", "b", "", "*", "#"]), max_size=5).filter(lambda p: p.count("#") <= 2)


@settings(deadline=None, max_examples=300)
@given(st.lists(patterns.filter(lambda p: p != [""]), max_size=8), words.filter(lambda k: k != [""]))
def test_the_trie_of_many_patterns_answers_as_each_alone(bound: list[list[str]], key: list[str]) -> None:
    """All matching bindings, each once, and no other: sharing nodes in the trie mixes no two patterns."""
    index = TopicIndex()
    entries = {
        BindingEntry("x", "queue", str(number), key=".".join(pattern)): pattern for number, pattern in enumerate(bound)
    }
    for order, entry in enumerate(entries):
        index.add(entry, order)
    found = [entry.name for entry, _ in index.matches(".".join(key), None)]
    assert sorted(found) == sorted(entry.name for entry, pattern in entries.items() if by_hand(pattern, key))


def test_a_topic_index_whose_bindings_are_gone_is_empty_again() -> None:
    """Unbinding takes the nodes away, and leaves those that another key still needs."""
    index = TopicIndex()
    deep, shallow = (BindingEntry("x", "queue", "q", key=key) for key in ("a.b.*.#", "a.b"))
    index.add(deep, 0)
    index.add(shallow, 1)
    index.remove(deep)
    assert [entry for entry, _ in index.matches("a.b", None)] == [shallow]
    index.remove(shallow)
    assert not index._root.ways


def test_a_direct_index_forgets_the_keys_of_bindings_that_are_gone() -> None:
    """A key goes with its last binding, or ever new reply keys would fill the memory."""
    index = DirectIndex()
    first, second = (BindingEntry("x", "queue", queue, key="k") for queue in ("q1", "q2"))
    index.add(first, 0)
    index.add(second, 1)
    index.remove(first)
    assert list(index.matches("k", None)) == [(second, 1)]
    index.remove(second)
    assert not index._by_key


def test_two_hashes_over_a_long_key_stay_cheap() -> None:
    """The walk visits a node once a word; backtracking would need millions of steps here."""
    assert not topic_matches("#.a.#.b", ".".join(["a"] * 5_000))


@pytest.mark.parametrize("match", ["all", "any", "all-with-x", "any-with-x"])
def test_a_value_matches_as_bytes_and_none_by_presence(match: str) -> None:
    """str is compared as UTF-8 on both sides; None in the binding asks only that the header is there."""
    assert headers_match({"k": "ü"}, match, {"k": "ü".encode()})
    assert headers_match({"k": b"v"}, match, {"k": "v", "other": b"x"})
    assert headers_match({"k": None}, match, {"k": b""})
    assert headers_match({"k": None}, match, {"k": None})
    assert not headers_match({"k": None}, match, {"other": b""})
    assert not headers_match({"k": "v"}, match, {"k": b"V"})
    assert not headers_match({"k": b""}, match, {"k": None})
    assert not headers_match({"k": "v"}, match, None)


@pytest.mark.parametrize(
    ("headers", "matches_all", "matches_any"),
    [
        ({"a": b"1", "b": b"2"}, True, True),
        ({"a": b"1", "b": b"3"}, False, True),
        ({"b": b"2"}, False, True),
        ({"a": b"2", "b": b"1"}, False, False),
        ({}, False, False),
    ],
)
def test_all_asks_each_and_any_asks_one(headers: dict[str, bytes], matches_all: bool, matches_any: bool) -> None:
    """The two quantifiers over the same two binding headers."""
    binding = {"a": "1", "b": "2"}
    assert headers_match(binding, "all", headers) is matches_all
    assert headers_match(binding, "any", headers) is matches_any


def test_all_and_any_pass_over_binding_headers_that_start_with_x() -> None:
    """Only the with-x forms look at them; `x-match` is passed over by all four, and `x` alone is an ordinary
    name.
    """
    assert headers_match({"x-a": "1", "b": "2"}, "all", {"b": b"2"})
    assert not headers_match({"x-a": "1", "b": "2"}, "all-with-x", {"b": b"2"})
    assert not headers_match({"x-a": "1"}, "any", {"x-a": b"1"})
    assert headers_match({"x-a": "1"}, "any-with-x", {"x-a": b"1"})
    assert headers_match({"x-match": "any", "b": "2"}, "all-with-x", {"b": b"2"})
    assert not headers_match({"x-match": "any"}, "any-with-x", {"x-match": b"any"})
    assert not headers_match({"x": "1"}, "all", {})


@pytest.mark.parametrize("binding", [None, {}, {"x-only": "1"}])
def test_with_nothing_to_look_at_all_is_true_and_any_is_false(binding: dict[str, str] | None) -> None:
    """The empty conjunction holds and the empty disjunction does not, also for a message without headers."""
    assert headers_match(binding, "all", None)
    assert not headers_match(binding, "any", {"x-only": b"1"})


def test_what_no_headers_binding_can_hold_is_refused() -> None:
    """An unknown match and a value of another type are named in a ValueError."""
    with pytest.raises(ValueError, match="all-with-x"):
        headers_match({}, "some", {})
    with pytest.raises(ValueError, match="'k'"):
        normal_headers({"k": 1})  # type: ignore[dict-item]  # the point of the test
    with pytest.raises(ValueError, match="name"):
        normal_headers({1: "v"})  # type: ignore[dict-item]  # the point of the test
