"""Where a run writes. The rule: a place that cannot be written is told before the run, not after it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["append_line", "check_file", "check_folder"]


def append_line(path: Path, told: Mapping[str, Any]) -> None:
    """One more line of a file of results, as JSON."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(told) + "\n")


def check_file(path: Path) -> None:
    """`ValueError`, as a sentence, if no file can be written there; what is there stays as it is."""
    was_there = path.exists()
    try:
        with open(path, "ab"):
            pass
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from error
    if not was_there:
        path.unlink()


def check_folder(path: Path) -> None:
    """`ValueError`, as a sentence, if no file can be made in that folder, which is made if it is not there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ValueError(f"nothing can be written in {path}: {error.strerror}") from error
