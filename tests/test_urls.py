"""URLs of engines: parts, refusals, and passwords that never show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqbridge.errors import ConfigurationError
from mqbridge.urls import parse_url


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("native:", ("native", (), None, None, "", {})),
        ("native:?name=x", ("native", (), None, None, "", {"name": "x"})),
        ("native:./folder", ("native", (), None, None, "./folder", {})),
        ("native:/a/b%20c?durability=disk", ("native", (), None, None, "/a/b c", {"durability": "disk"})),
        ("KAFKA://h1:9092,h2", ("kafka", (("h1", 9092), ("h2", None)), None, None, "", {})),
        ("kafkas://u:p@h:9093?sasl=PLAIN", ("kafkas", (("h", 9093),), "u", "p", "", {"sasl": "PLAIN"})),
        ("amqp://u:a%2Fb%40c@h:5672/v%2Fw", ("amqp", (("h", 5672),), "u", "a/b@c", "/v/w", {})),
        ("amqp://u:p@q@h/", ("amqp", (("h", None),), "u", "p@q", "/", {})),
        ("amqp://u@h", ("amqp", (("h", None),), "u", None, "", {})),
        ("amqp://u:@h", ("amqp", (("h", None),), "u", "", "", {})),
        ("amqp://[::1]:5672,[fe80::1]/", ("amqp", (("::1", 5672), ("fe80::1", None)), None, None, "/", {})),
        ("kafka://[::1]:9092?client=a@b", ("kafka", (("::1", 9092),), None, None, "", {"client": "a@b"})),
        ("kafka://h:9092?client=a@b", ("kafka", (("h", 9092),), None, None, "", {"client": "a@b"})),
    ],
)
def test_parts(text: str, parts: tuple[object, ...]) -> None:
    """Each part is where it belongs, percent-encoding undone."""
    url = parse_url(text)
    assert (url.scheme, url.hosts, url.username, url.password, url.path, dict(url.query)) == parts


@pytest.mark.parametrize(
    "text",
    ["", "orders", ":x", "//h", "a b://h", "kafka://h:x", "kafka://h:0", "kafka://h:70000", "kafka://,", "kafka://[::1"],
)
def test_refused(text: str) -> None:
    """What is no URL, or names no host and port, is refused."""
    with pytest.raises(ConfigurationError):
        parse_url(text)


def test_twice_is_refused() -> None:
    """An option given twice would be decided by chance."""
    with pytest.raises(ConfigurationError, match="'a' is given twice"):
        parse_url("native:?a=1&a=2")


SECRET = "s3cr"


@pytest.mark.parametrize("between", ["", "/", "?", "/x", "?a=1&", "?a=1&a=2&", ":", "@", "#", "/@/", "%2F"])
@pytest.mark.parametrize("host", ["h", "h:1", "h:bad", "h1,h2", "[::1]", "[::1", ""])
def test_a_password_never_shows(between: str, host: str) -> None:
    """Whatever odd character a password has, and whatever else is wrong, neither text, repr nor error shows it."""
    text = f"amqp://user:{SECRET}{between}{SECRET}@{host}/v?x=1"
    try:
        url = parse_url(text)
    except ConfigurationError as error:
        shown = str(error)
    else:
        assert SECRET in (url.password or "")
        shown = url.text + repr(url)
    assert SECRET not in shown


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    """Nothing but ConfigurationError ever comes out."""
    try:
        parse_url("amqp:" + text)
    except ConfigurationError:
        return
