"""The tree of errors: what a program may decide by."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from mqbridge import errors

KINDS: list[type[errors.MqbridgeError]] = [
    kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and issubclass(kind, errors.MqbridgeError)
]
LEAVES = [kind for kind in KINDS if kind is not errors.MqbridgeError]


def test_every_class_of_the_module_is_exported() -> None:
    """`__all__` names every error there is."""
    defined = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert sorted(kind.__name__ for kind in defined) == sorted(kind.__name__ for kind in KINDS)


def test_the_root_is_abstract() -> None:
    """Nobody can raise an error that says nothing about itself."""
    with pytest.raises(TypeError, match="abstract"):
        errors.MqbridgeError("something")


def test_codes_are_unique() -> None:
    """A code names one class: what is stored in a log or sent over a socket comes back as what it was."""
    codes = [kind.code for kind in KINDS]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", LEAVES)
def test_pickles_with_everything_it_says(kind: type[errors.MqbridgeError]) -> None:
    """Message, outcome, retryable, engine and further facts survive pickling and copying, as does the class."""
    error = kind("it broke", outcome="unknown", retryable=True, engine="native", start=7, partitions=(("a", 1),))
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is kind
        assert (str(twin), twin.args) == ("it broke", ("it broke",))
        facts = {"outcome": "unknown", "retryable": True, "engine": "native", "start": 7, "partitions": (("a", 1),)}
        assert vars(twin) == facts


@pytest.mark.parametrize("kind", LEAVES)
def test_defaults_are_sane(kind: type[errors.MqbridgeError]) -> None:
    """Unless told, an error has a known outcome, no engine, and shows its message."""
    error = kind("it broke")
    assert error.outcome in ("not_applied", "unknown", "applied")
    assert error.engine is None
    assert str(error) == error.message == "it broke"


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (errors.ConfigurationError, ValueError),
        (errors.InvalidSpec, ValueError),
        (errors.CodecError, ValueError),
        (errors.NotFound, LookupError),
        (errors.Denied, PermissionError),
        (errors.ConnectionLost, ConnectionError),
        (errors.OperationTimeout, TimeoutError),
    ],
)
def test_builtin_parents(kind: type[errors.MqbridgeError], parent: type[Exception]) -> None:
    """Code that knows only the builtin exceptions catches ours, and an OSError parent does not eat the message."""
    with pytest.raises(parent, match="why"):
        raise kind("why")


def test_a_cause_is_kept_apart() -> None:
    """The native error is the cause, and one instance's facts are not its neighbour's."""
    first: Any = errors.Rejected("one", size_bytes=3)
    second: Any = errors.Rejected("two")
    assert first.size_bytes == 3
    assert not hasattr(second, "size_bytes")
