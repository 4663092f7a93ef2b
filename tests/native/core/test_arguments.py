"""Arguments of operations: the right ones come through unchanged, the wrong ones name themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from mqbridge import errors
from mqbridge.native.core import arguments

Reader = Callable[[Mapping[str, Any], str], Any]


def rows_of_two(args: Mapping[str, Any], name: str) -> Any:
    return arguments.rows(args, name, 2)


@pytest.mark.parametrize(
    ("read", "value", "result"),
    [
        (arguments.text, "x", "x"),
        (arguments.text_or_none, None, None),
        (arguments.text_or_none, "x", "x"),
        (arguments.texts, ["b", "a"], ("b", "a")),
        (arguments.integer, 0, 0),
        (arguments.integers, [3, 1], (3, 1)),
        (arguments.flag, True, True),
        (arguments.seconds, 1, 1.0),
        (arguments.partition_offsets, {"10": 5, "9": 0}, {9: 0, 10: 5}),
        (rows_of_two, [["t", 0]], [["t", 0]]),
    ],
)
def test_right_values_come_through(read: Reader, value: Any, result: Any) -> None:
    """Reading changes the type at most."""
    assert read({"it": value}, "it") == result


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (arguments.text, ""),
        (arguments.text, 1),
        (arguments.text_or_none, 1),
        (arguments.texts, []),
        (arguments.texts, ["a", "a"]),
        (arguments.texts, [["a"]]),
        (arguments.integer, True),
        (arguments.integer, 1.0),
        (arguments.integer, -1),
        (arguments.integer, None),
        (arguments.integers, [1, True]),
        (arguments.flag, None),
        (arguments.seconds, 0),
        (arguments.seconds, float("nan")),
        (arguments.seconds, float("inf")),
        (arguments.seconds, True),
        (arguments.partition_offsets, {"-1": 0}),
        (arguments.partition_offsets, {"²": 0}),
        (arguments.partition_offsets, {"1": -1}),
        (arguments.partition_offsets, []),
        (rows_of_two, [["t"]]),
        (rows_of_two, {"t": 0}),
    ],
)
def test_wrong_values_are_configuration_errors_that_name_the_argument(read: Reader, value: Any) -> None:
    """The error says which argument, and shows a bounded part of what it was."""
    with pytest.raises(errors.ConfigurationError, match="'it'"):
        read({"it": value}, "it")


def test_a_missing_integer_takes_the_default_if_there_is_one() -> None:
    """No default, no guess."""
    assert arguments.integer({}, "it", default=7) == 7
    with pytest.raises(errors.ConfigurationError):
        arguments.integer({}, "it")
    assert len(str(arguments.wrong("it", "short", "x" * 1000))) < 300
