"""Reading a run that was written as JSON.

The rule: a file that is no report, or not a whole one, is refused by what is wrong with it, and never found out by a
field that is missed later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, cast, get_args, get_origin, get_type_hints, is_typeddict

from mqbridge_conformance.report.document import SCHEMA, Document, events_of
from mqbridge_conformance.results import Verdict

__all__ = ["read_document"]


def read_document(path: Path) -> Document:
    """A file that `to_json` made. Errors: `ValueError` for what is no such file, `OSError`."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("results"), list):
        raise ValueError(f"{path} is no report of the conformance suite: it has no results")
    if found.get("schema") != SCHEMA:
        raise ValueError(
            f"{path} has the form {found.get('schema')!r} of a report, and this mqbridge reads {SCHEMA}: read it with "
            "the version that wrote it"
        )
    _fill(found)
    wrong = _wrong(found, Document, "") or _strange(found)
    if wrong:
        raise ValueError(f"{path} is a damaged report: {wrong}")
    return cast(Document, found)


def _fill(found: dict[str, Any]) -> None:
    """What came to the form after its first files."""
    found.setdefault("not_run", [])
    for target in found.get("targets") or ():
        if isinstance(target, dict):
            target.setdefault("unusable", "")


def _strange(found: Any) -> str:
    for number, row in enumerate(found["results"]):
        if row["verdict"] not in list(Verdict):
            return f"results[{number}].verdict is {row['verdict']!r}, which is none"
        for finding in row["findings"]:
            try:
                events_of([*finding["witness"], *finding["around"]])
            except ValueError as error:
                return f"results[{number}]: {error}"
    return ""


def _wrong(value: Any, kind: Any, where: str) -> str:
    """What is first found to be not as the types of the document have it; empty if all is."""
    if kind is Any:
        return ""
    if is_typeddict(kind):
        return _wrong_fields(value, kind, where) if isinstance(value, dict) else f"{where or 'it'} is no object"
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return "" if any(not _wrong(value, one, where) for one in inner) else f"{where} is {value!r}"
    if origin is list:
        if not isinstance(value, list):
            return f"{where} is no list"
        return next(filter(None, (_wrong(one, inner[0], f"{where}[{n}]") for n, one in enumerate(value))), "")
    if origin is dict:
        if not isinstance(value, dict):
            return f"{where} is no object"
        return next(filter(None, (_wrong(one, inner[1], f"{where}.{name}") for name, one in value.items())), "")
    kinds = {float: (int, float), None: (NoneType,)}.get(kind, (kind,))
    return "" if isinstance(value, kinds) else f"{where} is {value!r}"


def _wrong_fields(value: dict[str, Any], kind: Any, where: str) -> str:
    hints: Mapping[str, Any] = get_type_hints(kind)
    for name, wanted in hints.items():
        inside = f"{where}.{name}".removeprefix(".")
        if name not in value:
            return f"it has no {inside}"
        if wrong := _wrong(value[name], wanted, inside):
            return wrong
    return ""
