"""What is typed after ``mqbridge conformance``, as values. The rule: what cannot be used is refused before the run."""

from __future__ import annotations

import math
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mqbridge_conformance import scenarios
from mqbridge_conformance.places import check_file, check_folder
from mqbridge_conformance.targets import targets_for

if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType  # generic from click 8.2 on

__all__ = ["DURATION", "FOLDER", "NEW_FILE", "OLD_FILE", "PROBABILITY", "TARGET", "only_scenarios"]


class _NewFile(_Type):
    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        try:
            check_file(path)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return path


class _Folder(_Type):
    name = "dir"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        try:
            check_folder(path)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return path


class _Target(_Type):
    """A name or a URL that means targets; it stays a text, for each use of it makes new ones."""

    name = "target"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            targets_for(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class _ScenarioName(_Type):
    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        known = [scenario.name for scenario in scenarios.ALL]
        if value not in known:
            near = [name for name in known if value in name] or get_close_matches(value, known)
            meant = f"; near it are {', '.join(near)}" if near else ""
            self.fail(f"there is no scenario {value!r}{meant}; `mqbridge conformance list` shows them", param, ctx)
        return str(value)


class _Amount(click.FloatRange):
    """Above zero, and finite: what is no number is neither below nor above anything, and nobody waits for ever."""

    def __init__(self, max: float | None = None) -> None:
        super().__init__(min=0, min_open=True, max=max)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return found


NEW_FILE: Final = _NewFile()
"""A file to write, or to append to."""
OLD_FILE: Final = click.Path(path_type=Path)
"""A file to read: whoever reads it says what is wrong with it."""
FOLDER: Final = _Folder()
TARGET: Final = _Target()
DURATION: Final = _Amount()
"""In seconds, or in minutes."""
PROBABILITY: Final = _Amount(max=1)

only_scenarios: Final = click.option(
    "--scenario",
    "names",
    multiple=True,
    type=_ScenarioName(),
    metavar="NAME",
    help="Only this one; may be given several times.",
)
