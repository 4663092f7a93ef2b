"""HTML and SVG as values: what is not markup is escaped, always.

The rule: nothing becomes markup but by `tag` and `join`; a text of a broker's is a text.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final, TypeAlias

__all__ = ["Child", "Markup", "join", "tag"]

_VOID: Final = frozenset(("br", "hr", "input", "meta", "link"))


class Markup(str):
    """A text that is markup already."""

    __slots__ = ()


Child: TypeAlias = "str | Iterable[Child] | None"
"""A text, which is escaped unless it is `Markup`; None is nothing."""


def join(children: Iterable[Child]) -> Markup:
    """One after another."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(html.escape(_clean(child), quote=False))
        else:
            parts.append(join(child))
    return Markup("".join(parts))


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """An element. An attribute's underscore is a hyphen, one at the end of its name nothing; None and False leave it
    out, True is an attribute without a value."""
    given = {key: value for key, value in attributes.items() if value is not None and value is not False}
    written = "".join(_attribute(key, value) for key, value in given.items())
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def _attribute(key: str, value: str | float | bool) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f' {name}="{html.escape(_clean(text))}"'


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which no file can hold, and without NUL, which no page can."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()
