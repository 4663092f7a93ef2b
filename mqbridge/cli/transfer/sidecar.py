"""The small file beside a file, which remembers how far an unfinished copy has come.

The rule: it is written whole and replaced in one step after what it says is true, and it is gone when the copy is done.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import mqbridge as mq

VERSION = 1


class Sidecar:
    """``PATH.mqbridge-copy-DIGEST.json``, where DIGEST names the other end of the copy."""

    def __init__(self, path: Path, other_digest: str) -> None:
        self.path = path.with_name(f"{path.name}.mqbridge-copy-{other_digest}.json")

    @property
    def _new(self) -> Path:
        return self.path.with_name(self.path.name + ".new")

    def read(self) -> dict[str, Any] | None:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict) or found.get("version") != VERSION:
            raise mq.ConfigurationError(
                f"{self.path} is no note of a copy of this version. Nothing was copied; remove it to copy from the "
                "start."
            )
        return found

    def write(self, **facts: Any) -> None:
        with open(self._new, "w", encoding="utf-8") as file:
            json.dump({"version": VERSION, **facts}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(self._new, self.path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._new.unlink(missing_ok=True)  # of a copy that was killed while it wrote one
