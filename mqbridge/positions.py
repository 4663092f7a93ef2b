"""Where reading begins and ends: EARLIEST, LATEST, At, Since, NOW.

The rule of this room: a position is a value that an engine resolves to offsets; nothing here asks an engine.
"""

from __future__ import annotations

import datetime as _dt
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from mqbridge.errors import ConfigurationError
from mqbridge.spi import Start

__all__ = ["EARLIEST", "LATEST", "NOW", "At", "Position", "Since"]


class Position:
    """A place in a topic, resolved partition by partition."""

    def resolve(self, wall_ms: int) -> Start:
        """As the SPI takes it; `wall_ms` is the engine's present."""
        raise TypeError("use EARLIEST, LATEST, At, Since or NOW")


@dataclass(frozen=True, slots=True)
class _Edge(Position):
    name: str

    def resolve(self, wall_ms: int) -> Start:
        return Start("earliest" if self.name == "EARLIEST" else "latest")

    def __repr__(self) -> str:
        return self.name


EARLIEST: Final = _Edge("EARLIEST")
"""The first record that is still there."""
LATEST: Final = _Edge("LATEST")
"""After the last record there is now."""
NOW: Final = _Edge("NOW")
"""The end of the topic as it is when a replay begins."""


@dataclass(frozen=True, slots=True)
class At(Position):
    """An offset for each partition. Partitions not named begin at their start: nothing is skipped unasked."""

    offsets: Mapping[int, int]

    def __post_init__(self) -> None:
        for partition, offset in self.offsets.items():
            if not isinstance(partition, int) or not isinstance(offset, int) or partition < 0 or offset < 0:
                raise ConfigurationError(f"At takes {{partition: offset}} of integers from 0 on, not {self.offsets!r}")
        object.__setattr__(self, "offsets", MappingProxyType(dict(self.offsets)))

    def resolve(self, wall_ms: int) -> Start:
        return Start("at", offsets=self.offsets)


@dataclass(frozen=True, slots=True)
class Since(Position):
    """The first record at or after an aware datetime, or so long ago (timedelta)."""

    when: _dt.datetime | _dt.timedelta

    def __post_init__(self) -> None:
        if isinstance(self.when, _dt.datetime):
            if self.when.tzinfo is None:
                raise ConfigurationError(f"Since takes an aware datetime; {self.when!r} has no time zone")
        elif not isinstance(self.when, _dt.timedelta):
            raise ConfigurationError(f"Since takes a datetime or a timedelta, not {type(self.when).__name__}")

    def resolve(self, wall_ms: int) -> Start:
        if isinstance(self.when, _dt.timedelta):
            at_ms = wall_ms - round(self.when.total_seconds() * 1000)
        else:
            at_ms = to_ms(self.when)
        return Start("since", timestamp_ms=at_ms)


def to_ms(when: _dt.datetime) -> int:
    """Milliseconds since the epoch of an aware datetime, rounded down, exactly."""
    if when.tzinfo is None:
        raise ConfigurationError(f"a timestamp must be an aware datetime; {when!r} has no time zone")
    return (when - _EPOCH) // _dt.timedelta(milliseconds=1)


_EPOCH = _dt.datetime(1970, 1, 1, tzinfo=_dt.UTC)
