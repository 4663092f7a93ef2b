"""What a person types, as values. The rule: a wrong word is refused before any I/O, with an example of a right one."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

import mqbridge as mq

if TYPE_CHECKING:
    from mqbridge.positions import Position
    from mqbridge.spi import PartitionOffsets

    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType  # generic from click 8.2 on

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BYTES |= {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)


def _measured(text: str, units: Mapping[str, float]) -> float | None:
    match = _NUMBER.fullmatch(text.strip())
    unit = None if match is None else units.get(match[2].lower())
    return None if match is None or unit is None else float(match[1]) * unit


class Duration(_Type):
    """``90s``, ``15m``, ``12h``, ``7d``: seconds as a float. The unit is due: a bare 7 may be meant as days."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        seconds = _measured(value, _SECONDS)
        if seconds is None:
            what = "has no unit" if _measured(value, {"": 1.0}) is not None else "is no duration"
            self.fail(f"{value!r} {what}; write 90s, 15m, 12h or 7d (units: {', '.join(_SECONDS)})", param, ctx)
        return seconds


class Size(_Type):
    """``1000``, ``64KiB``, ``10MB``: bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        number = _measured(value, _BYTES)
        if number is None:
            self.fail(f"{value!r} is no size; write 1000, 64KiB or 10MiB", param, ctx)
        return int(number)


class DestinationType(_Type):
    """``topic:orders``, ``queue:emails``, ``exchange:events``. With one kind only, the bare name will do."""

    name = "destination"

    def __init__(self, *kinds: Literal["topic", "queue", "exchange"]) -> None:
        self.kinds = kinds or ("topic", "queue", "exchange")
        if len(kinds) == 1:
            self.name = kinds[0]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        text = f"{self.kinds[0]}:{value}" if len(self.kinds) == 1 and ":" not in value else value
        try:
            destination = mq.parse(text)
        except mq.InvalidSpec as error:
            self.fail(str(error), param, ctx)
        if destination.kind not in self.kinds:
            self.fail(f"{value!r} is not a {' or '.join(self.kinds)}", param, ctx)
        return destination


class HeaderType(_Type):
    """``name=value``: a pair of str and bytes."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        name, equals, text = value.partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is no header; write name=value", param, ctx)
        return name, text.encode(errors="surrogateescape")


class Escaped(_Type):
    r"""Text in which ``\t``, ``\n``, ``\0`` and ``\xNN`` mean the characters: bytes."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            data = re.sub(
                r"\\(x[0-9a-fA-F]{2}|.)", lambda m: m[0].encode().decode("unicode_escape"), value, flags=re.DOTALL
            )
        except UnicodeDecodeError:
            self.fail(f"{value!r} has an escape that means nothing; write for instance '\\t' or '\\x1f'", param, ctx)
        return data.encode(errors="surrogateescape")


@dataclass(frozen=True)
class Moment:
    """A place in a topic as it was typed; `position` resolves what needs to know the topic."""

    text: str
    kind: Literal["earliest", "latest", "offset", "last", "time"]
    number: int = 0
    when: dt.datetime | dt.timedelta | None = None

    def position(self, offsets: Callable[[], Mapping[int, PartitionOffsets]], partition: int | None) -> Position:
        """As the library takes it. An offset is meant in one partition; "last N" counts back in each."""
        if self.kind == "earliest":
            return mq.EARLIEST
        if self.kind == "latest":
            return mq.LATEST
        if self.when is not None:
            return mq.Since(self.when)
        known = offsets()
        if self.kind == "last":
            return mq.At({p: max(item.start, item.end - self.number) for p, item in known.items()})
        if partition is None and len(known) > 1:
            raise click.UsageError(
                f"an offset is meant in one partition, and there are {len(known)}: say which with --partition"
            )
        return mq.At({partition or 0: self.number})


class MomentType(_Type):
    """``earliest``, ``latest``, an offset, ``-5`` (the last five of each partition), ``-10m`` (ago), or an ISO time.

    A time without an offset from UTC is local time, as with ``date`` and ``journalctl``.
    """

    name = "earliest|latest|OFFSET|-N|-10m|TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        text = value.strip()
        if text in ("earliest", "latest"):
            return Moment(text, "earliest" if text == "earliest" else "latest")
        if text.isdigit():
            return Moment(text, "offset", int(text))
        if text[:1] == "-" and text[1:].isdigit():
            return Moment(text, "last", int(text[1:]))
        ago_s = _measured(text.removeprefix("-"), _SECONDS)
        if ago_s is not None:
            return Moment(text, "time", when=dt.timedelta(seconds=ago_s))
        return Moment(text, "time", when=parse_time(text, self, param, ctx))


class TimeType(_Type):
    """An ISO time; without an offset from UTC it is local time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return parse_time(value, self, param, ctx) if isinstance(value, str) else value


def parse_time(
    text: str, kind: _Type, param: click.Parameter | None, ctx: click.Context | None
) -> dt.datetime:
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError:
        kind.fail(
            f"{text!r} is no place in a topic; write earliest, latest, an offset, -5 (the last five), -10m (ten "
            "minutes ago) or a time like 2026-11-21T10:00:00Z",
            param,
            ctx,
        )
    return when if when.tzinfo is not None else when.astimezone()


DURATION = Duration()
SIZE = Size()
TOPIC = DestinationType("topic")
QUEUE = DestinationType("queue")
EXCHANGE = DestinationType("exchange")
DESTINATION = DestinationType()
HEADER = HeaderType()
ESCAPED = Escaped()
MOMENT = MomentType()
TIME = TimeType()
