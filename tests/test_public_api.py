"""The public API, written down: what changes here is a change for users.

The API is what `mqbridge.__all__` names, with signatures. `public_api.txt` holds it as text; a change that is meant is
written there, from the root of the tree, by ``python -m tests.test_public_api``, and reviewed as part of the change.
"""

from __future__ import annotations

import difflib
import enum
import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_overloads

import mqbridge

# Their constructors are nobody's business: `connect`, a bus or a producer makes them.
MADE_BY_THE_LIBRARY = {
    "Admin",
    "BatchReceipt",
    "Bus",
    "Capabilities",
    "Delivery",
    "Headers",
    "Producer",
    "QueueConsumer",
    "Receipt",
    "Replay",
    "TopicConsumer",
}
KEPT = Path(__file__).with_name("public_api.txt")


def render() -> str:
    lines: list[str] = []
    for name in sorted(mqbridge.__all__, key=str.casefold):
        lines += _named(name, getattr(mqbridge, name))
    return "\n".join(lines) + "\n"


def _named(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, types.ModuleType):
        yield f"module {name}"
        for inner in sorted(value.__all__):
            member = getattr(value, inner)
            if not isinstance(member, type) or getattr(mqbridge, inner, None) is not member:
                yield from (f"    {line}" for line in _named(inner, member))
            else:
                yield f"    {inner}: as above"
    elif isinstance(value, type):
        yield from _class(name, value)
    elif inspect.isfunction(value):
        yield from _function(name, value)
    else:
        yield f"{name}: {type(value).__name__}"


def _class(name: str, kind: type) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in kind.__bases__ if base is not object)
    yield f"class {name}({bases})" if bases else f"class {name}"
    if issubclass(kind, enum.Enum):
        yield from (f"    {member.name} = {member.value!r}" for member in kind)
        return
    if name not in MADE_BY_THE_LIBRARY and ("__init__" in vars(kind) or not issubclass(kind, Exception)):
        init = vars(kind).get("__init__")
        yield from (f"    {line}" for line in _function("__init__", init or kind))
    ours = [base for base in reversed(kind.__mro__) if base.__module__.startswith("mqbridge")]
    members = {key: value for base in ours for key, value in vars(base).items() if not key.startswith("_")}
    annotated = {key: text for base in ours for key, text in inspect.get_annotations(base).items() if key[0] != "_"}
    for key in sorted({**members, **annotated}):
        yield from (f"    {line}" for line in _member(key, members.get(key), annotated.get(key)))


def _member(name: str, value: Any, annotation: Any) -> Iterator[str]:
    if isinstance(value, classmethod | staticmethod):
        value = value.__func__
    if isinstance(value, property):
        yield f"{name} -> {inspect.signature(value.fget).return_annotation}"  # type: ignore[arg-type]
    elif inspect.isfunction(value):
        yield from _function(name, value)
    elif annotation is not None:
        yield f"{name}: {annotation}"
    else:
        yield f"{name} = {value!r}"


def _function(name: str, function: Any) -> Iterator[str]:
    for variant in get_overloads(function) if inspect.isfunction(function) else ():
        yield f"{name}{_signature(variant)}  # overload"
    yield f"{name}{_signature(function)}"


class _Plain:
    """Shown as it is written: annotations are text already."""

    def __init__(self, text: object) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "..." if self._text is ... else str(self._text)


def _signature(function: Any) -> inspect.Signature:
    found = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=_plain(parameter.annotation), default=_plain(parameter.default))
        for parameter in found.parameters.values()
    ]
    return found.replace(parameters=parameters, return_annotation=_plain(found.return_annotation))


def _plain(value: Any) -> Any:
    return _Plain(value) if value is ... or (isinstance(value, str) and value) else value


def test_the_public_api_is_what_was_agreed() -> None:
    """Names, signatures and members are those of public_api.txt."""
    kept, now = KEPT.read_text().splitlines(), render().splitlines()
    difference = "\n".join(difflib.unified_diff(kept, now, "public_api.txt", "the code", lineterm="", n=1))
    assert not difference, f"{difference}\nIf it is meant: python -m tests.test_public_api"


def test_all_is_complete_and_sorted_out() -> None:
    """Every name is there, none twice, and every public class a user can get hold of by a method is among them."""
    assert len(set(mqbridge.__all__)) == len(mqbridge.__all__)
    assert [name for name in mqbridge.__all__ if not hasattr(mqbridge, name)] == []
    assert {name for name in mqbridge.errors.__all__ if name != "Outcome"} <= set(mqbridge.__all__)


def test_everything_public_is_documented() -> None:
    """Every public class, function and method has a docstring."""
    missing = []
    for name in mqbridge.__all__:
        value = getattr(mqbridge, name)
        if not isinstance(value, type) and not inspect.isfunction(value):
            continue
        if not inspect.getdoc(value):
            missing.append(name)
        for key, member in vars(value).items() if isinstance(value, type) else ():
            function = member.fget if isinstance(member, property) else member
            if not key.startswith("_") and inspect.isfunction(function) and not inspect.getdoc(getattr(value, key)):
                missing.append(f"{name}.{key}")
    assert missing == [], "\n".join(missing)


if __name__ == "__main__":
    KEPT.write_text(render())
