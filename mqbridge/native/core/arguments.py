"""Reading the arguments of an operation: the right type, or a ConfigurationError that names the argument.

The rule: an operation reads all its arguments through this room before it touches anything, so that a wrong
call changes nothing. What does not belong here: what an argument means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mqbridge import errors

_ABSENT: Any = object()


def text(args: Mapping[str, Any], name: str) -> str:
    value = args.get(name)
    if not isinstance(value, str) or not value:
        raise wrong(name, "a text that is not empty", value)
    return value


def text_or_none(args: Mapping[str, Any], name: str) -> str | None:
    return None if args.get(name) is None else text(args, name)


def texts(args: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of different texts, at least one."""
    value = args.get(name)
    if (
        not isinstance(value, list | tuple)
        or not value
        or not all(isinstance(item, str) and item for item in value)
        or len(dict.fromkeys(value)) != len(value)
    ):
        raise wrong(name, "a list of different names, at least one", value)
    return tuple(value)


def integer(args: Mapping[str, Any], name: str, *, least: int = 0, default: int = _ABSENT) -> int:
    value = args.get(name, default)
    if not is_integer(value) or value < least:
        raise wrong(name, f"an integer of at least {least}", None if value is _ABSENT else value)
    return int(value)


def integers(args: Mapping[str, Any], name: str) -> tuple[int, ...]:
    value = args.get(name)
    if not isinstance(value, list | tuple) or not all(is_integer(item) for item in value):
        raise wrong(name, "a list of integers", value)
    return tuple(value)


def flag(args: Mapping[str, Any], name: str) -> bool:
    value = args.get(name, False)
    if not isinstance(value, bool):
        raise wrong(name, "true or false", value)
    return value


def seconds(args: Mapping[str, Any], name: str) -> float:
    """A finite number of seconds above zero."""
    value = args.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise wrong(name, "a finite number of seconds above zero", value)
    return float(value)


def rows(args: Mapping[str, Any], name: str, width: int) -> list[Sequence[Any]]:
    """A list of rows, each `width` long; what is in them is for the caller to check."""
    value = args.get(name)
    if not isinstance(value, list | tuple) or not all(
        isinstance(row, list | tuple) and len(row) == width for row in value
    ):
        raise wrong(name, f"a list of rows of {width}", value)
    return list(value)


def partition_offsets(args: Mapping[str, Any], name: str) -> dict[int, int]:
    """``{"0": 17}`` as {0: 17}, in the order of the partitions. JSON has no integer keys."""
    value = args.get(name)
    if not isinstance(value, dict):
        raise wrong(name, "an object of partition to offset", value)
    out: dict[int, int] = {}
    for key, offset in value.items():
        if (
            not (isinstance(key, str) and key.isdecimal() and key.isascii())
            or not is_integer(offset)
            or offset < 0
        ):
            raise wrong(name, "an object of partition to offset, neither negative", value)
        out[int(key)] = offset
    return dict(sorted(out.items()))


def is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def wrong(name: str, wanted: str, found: object) -> errors.ConfigurationError:
    shown = repr(found)
    if len(shown) > 120:
        shown = shown[:120] + "..."
    return errors.ConfigurationError(f"the argument {name!r} must be {wanted}, not {shown}; nothing was done")
