"""What commands print. The rule: data on stdout in the chosen form, narration on stderr, and no escape from a message.

A table is drawn by rich on a terminal and is plain aligned text in a pipe; ``json`` is one document, ``jsonl`` a line
an object. A column's suffix is its unit (``_s``, ``_bytes``, ``_ms``): a number for programs, spelled out for people.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

Format = Literal["table", "json", "jsonl"]


class Output:
    """One command's output, in the form that was asked for."""

    def __init__(self, form: Format | None) -> None:
        self.asked = form
        self.form: Format = form or "table"

    def rows(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
        """A list. `empty` is what a person is told when there is nothing in it."""
        listed = list(rows)
        if self.form == "table":
            if listed:
                _write(_table(columns, listed))
            else:
                say(empty)
            return
        objects = [dict(zip(columns, map(plain, row), strict=True)) for row in listed]
        if self.form == "json":
            _write(json.dumps(objects, ensure_ascii=False, indent=2))
        else:
            for item in objects:
                _write(json.dumps(item, ensure_ascii=False))

    def item(self, fields: Mapping[str, Any], **lists: tuple[Sequence[str], Iterable[Sequence[Any]]]) -> None:
        """One thing, with lists that belong to it (each as columns and rows)."""
        if self.form == "table":
            _write(_table(("", ""), [(_heading(name), _cell(name, value)) for name, value in fields.items()]))
            for name, (columns, rows) in lists.items():
                listed = list(rows)
                _write(f"\n{_heading(name)}{'' if listed else ': none'}")
                if listed:
                    _write(_table(columns, listed))
            return
        document: dict[str, Any] = {name: plain(value) for name, value in fields.items()}
        for name, (columns, rows) in lists.items():
            document[name] = [dict(zip(columns, map(plain, row), strict=True)) for row in rows]
        _write(json.dumps(document, ensure_ascii=False, indent=2 if self.form == "json" else None))


def say(text: str) -> None:
    """Narration: for the person, never for the next program in the pipe."""
    print(text, file=sys.stderr, flush=True)


def counted(number: int, noun: str) -> str:
    """``1 line``, ``2 lines``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _write(text: str) -> None:
    print(text, file=sys.stdout)


def plain(value: Any) -> Any:
    """As JSON can say it. Bytes are text where they are UTF-8, else ``{"base64": ...}``."""
    if isinstance(value, bytes):
        return bytes_as_json(value)
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def bytes_as_json(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        import base64

        return {"base64": base64.b64encode(value).decode()}


def printable(text: str | bytes) -> str:
    """For a terminal: control characters are shown, not obeyed, so that a message cannot move the cursor."""
    shown = text.decode(errors="backslashreplace") if isinstance(text, bytes) else text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)


def on_terminal() -> bool:
    return sys.stdout.isatty()


# --- tables


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [[_cell(column, value) for column, value in zip(columns, row, strict=True)] for row in rows]
    right = [all(_numeric(row[place]) for row in rows) for place in range(len(columns))]
    headings = [_heading(column) for column in columns]
    if on_terminal():
        return _drawn(headings, cells, right)
    lines = [headings, *cells] if any(headings) else cells
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    texts = (
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )
    return "\n".join(texts)


def _drawn(headings: list[str], cells: list[list[str]], right: list[bool]) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    titled = any(headings)
    table = Table(box=box.SIMPLE_HEAD if titled else None, show_header=titled, header_style="bold", pad_edge=False)
    for place, heading in enumerate(headings):
        style = "" if titled or place else "bold"
        table.add_column(heading, justify="right" if right[place] else "left", style=style, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(file=sys.stdout, color_system=None if os.environ.get("NO_COLOR") else "auto", highlight=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line for line in capture.get().split("\n") if line.strip())


def _numeric(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _heading(column: str) -> str:
    for unit in ("_s", "_ms"):
        column = column.removesuffix(unit)
    return column.replace("_", " ")


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ", timespec="milliseconds")
    if isinstance(value, int | float):
        if column.endswith("_s"):
            return duration(value)
        if column.endswith("_bytes"):
            return size(value)
        if column.endswith("_ms"):
            return f"{value:.3g} ms" if isinstance(value, float) else _moment(value)
    if isinstance(value, str | bytes):
        return printable(value)
    if isinstance(value, Mapping | list | tuple):
        return printable(json.dumps(plain(value), ensure_ascii=False)) if value else "-"
    return str(value)


def _moment(at_ms: int) -> str:
    try:
        return dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S.") + f"{at_ms % 1000:03d}Z"
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"


def duration(seconds: float) -> str:
    """``90`` as ``1m30s``."""
    if seconds < 60:
        return f"{seconds:g}s"
    parts: list[str] = []
    rest = round(seconds)
    for letter, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{letter}")
    return "".join(parts)


def size(number: float) -> str:
    """``1048576`` as ``1 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.4g} {unit}"
        number /= 1024
    return f"{number:.4g} TiB"
