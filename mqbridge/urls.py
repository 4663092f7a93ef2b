"""URLs of engines. The rule of this room: a password enters here and is never shown again.

``native:`` ``native:?name=x`` ``native:./folder`` ``native:/folder``, ``kafka://h1:9092,h2:9092``,
``amqp://user:password@host:5672/vhost``.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote

from mqbridge.errors import ConfigurationError
from mqbridge.spi import Url

__all__ = ["parse_url"]

_SECRET_OPTION = re.compile(r"([a-z0-9._-]*(?:password|secret|token)[a-z0-9._-]*(?:=|%3d))[^&;]*", re.IGNORECASE)
_SECRET_LOGIN = re.compile(r"((?::|%3a)(?:/|%2f){2}[^&;@:]*(?::|%3a))[^&;@]*(?:@|%40)", re.IGNORECASE)
_HOSTS = re.compile(r"(\[[^]]*\]|[^:,@]*)(:[0-9]+)?(,(\[[^]]*\]|[^:,@]*)(:[0-9]+)?)*")


def parse_url(text: str) -> Url:
    """Split a URL; `ConfigurationError` says what is wrong with it, without showing a password."""
    if "\0" in text:
        raise ConfigurationError("a URL has no NUL character in it")
    scheme, colon, rest = text.partition(":")
    if not colon or not scheme or not all(char.isalnum() or char in "+-." for char in scheme):
        raise ConfigurationError(
            f"{_masked(text)!r} is not a URL of an engine; one looks like native:./folder, kafka://localhost:9092 or "
            "amqp://localhost/"
        )
    masked = _masked(text)
    authority = _authority(rest.removeprefix("//"))
    if rest.startswith("//") and masked != text and "@" not in authority and not _HOSTS.fullmatch(authority):
        raise ConfigurationError(
            f"the password in {masked!r} has a character that ends the address: write / and ? in it as %2F and %3F"
        )
    rest, _, query_text = rest.partition("?")
    query: dict[str, str] = {}
    for name, value in parse_qsl(query_text, keep_blank_values=True):
        if name in query:
            raise ConfigurationError(f"option {name!r} is given twice in the URL")
        query[name] = value
    if not rest.startswith("//"):
        return Url(scheme.lower(), path=unquote(rest), query=query, text=masked)
    authority, slash, path = rest[2:].partition("/")
    userinfo, at, hosts_text = authority.rpartition("@")
    username, _, password = userinfo.partition(":")
    hosts = tuple(_host(item, masked) for item in hosts_text.split(",")) if hosts_text else ()
    return Url(
        scheme.lower(),
        hosts=hosts,
        username=unquote(username) if at else None,
        password=unquote(password) if at and ":" in userinfo else None,
        path=unquote(slash + path),
        query=query,
        text=masked,
    )


def _host(text: str, masked: str) -> tuple[str, int | None]:
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        port_text = rest.removeprefix(":")
        good = bool(bracket) and bool(name)
    else:
        name, _, port_text = text.partition(":")
        good = bool(name)
    if not good or (port_text and not (port_text.isdigit() and 0 < int(port_text) < 65536)):
        raise ConfigurationError(f"{text!r} in {masked!r} is not host:port")
    return name, int(port_text) if port_text else None


def _masked(text: str) -> str:
    return _mask_query(_mask_userinfo(text))


def _mask_query(text: str) -> str:
    """Options may hold passwords too: ``key_password=``, a property of the client, the URL of an API."""
    address, mark, query = text.partition("?")
    return address + mark + _SECRET_LOGIN.sub(r"\1***@", _SECRET_OPTION.sub(r"\1***", query))


def _mask_userinfo(text: str) -> str:
    scheme, separator, rest = text.partition("//")
    authority = _authority(rest)
    # A raw "/" or "?" in a password ends the authority too early; what then looks like a path is masked with it.
    end = rest.rfind("@") if "@" not in authority and ":" in authority else authority.rfind("@")
    userinfo, hosts = rest[: max(end, 0)], rest[end + 1 :]
    if not separator or end < 0 or ":" not in userinfo:
        return text
    return f"{scheme}//{userinfo.partition(':')[0]}:***@{hosts}"


def _authority(rest: str) -> str:
    return rest.partition("/")[0].partition("?")[0]
