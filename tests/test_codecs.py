"""Codecs: pure pairs of functions."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqbridge import codecs

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(values)
def test_json_round_trip(value: Any) -> None:
    """What json can say comes back, and any json reader reads it."""
    try:
        data = codecs.json.encode(value)
    except UnicodeEncodeError:
        assert "\\ud" in json.dumps(value)  # a lone surrogate is no text
        return
    assert codecs.json.decode(data) == value == json.loads(data)


def test_json_is_compact_and_utf8() -> None:
    """No blanks, and letters as they are: the bytes of one value are the same on every engine."""
    assert codecs.json.encode({"a": [1, "é"]}) == '{"a":[1,"é"]}'.encode()


@pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}, object()])
def test_json_refuses_what_is_not_json(value: Any) -> None:
    """NaN is not JSON, and other readers fail on it."""
    with pytest.raises((TypeError, ValueError)):
        codecs.json.encode(value)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_round_trip(value: str) -> None:
    """Text comes back."""
    assert codecs.text.decode(codecs.text.encode(value)) == value


@pytest.mark.parametrize(
    ("codec", "value"), [(codecs.text, b"bytes"), (codecs.bytes, "text"), (codecs.bytes, bytearray(b"x"))]
)
def test_wrong_types_are_refused(codec: Any, value: Any) -> None:
    """A codec does not guess: bytes are not text, a bytearray would change after it was sent."""
    with pytest.raises(TypeError):
        codec.encode(value)


def test_bad_bytes_do_not_decode() -> None:
    """Bytes that are no UTF-8 raise and are never replaced."""
    with pytest.raises(ValueError, match="utf-8"):
        codecs.text.decode(b"\xff")


def test_the_three_are_codecs() -> None:
    """Each satisfies the protocol and has a name."""
    for codec in (codecs.bytes, codecs.text, codecs.json):
        assert isinstance(codec, codecs.Codec)
        assert codec.name
