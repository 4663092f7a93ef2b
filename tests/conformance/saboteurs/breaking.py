"""How an engine is broken from inside: a function of it is replaced until the test is over."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

Saboteur = Callable[[pytest.MonkeyPatch], None]
Row = tuple[str, str, Saboteur, str, str]
"""Scenario, what is broken, how, target, and the words of the check that must find it."""


def around(owner: Any, name: str, change: Callable[..., Any]) -> Saboteur:
    """Replace a function by ``change(original, *args, **options)``."""

    def sabotage(patch: pytest.MonkeyPatch) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def changed(*args: Any, **options: Any) -> Any:
            return change(original, *args, **options)

        patch.setattr(owner, name, changed)

    return sabotage
